"""What librdkafka says of its own accord, in our log: each kind once, and then how often it came again.

It repeats itself with every attempt to connect, and without a logger it writes to stderr in a form of its own.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Final

AGAIN: Final = 60.0
"""Seconds until the same may be said again, with the number of times."""
_VARIES: Final = re.compile(r"\d+")
_MOST: Final = 500


class Once(logging.Filter):
    """Lets each message, its numbers aside, pass once in a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is to be written."""
        said, now = record.getMessage(), self._clock()
        kind = _VARIES.sub("0", said)
        at, more = self._said.get(kind, (now - AGAIN, 0))
        if now - at < AGAIN:
            self._said[kind] = at, more + 1
            return False
        if len(self._said) >= _MOST:
            self._said.clear()
        self._said[kind] = now, 0
        record.msg, record.args = f"{said} (and {more} times more since)" if more else said, ()
        return True


LOGGER: Final = logging.getLogger("widebeam.kafka")
"""For every client of ours that lives long."""
LOGGER.addFilter(Once())
