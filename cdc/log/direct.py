"""The log between capture and sink in memory, for threads of one process: the write-ahead log itself is the log.

What lies here is lost with the process, and nothing is lost by that: `delivered` tells a record only when its sink has
applied it, so the slot still has the rest. Offsets go on from what the target answers when a partition is assigned.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from itertools import islice
from threading import Condition
from typing import NamedTuple

from cdc.halt import OVER_THE_GAP, Cause, Halt
from cdc.log.transport import Assignment, DeliveryFailed, Received
from cdc.record.envelope import MAX_BYTES


class _Entry(NamedTuple):
    key: bytes | None
    value: bytes
    timestamp: int
    token: int
    publisher: MemoryPublisher


class _Lane:
    """One partition. `base` is the offset of its first entry, None until an owner has told; `read` the next to read."""

    __slots__ = ("base", "entries", "owner", "read")

    def __init__(self) -> None:
        self.entries: deque[_Entry] = deque()
        self.base: int | None = None
        self.read = 0
        self.owner: MemoryReader | None = None

    def unread(self, limit: int) -> list[_Entry]:
        """Up to `limit` entries from `read` on."""
        if self.base is None:
            return []
        start = self.read - self.base
        return list(islice(self.entries, start, start + limit))


class MemoryLog:
    """A log of `partitions` partitions that holds at most `capacity_bytes` of values (or a single longer one)."""

    def __init__(self, partitions: int, capacity_bytes: int = 32 * 1024 * 1024) -> None:
        self.partitions = partitions
        self.capacity_bytes = capacity_bytes
        self.changed = Condition()
        self.lanes = [_Lane() for _ in range(partitions)]
        self.readers: list[MemoryReader] = []
        self.used_bytes = 0
        self.failure: str | None = None

    def publisher(self) -> MemoryPublisher:
        """The writing end, for one run of capture; a failure of an earlier run is forgotten."""
        with self.changed:
            self.failure = None
        return MemoryPublisher(self)

    def join(self, assignment: Assignment) -> MemoryReader:
        """A reading end for one sink thread; the partitions are dealt anew among all of them."""
        with self.changed:
            reader = MemoryReader(self, assignment)
            self.readers.append(reader)
            self.changed.notify_all()
        return reader

    def fail(self, why: str) -> None:
        """A sink died: this run of capture is over, and its publisher raises DeliveryFailed."""
        with self.changed:
            self.failure = self.failure or why
            self.changed.notify_all()

    def dealt_to(self, partition: int) -> MemoryReader | None:
        """Whose this partition should be."""
        return self.readers[partition % len(self.readers)] if self.readers else None


class MemoryPublisher:
    """The writing end."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.done: list[int] = []

    @property
    def partitions(self) -> int:
        """How many partitions the log has."""
        return self._log.partitions

    def publish(self, partition: int, key: bytes | None, value: bytes, token: int) -> bool:
        """Hand one record over; False when the log is full. Raises DeliveryFailed or Halt."""
        log = self._log
        if len(value) > MAX_BYTES:
            named = "a record" if key is None else f"the record of {key.decode(errors='replace')[:200]}"
            raise Halt(
                Cause.RECORD_TOO_LARGE,
                f"{named} takes {len(value):,} bytes, more than {MAX_BYTES:,}",
                f"The slot keeps everything from there on. Once the value is shorter: {OVER_THE_GAP}",
            )
        with log.changed:
            self._check()
            if log.used_bytes and log.used_bytes + len(value) > log.capacity_bytes:
                return False
            log.lanes[partition].entries.append(_Entry(key, value, time.time_ns() // 1_000_000, token, self))
            log.used_bytes += len(value)
            log.changed.notify_all()
        return True

    def delivered(self, timeout: float = 0.0) -> list[int]:
        """Tokens applied since the last call, waiting up to `timeout` seconds for the first. Raises DeliveryFailed."""
        log = self._log
        with log.changed:
            if timeout and not self.done:
                log.changed.wait_for(lambda: self.done or log.failure is not None, timeout)
            self._check()
            done, self.done = self.done, []
        return done

    @property
    def ends(self) -> Mapping[int, int]:
        """Nothing is kept here: what is durable is in the target."""
        return {}

    def has(self, ends: Mapping[int, int], timeout: float) -> bool:
        """There is nothing to lose."""
        del ends, timeout
        return True

    def close(self) -> None:
        """Take back what no sink has read yet. (What was read may still be applied: the skip rule allows for it.)"""
        log = self._log
        with log.changed:
            for lane in log.lanes:
                kept = 0 if lane.base is None else lane.read - lane.base
                while len(lane.entries) > kept:
                    log.used_bytes -= len(lane.entries.pop().value)
            log.changed.notify_all()

    def _check(self) -> None:
        if self._log.failure is not None:
            raise DeliveryFailed(f"a sink died: {self._log.failure}")


class MemoryReader:
    """The reading end of one sink thread. Its Assignment is called on that thread, without the log's lock."""

    def __init__(self, log: MemoryLog, assignment: Assignment) -> None:
        self._log = log
        self._assignment = assignment
        self._mine: list[int] = []

    def poll(self, limit: int, timeout: float) -> list[Received]:
        """Up to `limit` records, in order within each partition; waits `timeout` seconds for the first one only."""
        deadline = time.monotonic() + timeout
        while True:
            self._rebalance()
            with self._log.changed:
                received = self._take(limit)
                if received or not self._log.changed.wait_for(self._has_news, deadline - time.monotonic()):
                    return received

    def rewind(self, partition: int, offset: int) -> None:
        """Read this partition from `offset` on: what was polled was not applied."""
        with self._log.changed:
            lane = self._log.lanes[partition]
            if lane.owner is self:
                self._continue(partition, lane, offset)

    def applied(self, offsets: dict[int, int]) -> None:
        """These next offsets are durable in the target: acknowledge what lies below them."""
        with self._log.changed:
            for partition, offset in offsets.items():
                lane = self._log.lanes[partition]
                if lane.owner is self:
                    self._forget(lane, offset)
            self._log.changed.notify_all()

    def bounds(self, partition: int) -> tuple[int, int]:
        """The first offset that the log still holds and the offset after the last one."""
        with self._log.changed:
            lane = self._log.lanes[partition]
            base = lane.base or 0
            return base, base + len(lane.entries)

    def close(self) -> None:
        """Leave: the partitions go to the other readers."""
        with self._log.changed:
            self._log.readers.remove(self)
            mine = [p for p, lane in enumerate(self._log.lanes) if lane.owner is self]
        self._give_up(mine)

    def _has_news(self) -> bool:
        lanes = self._log.lanes
        return bool(self._to_give() or self._to_take() or any(lanes[p].unread(1) for p in self._mine))

    def _take(self, limit: int) -> list[Received]:
        received: list[Received] = []
        for partition in self._mine:
            lane = self._log.lanes[partition]
            for entry in lane.unread(limit - len(received)):
                received.append(Received(partition, lane.read, entry.key, entry.value, entry.timestamp))
                lane.read += 1
        self._mine = self._mine[1:] + self._mine[:1]  # the next call starts at another partition
        return received

    def _to_give(self) -> list[int]:
        return [p for p in self._mine if self._log.dealt_to(p) is not self]

    def _to_take(self) -> list[int]:
        return [p for p, lane in enumerate(self._log.lanes) if lane.owner is None and self._log.dealt_to(p) is self]

    def _rebalance(self) -> None:
        with self._log.changed:
            give, take = self._to_give(), self._to_take()
            for partition in take:
                self._log.lanes[partition].owner = self
        if give:
            self._give_up(give)
        if take:
            offsets = self._assignment.assigned(take)
            with self._log.changed:
                for partition in take:
                    self._continue(partition, self._log.lanes[partition], offsets[partition])
                self._mine += take

    def _give_up(self, partitions: list[int]) -> None:
        if partitions:
            self._assignment.revoked(list(partitions))
        with self._log.changed:
            for partition in partitions:
                self._log.lanes[partition].owner = None
            self._mine = [p for p in self._mine if p not in partitions]
            self._log.changed.notify_all()

    def _continue(self, partition: int, lane: _Lane, offset: int) -> None:
        """The target's next offset is `offset`: what lies below it is applied, whether we heard of it or not."""
        if lane.base is None:
            lane.base = lane.read = offset
        if not lane.base <= offset <= lane.base + len(lane.entries):
            held = f"{lane.base} to {lane.base + len(lane.entries)}"
            self._log.failure = f"partition {partition} is wanted from offset {offset}, and memory holds {held}"
            self._log.changed.notify_all()
            raise DeliveryFailed(self._log.failure)
        self._forget(lane, offset)
        lane.read = offset

    def _forget(self, lane: _Lane, offset: int) -> None:
        while lane.base is not None and lane.base < offset and lane.entries:
            entry = lane.entries.popleft()
            lane.base += 1
            self._log.used_bytes -= len(entry.value)
            entry.publisher.done.append(entry.token)
