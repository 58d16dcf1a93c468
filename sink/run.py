"""The sink: polls, applies, and comes back after whatever the database or the group of sinks does."""

from __future__ import annotations

import gc
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from threading import Event
from types import MappingProxyType
from typing import Final, TypeAlias

import psycopg

from cdc.failpoint import Failpoint, hit
from cdc.fate import Fate
from cdc.fault import fault
from cdc.log.transport import Assignment, Reader, Received
from sink.apply import TooManyTables
from sink.fold.batch import Batch, Place, Poison
from sink.fold.progress import Progress
from sink.fold.refused import left_out
from sink.gaps import Gaps
from sink.pace import Lag, rest
from sink.session import Session, Stopped
from sink.settings import SinkSettings
from sink.state import account, halts
from sink.state.latencies import Latencies
from sink.target import planned

__all__ = ["Sink", "SinkSettings"]

Join: TypeAlias = Callable[[Assignment], Reader]

_log = logging.getLogger(__name__)

_RECORDS_AT_ONCE: Final = 4_000
"""In a poll. A sink rests after these, too, when they are old: capture may be behind, and need the machine more."""
_GC: Final = (500_000, 20, 20)
"""Decoding makes lists by the ten thousand, none of them in a cycle: the default takes half of the time to look."""

_LOOK_UP: Final = 0.25
"""Seconds without a record until `stop` is looked at."""

_HEED: Final = 1.0
"""Seconds between two looks at whether somebody has rewound a partition on which nothing comes."""

_BATCH_BYTES: Final = 8 * 1024 * 1024

_NO_POISON: Final[Mapping[Place, Poison]] = MappingProxyType({})


