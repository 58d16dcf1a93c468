"""Doing one chunk: read, merge, or write down why not."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event
from time import monotonic
from typing import Any, Final, TypeAlias

import psycopg

from cdc.lsn import Lsn
from cdc.source.writers import StillWriting
from sink.fold.column_route import Routes
from sink.lookup import Lookup
from sink.mapping.wide import Need, Refused
from sink.state import sources
from sink.wide.registry import Registry
from snapshot import attached
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


class Worker:
    """Does chunks over one set of sessions."""

    def __init__(self, settings: BackfillSettings, sessions: Sessions) -> None:
        self._settings, self._sessions = settings, sessions
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
            _LOG.warning("chunk %d of %s failed: %s", chunk.number, connector, error)
            self._failed(chunk, str(error))
            return False
        ledger.release(self._sessions.target, connector, chunk.number)
        return True

    def _write_over(self, chunk: Chunk, stop: Event) -> None:
        read = self._read_over(chunk, stop)
        attached.place(self._sessions.primary, self._merger, read, chunk, monotonic(), self._barriers)

    def _read_over(self, chunk: Chunk, stop: Event) -> attached.Read:
        """How a chunk is read that is written over what is there: on the primary, with all tables that have joined by
        then, and under the lock without making columns."""

        def refuse(needs: list[Need]) -> Refused:
            raise attached.NewKey(needs[:3])

        def read(position: Lsn, held: bool) -> AbstractContextManager[Reading]:
            self._know_tables()
            reader = self._reader_over(self._sessions.primary, position, refuse if held else self._ensure)
            return reader.read(chunk, stop)

        return read

    def _fill(self, chunk: Chunk, stop: Event) -> None:
        began = monotonic()
        with _without_garbage_collection(), self._reader.read(chunk, stop) as reading:
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

    def _failed(self, chunk: Chunk, error: str) -> None:
        """Write the failure down over a session of its own: the worker's may be broken, or hold half a COPY."""
        settings, connector = self._settings, self._settings.mapping.connector
        try:
            with connect(settings.target_dsn) as target:
                ledger.mark_failed(
                    target,
                    connector,
                    chunk.number,
                    error=error,
                    attempts=settings.attempts,
                    backoff=settings.backoff,
                )
        except psycopg.OperationalError as away:
            _LOG.warning("the target is away too, so nothing is written down: %s", away)


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
