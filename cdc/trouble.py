"""What a process just now tries again and again: its sign of life tells of it, so that a look from outside names it.

A log line is read by nobody. A part that cannot get on holds its trouble here until it is over; one board a process,
as there is one log.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

SETTLED: Final = 5.0
"""Seconds without a new failure after which a success counts. What fails again by then was never over: a record that
cannot be applied is polled again between two attempts, and that succeeds."""


class Trouble(NamedTuple):
    """Where something does not succeed, what it says, and for how many seconds."""

    where: str
    what: str
    seconds: float


class _Held(NamedTuple):
    since: float
    what: str
    over: float | None = None


class Troubles:
    """A board. `where` is whose trouble it is: each has one at a time, which is as old as its first attempt."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}

    def hold(self, where: str, what: str) -> None:
        """It has failed, perhaps once more."""
        now = self._clock()
        with self._lock:
            before = self._held.get(where)
            stays = before is not None and not _settled(before, now)
            self._held[where] = _Held(before.since if stays and before is not None else now, what)

    def over(self, where: str) -> None:
        """It has succeeded."""
        if where in self._held:
            with self._lock:
                held = self._held.get(where)
                if held is not None and held.over is None:
                    self._held[where] = held._replace(over=self._clock())

    def all(self) -> list[Trouble]:
        """The troubles of now, the oldest first."""
        now = self._clock()
        with self._lock:
            self._held = {where: held for where, held in self._held.items() if not _settled(held, now)}
            held = sorted(self._held.items(), key=lambda one: one[1].since)
        return [Trouble(where, one.what, now - one.since) for where, one in held]


def _settled(held: _Held, now: float) -> bool:
    return held.over is not None and now - held.over > SETTLED


TROUBLES: Final = Troubles()
"""Those of this process."""
