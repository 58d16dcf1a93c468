"""Tombstones as a chunk meets them: cells that the stream cleared before it was merged (sink/merge/tombstones.py)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Mapping as Dict
from typing import Any, NamedTuple, TypeAlias

import psycopg

from sink.fold.rows import WideKey
from sink.mapping.mapping import Mapping
from sink.mapping.wide import ALL, Entity
from snapshot.chunks.plan import Chunk
from snapshot.fill.fold import ChunkFold

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class Tombstone(NamedTuple):
    """A cell that the stream cleared before its chunk was merged: where the registry and a fold have it."""

    entity: str
    wide: WideKey
    key: str


def of_chunk(target: Connection, mapping: Mapping, chunk: Chunk) -> set[Tombstone]:
    """Those that there are; all that there will be, once the chunk's row in the ledger is locked."""
    single = mapping.layout == "single"
    found = target.execute(
        'SELECT entity, "time", key FROM widebeam.tombstones WHERE connector = %s AND chunk = %s',
        [mapping.connector, chunk.number],
    )
    stones, same = set[Tombstone](), mapping.one_text
    for entity, time, key in found:
        of, at = tuple(json.loads(entity)), tuple(json.loads(time))
        if same is not None:
            of, at = same(of, at)
        stones.add(Tombstone(ALL if single else entity, of + at if single else at, key))
    return stones


def leave_out(piece: ChunkFold, entities: Dict[str, Entity], stones: Iterable[Tombstone]) -> None:
    """Take the cells that the stream cleared out of a fold."""
    for stone in stones:
        entity = entities.get(stone.entity)
        column = None if entity is None else entity.columns.get(stone.key)
        row = piece.tables.get(stone.entity, {}).get(stone.wide)
        if column is not None and row is not None:
            row.cells.pop(column.ordinal, None)
        elif row is not None and row.over is not None:
            row.over.pop(stone.key, None)


def forget(target: Connection, connector: str, chunk: Chunk) -> None:
    """The chunk is merged, or written over what is there: its tombstones have done what they are for."""
    target.execute("DELETE FROM widebeam.tombstones WHERE connector = %s AND chunk = %s", [connector, chunk.number])
