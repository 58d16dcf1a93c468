"""What capture has made and not handed over to the log yet."""

from __future__ import annotations

import time
from collections import deque
from typing import Final, NamedTuple

from cdc.log.transport import Publisher

HOLD_SECONDS: Final = 0.03
"""How long a record waits for others at most, while changes keep coming."""
HOLD_BYTES: Final = 4 * 1024 * 1024
"""How much waits at most."""


class Outgoing(NamedTuple):
    """A record as the log takes it, and the acknowledger's token for it."""

    partition: int
    key: bytes | None
    value: bytes
    token: int


class Outbox:
    """Records that wait for others to go with.

    A request costs the broker as much with one record in it as with many, and cost it, at one record a request, nearly
    as much as capture itself. So records wait as long as changes keep coming, and not at all when none comes: then
    nothing is gained by it. (librdkafka's linger.ms waits in both cases.)

    They have their tokens meanwhile: what waits here counts as in flight, and its commit is not acknowledged.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._waiting: deque[Outgoing] = deque()
        self._bytes = 0
        self._since = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, record: Outgoing) -> None:
        """Have a record wait."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(record)
        self._bytes += len(record.value)

    @property
    def full(self) -> bool:
        """Whether they are enough. To be asked after each record; the clock is not."""
        return self._bytes >= HOLD_BYTES

    @property
    def due(self) -> bool:
        """Whether they are enough, or have waited long enough."""
        return bool(self._waiting) and (self.full or time.monotonic() - self._since >= HOLD_SECONDS)

    def hand_over(self) -> bool:
        """Give the publisher what it takes; False when it takes nothing more. Raises what it raises."""
        while self._waiting:
            record = self._waiting[0]
            if not self._publisher.publish(*record):
                return False
            self._bytes -= len(record.value)
            self._waiting.popleft()
        return True
