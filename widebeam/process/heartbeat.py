"""The heartbeat of a part: a byte a second in a pipe to its supervisor, which says whether it is at work and gets on.

A process that is stopped, or in which nothing gets a turn, is silent. One whose work does not turn any more says so:
the event that asks it to stop is looked at in every turn, so whoever looks at it is alive.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

FD: Final = "WIDEBEAM_HEARTBEAT"
"""Environment: the pipe's writing end, where there is a supervisor."""

EVERY: Final = 1.0
"""Seconds between two bytes."""

STARTING: Final = b"s"
AT_WORK: Final = b"w"
PROGRESS: Final = b"p"
HUNG: Final = b"h"


class Heartbeat(threading.Event):
    """An event like `stop`, and the note of when the work last looked at it. Hand it to the work, and to nobody else.

    `hung_after` are the seconds without a turn after which the work counts as hung; None: it never does.
    """

    def __init__(self, stop: threading.Event, hung_after: float | None = None) -> None:
        super().__init__()
        self._stop = stop
        self._hung_after = hung_after
        self._new = False
        self._told = False
        self.turned: float | None = None
        self.progressed_at: datetime | None = None

    def is_set(self) -> bool:
        """Whether the work is to stop."""
        self.turned = time.monotonic()
        return self._stop.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is to stop; False after `timeout` seconds."""
        self.turned = time.monotonic()
        try:
            return self._stop.wait(timeout)
        finally:
            self.turned = time.monotonic()

    def set(self) -> None:
        """Ask it to stop."""
        self._stop.set()

    def progressed(self) -> None:
        """Something is durable that was not. From any thread. The first time is told at once: death may be near."""
        self.progressed_at, self._new = datetime.now(UTC), True
        if not self._told:
            self._told = True
            _tell(PROGRESS)

    @property
    def sign(self) -> bytes:
        """How it is just now."""
        if self.turned is None:
            return STARTING
        if self._hung_after is not None and time.monotonic() - self.turned > self._hung_after:
            return HUNG
        return AT_WORK

    def beat(self) -> None:
        """Tell the supervisor from now on, if there is one."""
        if FD in os.environ:
            os.set_blocking(int(os.environ[FD]), False)  # it may be stopped: that must not stop us
            threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def _beat(self) -> None:
        while True:
            sign, new, self._new = self.sign, self._new, False
            _tell(PROGRESS if new and sign == AT_WORK else sign)
            time.sleep(EVERY)


def progress_of(stop: threading.Event) -> Callable[[], None]:
    """What to call when something has become durable; nothing comes of it where nobody feels the heartbeat."""
    return stop.progressed if isinstance(stop, Heartbeat) else lambda: None


def _tell(sign: bytes) -> None:
    if FD in os.environ:
        with contextlib.suppress(OSError):  # full, or the supervisor is gone
            os.write(int(os.environ[FD]), sign)
