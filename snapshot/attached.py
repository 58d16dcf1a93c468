"""Chunks that are written over what is there: of an attached partition, or of a table that joins others.

A chunk of the backfill only fills, since whatever stands in a cell came by the stream and is newer. Here it may be
older, or another table's: rows came without an event with a partition that was attached (it may have been detached
before, or its rows deleted where deletes are ignored); or a table joins with rows that were there before, and where
several rows can meet in a cell, its own may be the one that holds. So such a chunk is read and merged at a standstill
of the sinks (sink/state/standstill.py). That takes:

- What was applied is visible. Where rows can meet, sinks have seen to it before they read; else the writers of the
  narrow table are waited for.
- Nothing that is older is on its way any more: no record from before the attaching, and no batch of a sink that has
  read its cells again without knowing the table. For a partition, the chunk is only planned after a barrier has passed
  (widebeam/setup/survey.py). Where rows can meet, the worker emits one once the table is published, and looks under
  the lock whether it has passed: a replay sets that back.
- No chunk that only fills is open where it could meet this one (snapshot/chunks/ledger.py).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from time import monotonic
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import errors

from cdc.failpoint import Failpoint
from cdc.lsn import Lsn
from cdc.source.table_name import TableName
from sink.mapping.rule import Rule
from sink.merge.prepared import Prepared
from sink.state import barrier, sources
from sink.state.standstill import Standstill
from snapshot.chunks.estimate import plan_chunks
from snapshot.chunks.plan import Chunk
from snapshot.fill.merge import ChunkMerger
from snapshot.fill.reader import Reading

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Read: TypeAlias = "Callable[[Lsn, bool], AbstractContextManager[Reading]]"
"""Reads the chunk on the primary, for rows at this position; the second time, a key without a column raises Moved."""

REST: Final = 5.0
"""Seconds until a chunk is tried again for which a writer did not end in time."""

SOON: Final = 0.5
"""Seconds until a chunk is tried again that waits for the sinks."""

_ANOTHER: Final = 30.0  # seconds after which another barrier is emitted
_PATIENCE: Final = 3.0  # seconds for which sinks are held up while writers end

# What lies in the log by now is older than these rows, which no record brings: a replay would undo them. (Not where a
# sink reads each cell again, and nothing of what was deleted counts.)
_FLOOR: Final = "UPDATE widebeam.progress SET floor = next_offset WHERE connector = %s"


class Early(Exception):
    """Sinks may still be at work on what they have read before the table was published."""


class Barriers:
    """For each narrow table the barrier that has to pass before its chunks are written over what is there."""

    def __init__(self, primary: Connection, connector: str) -> None:
        self._primary, self._connector = primary, connector
        self._marks: dict[tuple[str, Lsn | None], Lsn] = {}  # a table that is made again is published again
        self._emitted = 0.0

    def check(self, target: Connection, table: str) -> None:
        """Raises Early as long as the table's barrier has not passed; emits it at the first time.

        A later one will do as well: one is emitted now and then, since a replay may begin behind the first.
        """
        now = monotonic()
        gates = {each.qualified: each.gate for each in sources.load(target, self._connector)}
        published = table, gates.get(table)
        if published not in self._marks:
            self._marks[published], self._emitted = barrier.emit(self._primary, f"to be written: {table}"), now
        mark = self._marks[published]
        if not barrier.passed(target, self._connector, mark):
            if now - self._emitted > _ANOTHER:
                self._emitted = now
                barrier.emit(self._primary, f"to be written: {table}")
            raise Early(f"sinks are still to come past {mark}, where {table} was published already")


def plan_attached(source: Connection, rule: Rule, leaf: str, chunk_rows: int, chunk_hours: float | None) -> list[Chunk]:
    """Chunks of the partition `leaf` of the rule's table, from number 1 on.

    Where rows of several partitions can meet in a cell, or where the partition may only be read through its table,
    the whole table is read again.
    """
    table, (schema, name) = rule.table.qualified, TableName.of(leaf)
    alone = replace(rule, table=replace(rule.table, schema=schema, name=name))
    try:
        if rule.several == "refuse":
            chunks = plan_chunks(source, alone, chunk_rows, chunk_hours)
            return [chunk._replace(source=table, reads=leaf) for chunk in chunks]
    except errors.InsufficientPrivilege:
        pass
    return [chunk._replace(reads=table) for chunk in plan_chunks(source, rule, chunk_rows, chunk_hours)]


def place(
    primary: Connection, merger: ChunkMerger, read: Read, chunk: Chunk, began: float, barriers: Barriers | None = None
) -> None:
    """Read and merge such a chunk; with `barriers` where several rows can meet in a cell.

    Raises StillWriting, Early; nothing is done then.
    """
    target = merger.target
    tables = [TableName.of(chunk.source)] if barriers is None else []  # where rows can meet, sinks have waited
    standstill = Standstill(
        primary, target, merger.registry, tables, patience=_PATIENCE, reached=Failpoint.ATTACHED_HELD
    )

    def make() -> Prepared:
        if barriers is not None:
            barriers.check(target, chunk.source)
        with read(Lsn(0), False) as reading:  # makes the columns, so that none has to be made under the lock
            for _piece in reading.pieces:
                pass
            return merger.prepare(reading.entities, clears=True)

    def write(prepared: Prepared) -> None:
        held = prepared.hold()
        standing = standstill.begin()
        if barriers is not None:
            barriers.check(target, chunk.source)
        if merger.replays_undo:
            target.execute(_FLOOR, [merger.connector])
        with read(standing.furthest, True) as reading:
            merger.write_over(chunk, held, reading, began)

    standstill.overwrite(make, write, f"the rows of {chunk.reads}")
