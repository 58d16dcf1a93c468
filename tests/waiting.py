"""Waiting for what only asking can tell, but not for what somebody would have to do who is dead."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

PATIENCE = float(os.environ.get("WIDEBEAM_TEST_PATIENCE", "400"))
"""Seconds for which a condition is awaited where nothing else is said; less where it is known not to come about."""

_PAUSE = 0.05

_watched: list[Callable[[], str | None]] = []


class Died(AssertionError):
    """Somebody who works for the test has ended, unasked, while it waited."""


class StillNot(AssertionError):
    """What was awaited has not come, though all who work for it live."""


@contextmanager
def watched(ended: Callable[[], str | None]) -> Iterator[None]:
    """While this lasts, no `until` goes on waiting once `ended` says that, and how, somebody has."""
    _watched.append(ended)
    try:
        yield
    finally:
        _watched.remove(ended)


def until(condition: Callable[[], Any], seconds: float | None = None) -> Any:
    """Wait for a condition that only asking can tell; its value. Raises Died, StillNot."""
    deadline = time.monotonic() + (PATIENCE if seconds is None else seconds)
    while True:
        deaths = [death for ended in _watched if (death := ended()) is not None]
        if value := condition():  # it may have been done just before the end
            return value
        if deaths:
            raise Died("; ".join(deaths))
        if time.monotonic() > deadline:
            raise StillNot(f"not so after {PATIENCE if seconds is None else seconds:.0f} s")
        time.sleep(_PAUSE)


def unasked_end(process: psutil.Popen, said: Callable[[], str]) -> Callable[[], str | None]:
    """For `watched`: that a process has ended without the test having waited for it or asked whether it has."""
    death: str | None = None

    def ended() -> str | None:
        nonlocal death
        if death is None and process.returncode is None and process.poll() is not None:
            death = f"`{' '.join(map(str, process.args[2:]))}` ended with {process.returncode}:\n{said()}"
        return death

    return ended
