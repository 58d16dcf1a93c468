"""Doing one chunk: read, merge, or write down why not."""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event
from time import monotonic
from typing import Any, Final, TypeAlias

import psycopg

from cdc.fate import Fate
from cdc.fault import fault
from cdc.lsn import Lsn
from cdc.source.writers import StillWriting
from cdc.trouble import TROUBLES
from sink.fold.column_route import Routes
from sink.lookup import Lookup
from sink.mapping.wide import Need, Refused
from sink.state import sources
from sink.state.standstill import Moved
from sink.wide.registry import Registry
from snapshot import attached, bases, commented
from snapshot.chunks import ledger
from snapshot.chunks.gate import await_replay
from snapshot.chunks.plan import Chunk
from snapshot.chunks.repair import EVERY_TABLE, Repair
from snapshot.fill.merge import ChunkMerger
from snapshot.fill.others import Others
from snapshot.fill.reader import ChunkReader, Ensure, Reading, Stopped
from snapshot.sessions import Sessions, connect
from snapshot.settings import BackfillSettings

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOG: Final = logging.getLogger(__name__)

_CONFLICTS: Final = 2
"""Times that a standby may cancel a chunk; then it is read from the primary, which never does."""

_LONGER: Final = 4
"""So many times as long is the rest after each of them: what is replayed may be over by then."""

_REST: Final = 30.0
"""Seconds between two attempts to change views over that readers have in use."""

_STANDBY: Final = "backfill from the standby"
_WAYS_OUT: Final = (
    f"after {_CONFLICTS} times it is read from the primary. On the standby, hot_standby_feedback = on or a longer "
    "max_standby_streaming_delay keeps it from that"
)


