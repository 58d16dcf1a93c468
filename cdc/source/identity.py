"""Replica identity: which columns an UPDATE or DELETE brings of the old row, for a table and each of its partitions."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from cdc.source.narrow import NarrowTable
from cdc.source.table_name import TableName

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

_QUERY: Final = """
WITH RECURSIVE family(oid) AS (
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s
    UNION ALL
    SELECT i.inhrelid FROM family f JOIN pg_inherits i ON i.inhparent = f.oid
)
SELECT n.nspname::text, c.relname::text, c.relreplident::text, ARRAY(
         SELECT a.attname::text
           FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
          WHERE i.indrelid = c.oid
            AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
            AND i.indisvalid AND i.indimmediate  -- a DEFERRABLE key is none: the server refuses UPDATE and DELETE
          ORDER BY a.attnum), ARRAY(
         SELECT DISTINCT a.attgenerated::text FROM pg_attribute a
          WHERE a.attrelid = c.oid AND a.attgenerated <> '' AND NOT a.attisdropped), c.oid
  FROM family JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace
"""


GENERATED: Final = 180_000
"""The server version from which on generated columns can be published, and under FULL have to be."""


class Identity(NamedTuple):
    """One table's replica identity. `kind` is pg_class.relreplident: d, n, f or i; `columns` are empty for n and f.

    `generated` says how columns of the table are generated: s (stored), v (virtual), or not at all.
    """

    table: TableName
    kind: str
    columns: tuple[str, ...]
    generated: tuple[str, ...] = ()
    oid: int = 0

    @property
    def full(self) -> bool:
        """The whole old row is sent."""
        return self.kind == "f"

    @property
    def usable(self) -> bool:
        """There is one: without it, publishing makes the application's own UPDATE and DELETE fail."""
        return self.full or bool(self.columns)

    def refuses(self, version: int, *, stored: bool) -> bool:
        """Whether the server refuses the application's UPDATE and DELETE because a column of FULL is not published.

        `stored` says whether the publication has the stored generated columns; nothing publishes virtual ones.
        """
        needed = () if not self.full or version < GENERATED else self.generated
        return "v" in needed or ("s" in needed and not stored)

    def holds(self, table: NarrowTable) -> bool:
        """An old row says which cell it means."""
        return self.full or set(table.cell) <= set(self.columns)


def identities(connection: Connection, table: NarrowTable) -> list[Identity]:
    """The table's replica identity, and those of its partitions; empty if there is no such table."""
    rows = connection.execute(_QUERY, [table.schema, table.name]).fetchall()
    return [
        Identity(TableName(*name), kind, tuple(columns), tuple(generated), oid)
        for *name, kind, columns, generated, oid in rows
    ]