class Sink:
    """One member of the group of sinks. `join` makes its reader, and gets the sink as the one to ask for offsets."""

    def __init__(self, settings: SinkSettings, join: Join) -> None:
        self._settings = settings
        self._join = join
        self._session = Session(settings)
        self._connector = settings.mapping.connector
        self._reader: Reader | None = None
        self._pending: deque[Received] = deque()
        self._known: dict[int, Progress] = {}
        self._latencies = Latencies()
        self._lag = Lag()
        self._gaps = Gaps(settings.patience)
        self._heeded = 0.0
        self._batch_rows = settings.batch_rows  # fewer, while they are for too many tables
        self._stop = Event()

    def run(self, stop: Event) -> None:
        """Apply what the log has until `stop` is set. Raises Halt, and what is wrong with code or configuration."""
        self._stop = stop
        gc.set_threshold(*_GC)
        try:
            while not self._session.retried(self._is_planned, stop):
                if stop.wait(_LOOK_UP):
                    return
            self._reader = self._join(self)
            while not stop.is_set():
                self._session.retried(self._step, stop)
        except Stopped:
            pass
        finally:
            self._leave()

    def assigned(self, partitions: list[int]) -> dict[int, int]:
        """Take partitions over: where to go on, from the target."""
        recorded = self._session.retried(
            lambda: account.load(self._session.target, self._connector, partitions), self._stop
        )
        for partition, (progress, latency) in recorded.items():
            self._known[partition] = progress
            self._latencies.take_over(partition, latency)
        hit(Failpoint.SINK_ASSIGNED)
        return {partition: progress.next_offset for partition, (progress, _) in recorded.items()}

    def revoked(self, partitions: list[int]) -> None:
        """Let partitions go, with what was polled of them."""
        self._pending = deque(each for each in self._pending if each.partition not in partitions)
        for partition in partitions:
            self._known.pop(partition, None)
            self._latencies.forget(partition)

    def _is_planned(self) -> bool:
        return planned(self._session.target, self._connector)

    @property
    def _joined(self) -> Reader:
        if self._reader is None:
            raise RuntimeError("the sink has not joined")
        return self._reader

    def _step(self) -> None:
        """Poll once and apply what came."""
        reader = self._joined
        if self._session.lost:
            self._synchronise(reader)
        if not self._pending:
            received = reader.poll(_RECORDS_AT_ONCE, _LOOK_UP)  # `revoked` may replace the pending ones meanwhile
            self._pending.extend(received)
        if self._session.lost:  # the connection was lost while partitions were assigned
            return
        if self._pending:
            began = time.monotonic()
            rows = self._apply(self._next())
            if rows < self._settings.batch_rows and not self._pending:
                self._stop.wait(rest(time.monotonic() - began, self._lag))
            self._latencies.write(self._session.target, self._connector, idle=False)
        else:
            self._latencies.write(self._session.target, self._connector, idle=True)
            self._heed_rewinds()
        self._gaps.watch(self._known.values())

    def _heed_rewinds(self) -> None:
        """Nothing comes, so no compare-and-set would tell that somebody has gone back: look at the epochs."""
        if not self._settings.rewindable or time.monotonic() - self._heeded < _HEED:
            return
        self._heeded = time.monotonic()
        recorded = account.load(self._session.target, self._connector, self._known)
        if any(progress.epoch != self._known[number].epoch for number, (progress, _) in recorded.items()):
            self._session.lost = True

    def _synchronise(self, reader: Reader) -> None:
        """Go on from what the target says."""
        recorded = account.load(self._session.target, self._connector, self._known)
        self._pending.clear()
        for partition, (progress, _) in recorded.items():
            self._known[partition] = progress
            reader.rewind(partition, progress.next_offset)
        self._session.lost = False

    def _next(self) -> list[Received]:
        """The records of the next batch: whatever is there, up to the limits. Rows are counted when decoded."""
        received: list[Received] = []
        size = 0
        while self._pending and size < _BATCH_BYTES:
            size += len(self._pending[0].value)
            received.append(self._pending.popleft())
        return received

    def _apply(self, received: list[Received], poison: Mapping[Place, Poison] = _NO_POISON) -> int:
        """Apply records in as many batches as it takes; those that the target refuses go into quarantine.

        How many narrow rows there were.
        """
        left, rows = received, 0
        while left:
            batch, taken = self._batch(left, poison)
            if batch.admissions:
                try:
                    self._commit(batch)
                except TooManyTables as found:
                    self._batch_rows = max(1, int(batch.rows * found.share))
                    continue
                except psycopg.Error as error:
                    if poison or not _is_poison(error):
                        raise
                    self._isolate(left[:taken])
            if batch.halted_by is not None:
                raise halts.truncated(", ".join(batch.halted_by.tables), batch.halted_by.stamp.position)
            left, rows = left[taken:], rows + batch.rows
        return rows

    def _batch(self, received: list[Received], poison: Mapping[Place, Poison]) -> tuple[Batch, int]:
        """A batch of the first of these records, and how many they are."""
        batch = Batch(self._settings.mapping, self._settings.decode, self._known, poison)
        for taken, each in enumerate(received, 1):
            batch.take(each)
            if batch.over or batch.rows >= self._batch_rows:
                return batch, taken
        return batch, len(received)

    def _isolate(self, received: list[Received]) -> None:
        """The target refuses one of these records: halve them until it is alone, and then withhold what it refuses."""
        if len(received) > 1:
            middle = len(received) // 2
            self._apply(received[:middle])
            self._apply(received[middle:])
            return
        place = received[0].partition, received[0].offset
        batch, _ = self._batch(received, _NO_POISON)
        for poison in left_out(batch, lambda poison: self._refuses(received, {place: poison})):
            try:
                self._apply(received, {place: poison})
            except psycopg.Error as error:
                if poison.whole or not _is_poison(error):
                    raise
            else:
                return

    def _refuses(self, received: list[Received], poison: Mapping[Place, Poison]) -> bool:
        try:
            self._session.applier.apply(self._batch(received, poison)[0], undo=True)
        except psycopg.Error as error:
            if not _is_poison(error):
                raise
            return True
        return False

    def _commit(self, batch: Batch) -> None:
        """Apply a batch; then, and only then, tell the log and go on from there."""
        self._session.applier.apply(batch)
        self._batch_rows = min(self._batch_rows + self._batch_rows // 10 + 1, self._settings.batch_rows)
        for partition, admission in batch.admissions.items():
            self._known[partition] = admission.now
        self._latencies.observe(batch.commits)
        if batch.newest is not None:
            self._lag = Lag.of(*batch.newest, time.time())
        self._joined.applied({partition: each.now.next_offset for partition, each in batch.admissions.items()})

    def _leave(self) -> None:
        """Leave the group, whatever state things are in."""
        try:
            if self._session.open:
                self._latencies.write(self._session.target, self._connector, idle=True)
        except psycopg.Error as error:
            _log.warning("the last latencies were not written: %s", error)
        try:
            if self._reader is not None:
                self._reader.close()
        finally:
            self._session.close()


def _is_poison(error: psycopg.Error) -> bool:
    """Whether the target will not have a value, however often it is tried."""
    found = fault(error)
    return found is not None and found.fate is Fate.POISON