class Worker:
    """Does chunks over one set of sessions."""

    def __init__(self, settings: BackfillSettings, sessions: Sessions, conflicts: Counter[int] | None = None) -> None:
        self._settings, self._sessions = settings, sessions
        self._conflicts = Counter[int]() if conflicts is None else conflicts
        self._mapping = settings.mapping
        self._registry = Registry(self._mapping)
        self._registry.refresh(sessions.target)
        rule = self._mapping.rule.dictionary
        self._lookup = Lookup(settings.source_dsn, self._mapping.connector, rule)
        self._others = Others.of(sessions.target, settings.source_dsn, self._mapping, self._lookup.dictionary)
        self._cutoff = _cutoff(sessions.target, self._mapping.connector)
        self._reader = self._new_reader()
        self._merger = ChunkMerger(sessions.target, self._registry)
        self._repair: Repair | None = None
        self._brought, self._next_look = False, 0.0
        crowded = self._mapping.rule.several != "refuse"
        self._barriers = attached.Barriers(sessions.primary, self._mapping.connector) if crowded else None

    def _new_reader(self) -> ChunkReader:
        return self._reader_over(self._sessions.source, self._cutoff, self._ensure)

    def _reader_over(self, source: Connection, position: Lsn, ensure: Ensure) -> ChunkReader:
        target = self._sessions.target
        return ChunkReader(
            source,
            self._mapping,
            Routes(self._mapping, self._registry.entities, first=1),
            position,
            ensure,
            (self._lookup.dictionary, lambda: self._lookup.refresh(target, registry=self._registry)),
            self._others,
        )

    def _ensure(self, needs: list[Need]) -> Refused:
        """Make columns; where others have renamed some by what the dictionary says, know what it says."""
        refused = self._registry.ensure(self._sessions.target, needs)
        self._lookup.follow(self._sessions.target, self._registry)
        return refused

    def bring_along(self, stop: Event) -> None:
        """Once nothing is open: wide tables as earlier versions made them, now and then."""
        if not self._brought and monotonic() >= self._next_look:
            known = self._sessions.target, self._registry
            self._brought = bases.bring_along(*known, stop) and commented.bring_along(*known, stop)
            self._next_look = monotonic() + _REST

    def close(self) -> None:
        """Let go of what is not the sessions'."""
        self._lookup.close()
        if self._others is not None:
            self._others.close()

    def do(self, chunk: Chunk, stop: Event) -> bool:
        """Read and merge a claimed chunk, or write down why not; False when the sessions are of no use any more."""
        connector = self._settings.mapping.connector
        if _cutoff(self._sessions.target, connector) != self._cutoff:  # a gap was gone over: the gate is another one
            return False
        repairs = chunk.source == EVERY_TABLE
        if self._mapping.family is not None and not repairs and not self._joined(chunk, stop):
            return False
        try:
            self._lookup.follow(self._sessions.target, self._registry)
            if self._others is not None:
                self._others.follow()
            if repairs:
                self._repair_range(chunk)
            elif chunk.reads:
                self._write_over(chunk, stop)
            else:
                self._fill(chunk, stop)
        except Stopped:
            return False
        except (StillWriting, attached.Early) as busy:
            seconds = attached.SOON if isinstance(busy, attached.Early) else attached.REST
            ledger.postpone(self._sessions.target, connector, chunk.number, why=str(busy), seconds=seconds)
        except psycopg.Error as error:
            self._missed(chunk, error)
            return False
        ledger.release(self._sessions.target, connector, chunk.number)
        TROUBLES.over(_STANDBY)
        if self._merger.misfits:
            self._settings.misfits(self._merger.misfits)
            self._merger.misfits = []
        return True

    def _write_over(self, chunk: Chunk, stop: Event) -> None:
        read = self._read_over(chunk, stop)
        attached.place(self._sessions.primary, self._merger, read, chunk, monotonic(), self._barriers)

    def _read_over(self, chunk: Chunk, stop: Event) -> attached.Read:
        """How a chunk is read that is written over what is there: on the primary, with all tables that have joined by
        then, and under the lock without making columns."""

        def refuse(needs: list[Need]) -> Refused:
            raise Moved(needs[:3])

        def read(position: Lsn, held: bool) -> AbstractContextManager[Reading]:
            self._know_tables()
            reader = self._reader_over(self._sessions.primary, position, refuse if held else self._ensure)
            return reader.read(chunk, stop)

        return read

    def _fill(self, chunk: Chunk, stop: Event) -> None:
        began = monotonic()
        reader = self._reader
        if self._conflicts[chunk.number] >= _CONFLICTS:
            _LOG.info("chunk %d is read from the primary, since its standby cancels it", chunk.number)
            reader = self._reader_over(self._sessions.primary, self._cutoff, self._ensure)
        with _without_garbage_collection(), reader.read(chunk, stop) as reading:
            self._merger.merge(chunk, reading, began)

    def _repair_range(self, chunk: Chunk) -> None:
        if self._repair is None:
            if self._settings.repairs is None:
                raise LookupError(f"chunk {chunk.number} is to be compared, and nobody said how")
            self._repair = self._settings.repairs(self._sessions.primary, self._sessions.target)
        self._repair(chunk, monotonic())

    def _joined(self, chunk: Chunk, stop: Event) -> bool:
        """Know the chunk's table, which may have joined, and those that it meets; False when `stop` was set."""
        target, connector = self._sessions.target, self._mapping.connector
        self._know_tables()
        gate = next((each.gate for each in sources.load(target, connector) if each.qualified == chunk.source), None)
        return not gate or await_replay(self._sessions.source, gate, stop, self._settings.gate_seconds)

    def _know_tables(self) -> None:
        """Know the tables that have joined by now."""
        mapping = sources.joined(self._sessions.target, self._mapping)
        if mapping != self._mapping:
            self._mapping = mapping
            self._reader = self._new_reader()

    def _missed(self, chunk: Chunk, error: psycopg.Error) -> None:
        """A chunk that could not be done: whose failure is it? Raises it where a server is to be waited for."""
        found = fault(error)
        match found and found.fate:
            case Fate.CONFLICT:
                self._conflicts[chunk.number] += 1
                seconds = self._settings.backoff * _LONGER ** self._conflicts[chunk.number]
                why = f"chunk {chunk.number} was cancelled on the standby: {error}; {_WAYS_OUT}"
                TROUBLES.hold(_STANDBY, why)
                self._rest(chunk, why, seconds)
            case Fate.WAITS:
                self._rest(chunk, str(error), self._settings.backoff)
                raise error
            case _:
                _LOG.warning("chunk %d of %s failed: %s", chunk.number, self._mapping.connector, error)
                self._written_down(
                    lambda target: ledger.mark_failed(
                        target,
                        self._mapping.connector,
                        chunk.number,
                        error=str(error),
                        attempts=self._settings.attempts,
                        backoff=self._settings.backoff,
                    )
                )

    def _rest(self, chunk: Chunk, why: str, seconds: float) -> None:
        """It is tried again later, and that was no failed attempt of ours."""
        _LOG.warning("chunk %d of %s waits: %s", chunk.number, self._mapping.connector, why)
        self._written_down(
            lambda target: ledger.postpone(target, self._mapping.connector, chunk.number, why=why, seconds=seconds)
        )

    def _written_down(self, write: Callable[[Connection], None]) -> None:
        """Over a session of its own: the worker's may be broken, or hold half a COPY."""
        try:
            with connect(self._settings.target_dsn) as target:
                write(target)
        except psycopg.Error as away:
            _LOG.warning("the target cannot be written, so nothing is written down: %s", away)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """A fold is a million objects and no cycle: looking for cycles in it takes as long as folding."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _cutoff(target: Connection, connector: str) -> Lsn:
    row = target.execute("SELECT cutoff::text FROM widebeam.connectors WHERE connector = %s", [connector]).fetchone()
    if row is None or row[0] is None:
        raise LookupError(f"connector {connector} has no cutoff yet: prepare it first")
    return Lsn.parse(row[0])
