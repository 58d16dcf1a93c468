"""The sink: polls, applies, and comes back after whatever the database or the group of sinks does."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Final, TypeAlias, TypeVar

import psycopg
from psycopg import errors
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_delay,
    stop_any,
    stop_when_event_set,
    wait_random_exponential,
)

from cdc.envelope import decode as decode_json
from cdc.transport import Assignment, Reader, Received
from sink import account, halts
from sink.account import Fenced
from sink.apply import Applier
from sink.batch import Batch, Decode, Place
from sink.latencies import Latencies
from sink.lookup import Lookup
from sink.mapping import Mapping
from sink.progress import Progress
from sink.registry import Registry
from sink.target import Connection, open_target, planned

T = TypeVar("T")
Join: TypeAlias = Callable[[Assignment], Reader]

_log = logging.getLogger(__name__)

_RECORDS_AT_ONCE: Final = 4_000
_LOOK_UP: Final = 0.25
"""Seconds without a record until `stop` is looked at."""

_BATCH_BYTES: Final = 8 * 1024 * 1024
_REFUSED: Final = (psycopg.DataError, psycopg.IntegrityError)
"""The target will not have a value, however often it is tried."""

_PASSING: Final = (
    psycopg.OperationalError,  # lost connections, deadlocks, serialisation failures, time-outs, a full disk
    psycopg.InternalError,
    psycopg.InterfaceError,
    errors.UndefinedTable,
    errors.UndefinedColumn,
    Fenced,
)
"""What may be over at the next attempt, on a new connection and from the progress that the target then tells."""


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """What a sink needs to know. The source is read where there is a dictionary, or cells have to be read again.

    `batch_rows` is how many narrow rows go into one target transaction at most (a record is never cut). `patience`
    is for how many seconds a generation with a gap may be the last one until that is taken for a loss of the log;
    `give_up_after` for how many one failure may last.
    """

    target_dsn: str
    mapping: Mapping
    source_dsn: str | None = None
    batch_rows: int = 20_000
    patience: float = 300.0
    give_up_after: float = 600.0
    decode: Decode = decode_json


class Sink:
    """One member of the group of sinks. `join` makes its reader, and gets the sink as the one to ask for offsets."""

    def __init__(self, settings: SinkSettings, join: Join) -> None:
        self._settings = settings
        self._join = join
        self._target: Connection | None = None
        self._applier: Applier | None = None
        self._lookup: Lookup | None = None
        self._reader: Reader | None = None
        self._pending: deque[Received] = deque()
        self._known: dict[int, Progress] = {}
        self._latencies = Latencies()
        self._broken_since: dict[tuple[int, int], float] = {}
        self._resync = False
        self._stop = Event()

    def run(self, stop: Event) -> None:
        """Apply what the log has until `stop` is set. Raises Halt, and what is wrong with code or configuration."""
        self._stop = stop
        try:
            while not self._retried(self._is_planned):
                if stop.wait(_LOOK_UP):
                    return
            self._reader = self._join(self)
            while not stop.is_set():
                self._retried(self._step)
        except _Stopped:
            pass
        finally:
            self._leave()

    def assigned(self, partitions: list[int]) -> dict[int, int]:
        """Take partitions over: where to go on, from the target."""
        recorded = self._retried(lambda: account.load(self._connected(), self._settings.mapping.connector, partitions))
        for partition, (progress, latency) in recorded.items():
            self._known[partition] = progress
            self._latencies.take_over(partition, latency)
        return {partition: progress.next_offset for partition, (progress, _) in recorded.items()}

    def revoked(self, partitions: list[int]) -> None:
        """Let partitions go, with what was polled of them."""
        self._pending = deque(each for each in self._pending if each.partition not in partitions)
        for partition in partitions:
            self._known.pop(partition, None)
            self._latencies.forget(partition)

    def _retried(self, action: Callable[[], T]) -> T:
        """Do it until it is done. After `give_up_after` seconds of one failure after the other: Halt."""
        retrying = Retrying(
            retry=retry_if_exception_type(_PASSING),
            stop=stop_any(stop_after_delay(self._settings.give_up_after), stop_when_event_set(self._stop)),
            wait=wait_random_exponential(0.1, max=5),
            sleep=sleep_using_event(self._stop),
            before_sleep=self._start_anew,
            reraise=True,
        )
        try:
            return retrying(action)
        except _PASSING as error:
            if self._stop.is_set():
                raise _Stopped from error
            raise halts.target_unwritable(error, self._settings.give_up_after) from error

    def _start_anew(self, attempt: RetryCallState) -> None:
        """Whatever the last attempt did or did not, the target's progress tells; what was polled is read again."""
        if attempt.outcome is not None:
            error = attempt.outcome.exception()
            _log.warning("sink starts anew after %s: %s", type(error).__name__, str(error).splitlines()[0])
        self._disconnect()
        self._resync = True

    def _disconnect(self) -> None:
        if self._target is not None:
            self._target.close()
            self._target = self._applier = None
        if self._lookup is not None:
            self._lookup.close()
            self._lookup = None

    def _connected(self) -> Connection:
        if self._target is None:
            target = open_target(self._settings.target_dsn, f"widebeam sink {self._settings.mapping.connector}")
            self._target = target
            registry = Registry(self._settings.mapping)
            registry.refresh(target)
            registry.check(target)
            self._lookup = self._new_lookup()
            self._applier = Applier(target, self._settings.mapping, registry, self._lookup)
        return self._target

    def _new_lookup(self) -> Lookup | None:
        dictionary = self._settings.mapping.rule.dictionary
        if dictionary is None or self._settings.source_dsn is None:
            return None
        return Lookup(self._settings.source_dsn, self._settings.mapping.connector, dictionary)

    def _is_planned(self) -> bool:
        return planned(self._connected(), self._settings.mapping.connector)

    def _step(self) -> None:
        """Poll once and apply what came."""
        reader = self._reader
        if reader is None:
            raise RuntimeError("the sink has not joined")
        if self._resync:
            self._synchronise(reader)
        if not self._pending:
            received = reader.poll(_RECORDS_AT_ONCE, _LOOK_UP)  # `revoked` may replace the pending ones meanwhile
            self._pending.extend(received)
        if self._resync:  # the connection was lost while partitions were assigned
            return
        if self._pending:
            self._apply(self._next(), frozenset())
            self._latencies.write(self._connected(), self._settings.mapping.connector, idle=False)
        else:
            self._latencies.write(self._connected(), self._settings.mapping.connector, idle=True)
        self._watch_broken()

    def _synchronise(self, reader: Reader) -> None:
        """Go on from what the target says."""
        recorded = account.load(self._connected(), self._settings.mapping.connector, self._known)
        self._pending.clear()
        for partition, (progress, _) in recorded.items():
            self._known[partition] = progress
            reader.rewind(partition, progress.next_offset)
        self._resync = False

    def _next(self) -> list[Received]:
        """The records of the next batch: whatever is there, up to the limits. Rows are counted when decoded."""
        received: list[Received] = []
        size = 0
        while self._pending and size < _BATCH_BYTES:
            size += len(self._pending[0].value)
            received.append(self._pending.popleft())
        return received

    def _apply(self, received: list[Received], poison: frozenset[Place]) -> None:
        """Apply records in as many batches as it takes; those that the target refuses go into quarantine."""
        rest = received
        while rest:
            batch, taken = self._batch(rest, poison)
            if batch.admissions:
                try:
                    self._commit(batch)
                except _REFUSED:
                    if poison:
                        raise
                    self._isolate(rest[:taken])
            if batch.halted_by is not None:
                raise halts.truncated(", ".join(batch.halted_by.tables), batch.halted_by.stamp.position)
            rest = rest[taken:]

    def _batch(self, received: list[Received], poison: frozenset[Place]) -> tuple[Batch, int]:
        """A batch of the first of these records, and how many they are."""
        batch = Batch(self._settings.mapping, self._settings.decode, self._known, poison)
        for taken, each in enumerate(received, 1):
            batch.take(each)
            if batch.halted_by is not None or batch.rows >= self._settings.batch_rows:
                return batch, taken
        return batch, len(received)

    def _isolate(self, received: list[Received]) -> None:
        """The target refuses one of these records: halve them until it is alone."""
        if len(received) == 1:
            self._apply(received, frozenset([(received[0].partition, received[0].offset)]))
        else:
            middle = len(received) // 2
            self._apply(received[:middle], frozenset())
            self._apply(received[middle:], frozenset())

    def _commit(self, batch: Batch) -> None:
        """Apply a batch; then, and only then, tell the log and go on from there."""
        self._connected()
        if self._applier is None or self._reader is None:
            raise RuntimeError("the sink is not connected")
        self._applier.apply(batch)
        for partition, admission in batch.admissions.items():
            self._known[partition] = admission.now
        self._latencies.observe(batch.commits)
        self._reader.applied({partition: each.now.next_offset for partition, each in batch.admissions.items()})

    def _watch_broken(self) -> None:
        """A generation with a gap is followed by the next one, or the log has lost records."""
        now = time.monotonic()
        broken = [progress for progress in self._known.values() if progress.broken]
        places = {(progress.partition, progress.generation) for progress in broken}
        self._broken_since = {place: self._broken_since.get(place, now) for place in places}
        for progress in broken:
            if now - self._broken_since[progress.partition, progress.generation] > self._settings.patience:
                raise halts.log_incomplete(progress, self._settings.patience)

    def _leave(self) -> None:
        """Leave the group, whatever state things are in."""
        try:
            if self._target is not None and not self._target.broken:
                self._latencies.write(self._target, self._settings.mapping.connector, idle=True)
        except psycopg.Error as error:
            _log.warning("the last latencies were not written: %s", error)
        try:
            if self._reader is not None:
                self._reader.close()
        finally:
            self._disconnect()


class _Stopped(Exception):
    """`stop` was set while something was being tried again."""
