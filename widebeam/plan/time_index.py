"""An index that begins with the time: whether a narrow table has one, which would help, and what reading costs without.

Chunks of the backfill are ranges of the first time column, and so are the ranges of verify. Without such an index each
reads the whole table, or all of another index: beyond some million rows that is most of the time, and it grows with the
square of the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import sql

from cdc.source.narrow import NarrowTable
from cdc.source.table_name import TableName
from sink.mapping.rule import Rule
from snapshot.chunks.plan import Chunk
from snapshot.fill.reader import narrow, within

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

MANY: Final = 1_000_000
"""Rows from which on reading a whole table for each chunk is felt."""

_SAMPLE: Final = 8
_ENTRY: Final = 22
"""Bytes of an index of one time, a row."""
_LEAVES: Final = """
SELECT n.nspname::text, c.relname::text,
       CASE WHEN c.reltuples < 0 THEN pg_relation_size(c.oid) / 100 ELSE c.reltuples END::bigint,
       EXISTS (SELECT FROM pg_index JOIN pg_attribute a ON (a.attrelid, a.attnum) = (indrelid, indkey[0])
               WHERE indrelid = c.oid AND a.attname = %(time)s AND indisvalid AND indpred IS NULL)
FROM pg_class AS root JOIN pg_namespace AS of_root ON of_root.oid = root.relnamespace
CROSS JOIN LATERAL (SELECT root.oid UNION SELECT relid FROM pg_partition_tree(root.oid)) AS leaf
JOIN pg_class AS c ON c.oid = leaf.oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE of_root.nspname = %(schema)s AND root.relname = %(name)s AND c.relkind = 'r' ORDER BY 1, 2
"""


class Lacking(NamedTuple):
    """A table, or a partition of one, without such an index; its rows, by the planner's estimate or its size."""

    table: TableName
    time: str
    rows: int

    def statement(self, session: Session) -> str:
        """What makes one, without a lock that writers meet."""
        made = sql.SQL("CREATE INDEX CONCURRENTLY ON {} ({});")
        return made.format(sql.Identifier(*self.table), sql.Identifier(self.time)).as_string(session)

    @property
    def bytes(self) -> int:
        """What one takes on the source's disk, about."""
        return self.rows * _ENTRY


def lacking(session: Session, table: NarrowTable, times: Sequence[str]) -> list[Lacking]:
    """The table, or those of its partitions, that have no such index of one of these columns."""
    return [
        Lacking(TableName(schema, name), time, rows)
        for time in times
        for schema, name, rows, there in session.execute(
            _LEAVES, {"schema": table.schema, "name": table.name, "time": time}
        ).fetchall()
        if not there
    ]


def scanned(session: Session, rule: Rule, chunks: Sequence[Chunk], rows: int) -> float:
    """How many rows all chunks together look at, as the planner weighs a chunk against the whole table."""
    some = chunks[:: -(-len(chunks) // _SAMPLE) or 1]
    whole = _cost(session, sql.SQL("SELECT * FROM {}").format(narrow(rule, chunks[0]))) if some else 0.0
    if not whole:
        return 0.0
    costs = [
        _cost(session, sql.SQL("SELECT * FROM {} WHERE {}").format(narrow(rule, each), within(rule, each)))
        for each in some
    ]
    return sum(costs) / len(costs) / whole * len(chunks) * rows


def _cost(session: Session, query: sql.Composed) -> float:
    row = session.execute(sql.SQL("EXPLAIN (FORMAT JSON) {}").format(query)).fetchone()
    return 0.0 if row is None else float(row[0][0]["Plan"]["Total Cost"])
