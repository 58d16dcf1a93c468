"""A word every few seconds while a step of the demo runs, so that a long step is told from a hung one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

EVERY: Final = 3.0
"""Seconds between two words. A machine that is busy with the demo itself adds to them."""


class Ticker:
    """Says how long a step has taken and what it is at; `at` sets the latter."""

    def __init__(self, say: Callable[[str], None], every: float = EVERY) -> None:
        self._say, self._every = say, every
        self._at = ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="ticker", daemon=True)

    def at(self, what: str) -> None:
        """What to say next time."""
        self._at = what

    def __enter__(self) -> Ticker:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()

    def _work(self) -> None:
        began = time.monotonic()
        while not self._end.wait(self._every):
            self._say(f"{time.monotonic() - began:.0f} s" + (f": {self._at}" if self._at else ""))
