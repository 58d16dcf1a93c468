"""Rows that came without an event, with a partition that was attached: they are written over what is there.

A chunk of the backfill only fills, since whatever stands in a cell came by the stream and is newer. Here it may be
older: from a partition that was detached and comes back, or of rows that were deleted where deletes are ignored. So
such a chunk is read and merged while no sink can advance: all partitions' progress is locked first, then the writers of
the narrow table are waited for, and then the source is read. What is written is at least as new as all that was
applied, and everything newer is still to come by the stream, which puts it over it. Nothing that is older than the
attaching is on its way any more: the chunk was only planned after a barrier had passed (widebeam/survey.py).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import errors, sql

from cdc.failpoint import Failpoint, hit
from cdc.lsn import Lsn
from cdc.writers import await_writers
from sink import account
from sink.registry import Retyped
from sink.rule import Rule
from snapshot.estimate import plan_chunks
from snapshot.merge import ChunkMerger
from snapshot.plan import Chunk
from snapshot.reader import Reading

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Read: TypeAlias = "Callable[[Lsn, bool], AbstractContextManager[Reading]]"
"""Reads the chunk on the primary, for rows at this position; the second time, a key without a column is a NewKey."""

REST: Final = 5.0
"""Seconds until a chunk is tried again for which a writer did not end in time."""

_ATTEMPTS: Final = 4
_PATIENCE: Final = 3.0  # seconds for which sinks are held up while writers end
_POSITION: Final = (
    "SELECT greatest(max(high), max(cutoff))::text FROM widebeam.progress JOIN widebeam.connectors USING (connector)"
    " WHERE connector = %s"
)
_FLOOR: Final = "UPDATE widebeam.progress SET floor = next_offset WHERE connector = %s"


class NewKey(Exception):
    """A key came to be between two reads: it needs a column first."""


def plan_attached(source: Connection, rule: Rule, leaf: str, chunk_rows: int, chunk_hours: float) -> list[Chunk]:
    """Chunks of the partition `leaf` of the rule's table, from number 1 on.

    Where rows of several partitions can meet in a cell, or where the partition may only be read through its table,
    the whole table is read again.
    """
    table, (schema, _, name) = rule.table.qualified, leaf.partition(".")
    alone = replace(rule, table=replace(rule.table, schema=schema, name=name))
    try:
        if rule.several == "refuse":
            chunks = plan_chunks(source, alone, chunk_rows, chunk_hours)
            return [chunk._replace(source=table, reads=leaf) for chunk in chunks]
    except errors.InsufficientPrivilege:
        pass
    return [chunk._replace(reads=table) for chunk in plan_chunks(source, rule, chunk_rows, chunk_hours)]


def place(primary: Connection, merger: ChunkMerger, read: Read, chunk: Chunk, began: float) -> None:
    """Read and merge such a chunk. Raises StillWriting; nothing is done then."""
    schema, _, name = chunk.source.partition(".")
    names = [sql.Identifier(schema, name).as_string(primary)]

    def held(target: Connection) -> AbstractContextManager[Reading]:
        account.stop_all(target, merger.connector)
        row = target.execute(_POSITION, [merger.connector]).fetchone()
        # What lies in the log by now is older than these rows, which no record brings: a replay would undo them.
        target.execute(_FLOOR, [merger.connector])
        hit(Failpoint.ATTACHED_HELD)
        await_writers(primary, names, _PATIENCE)
        return read(Lsn.parse(row[0]) if row is not None else Lsn(0), True)

    for _ in range(_ATTEMPTS):
        with read(Lsn(0), False) as reading:  # makes the columns, so that none has to be made under the lock
            for _piece in reading.pieces:
                pass
            entities = reading.entities
        try:
            return merger.overwrite(chunk, entities, held, began)
        except (NewKey, Retyped):
            merger.refresh()
    raise LookupError(f"keys come to {chunk.reads} faster than columns can be made for them: try again")
