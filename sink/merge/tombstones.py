"""Tombstones: cells that the stream cleared in a chunk that is not merged yet, so that the chunk leaves them out.

The chunk's ledger row serialises the two: a sink takes it FOR KEY SHARE before it writes a tombstone, the chunk's
worker FOR UPDATE before it reads them, in a later statement.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Dict
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import sql

from sink.fold.rows import Moments, WideKey, WideRow
from sink.mapping.mapping import Mapping
from sink.mapping.wide import Entity, identity, overlong
from sink.wide import tables

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class Cleared(NamedTuple):
    """A cell that was cleared, in a row of the table `source`.

    `entity` and `time` are JSON arrays of wide values; `moment` is where the row lies on the axis of the chunks.
    """

    entity: str
    time: str
    source: str
    moment: str
    key: str


def cleared(
    mapping: Mapping,
    entities: Dict[str, Entity],
    folded: Dict[str, Dict[WideKey, WideRow]],
    moments: Moments | None = None,
) -> list[Cleared]:
    """The cells that a fold leaves cleared, whether there is a column for them or not.

    `moments` says where the source rows of a wide row lie; for a plain mapping that is its time.
    """
    found: list[Cleared] = []
    width = 0 if mapping.layout == "per_entity" else len(mapping.entity)
    table = mapping.table.qualified
    for name, rows in folded.items():
        ordinals = entities[name].ordinals if name in entities else {}
        for key, row in rows.items():
            keys = (
                [ordinals[ordinal].key for ordinal, value in row.cells.items() if value is None] if row.clears else []
            )
            if not keys and not row.bare:
                continue
            entity, time = identity(key[:width]) if width else name, identity(key[width:])
            # What no index takes has no cell anywhere.
            keys += [each for each in row.bare or () if overlong((entity,), (), each) is None]
            if keys:
                lying = [(table, key[width])] if moments is None else sorted(moments.get((name, key), ()))
                found += [Cleared(entity, time, *place, each) for place in lying for each in keys]
    return found


def bury(connection: Connection, mapping: Mapping, cells: Iterable[Cleared]) -> int:
    """Write tombstones for those of the cells whose chunk is not merged; how many there are.

    In the open transaction, before any wide row is touched. The chunks' rows are locked in their order.
    """
    wanted = list(cells)
    if not wanted or not _any_open(connection, mapping.connector):
        return 0
    places = sorted({(cell.source, cell.moment) for cell in wanted})
    parameters: dict[str, Any] = {
        "connector": mapping.connector,
        "sources": [source for source, _ in places],
        "moments": [moment for _, moment in places],
    }
    time_type = tables.type_name(mapping.rule.axis_type or "text")
    chunks = [row[0] for row in connection.execute(_CHUNKS.format(type=time_type), parameters)]
    locked = [row[0] for row in connection.execute(_LOCK, [mapping.connector, chunks])] if chunks else []
    if not locked:
        return 0
    parameters |= {"locked": locked, **{name: [getattr(cell, name) for cell in wanted] for name in Cleared._fields}}
    return connection.execute(_BURY.format(type=time_type), parameters).rowcount


def void(connection: Connection, connector: str) -> int:
    """The narrow table was truncated: what its open chunks would read comes by the stream. How many there were.

    In the open transaction, before any wide row is touched.
    """
    connection.execute(_LOCK_OPEN, [connector])
    return connection.execute(_VOID, [connector]).rowcount


def _any_open(connection: Connection, connector: str) -> bool:
    return connection.execute(_ANY_OPEN, [connector]).fetchone() == (True,)


_ANY_OPEN: Final = "SELECT EXISTS (SELECT FROM widebeam.chunks WHERE connector = %s AND state IN ('planned', 'failed'))"
_CHUNKS: Final = sql.SQL(
    """
WITH c AS MATERIALIZED (
    SELECT chunk, source, lower_bound::{type} AS lower_bound, upper_bound::{type} AS upper_bound
    FROM widebeam.chunks WHERE connector = %(connector)s AND state IN ('planned', 'failed')
), m AS MATERIALIZED (
    SELECT source, moment::{type} AS moment FROM unnest(%(sources)s::text[], %(moments)s::text[]) AS m (source, moment)
)
SELECT chunk FROM c WHERE EXISTS (
    SELECT FROM m
    WHERE c.source = m.source
    AND (c.lower_bound IS NULL OR m.moment >= c.lower_bound) AND (c.upper_bound IS NULL OR m.moment < c.upper_bound)
) ORDER BY chunk
"""
)
_LOCK: Final = (
    "SELECT chunk FROM widebeam.chunks WHERE connector = %s AND chunk = ANY(%s) AND state IN ('planned', 'failed')"
    " ORDER BY chunk FOR KEY SHARE"
)
_BURY: Final = sql.SQL(
    """
WITH c AS MATERIALIZED (
    SELECT chunk, source, lower_bound::{type} AS lower_bound, upper_bound::{type} AS upper_bound
    FROM widebeam.chunks WHERE connector = %(connector)s AND chunk = ANY(%(locked)s)
), m AS MATERIALIZED (
    SELECT entity, time, source, moment::{type} AS moment, key
    FROM unnest(%(entity)s::text[], %(time)s::text[], %(source)s::text[], %(moment)s::text[], %(key)s::text[])
        AS m (entity, time, source, moment, key)
)
INSERT INTO widebeam.tombstones (connector, chunk, entity, "time", key)
SELECT %(connector)s, c.chunk, m.entity, m.time, m.key FROM m JOIN c
ON c.source = m.source
AND (c.lower_bound IS NULL OR m.moment >= c.lower_bound) AND (c.upper_bound IS NULL OR m.moment < c.upper_bound)
ON CONFLICT DO NOTHING
"""
)
_LOCK_OPEN: Final = (
    "SELECT count(*) FROM (SELECT FROM widebeam.chunks WHERE connector = %s AND state IN ('planned', 'failed')"
    " ORDER BY chunk FOR UPDATE) AS open"
)
_VOID: Final = (
    "UPDATE widebeam.chunks SET state = 'void', error = NULL, retry_at = NULL"
    " WHERE connector = %s AND state IN ('planned', 'failed')"
)
