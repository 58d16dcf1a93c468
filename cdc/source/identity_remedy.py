"""How a table gets a replica identity that says which cell an old row means, so that no write of the application fails.

The server refuses UPDATE and DELETE of a published table without a usable identity, with one of which some
publication's column list lacks a column, and with FULL where a column list is there at all (or, from PostgreSQL 18 on,
a generated column that is not published). Any publication counts, not only ours.
"""

from __future__ import annotations

from typing import Any, LiteralString, NamedTuple, TypeAlias

import psycopg
from psycopg import sql

from cdc.source.identity import Identity
from cdc.source.narrow import NarrowTable

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

_PUBLISHERS = """
WITH line(oid) AS (SELECT %(t)s::oid UNION SELECT relid FROM pg_partition_ancestors(%(t)s::oid))
SELECT p.pubname::text, coalesce(to_jsonb(p) ->> 'pubgencols', 'n') = 's', (
         SELECT array_agg(a.attname::text) FROM pg_publication_rel r JOIN pg_attribute a ON a.attrelid = r.prrelid
          WHERE r.prpubid = p.oid AND r.prrelid IN (SELECT oid FROM line)
            AND to_jsonb(r) -> 'prattrs' @> to_jsonb(a.attnum))
  FROM pg_publication p
 WHERE (p.pubupdate OR p.pubdelete)
   AND (p.puballtables OR p.oid IN (SELECT prpubid FROM pg_publication_rel WHERE prrelid IN (SELECT oid FROM line)){})
 ORDER BY 1
"""
_BY_SCHEMA = """
 OR p.oid IN (SELECT pnpubid FROM pg_publication_namespace JOIN pg_class c ON c.relnamespace = pnnspid
               WHERE c.oid IN (SELECT oid FROM line))"""
_SCHEMAS_FROM = 150_000
_UNIQUE = """
SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum), bool_and(a.attnotnull)
  FROM pg_index i JOIN pg_class c ON c.oid = indexrelid
  JOIN pg_attribute a ON a.attrelid = indrelid AND a.attnum = ANY((indkey::int2[])[0:indnkeyatts - 1])
 WHERE indrelid = %s AND indisunique AND indisvalid AND indimmediate AND indpred IS NULL AND indexprs IS NULL
 GROUP BY c.relname, indisprimary, indnkeyatts ORDER BY indisprimary DESC, indnkeyatts, 1
"""
_COLUMNS = """
SELECT attname::text, attnotnull, attnum = ANY(coalesce((SELECT indkey::int2[] FROM pg_index
         WHERE indrelid = attrelid AND indisprimary), '{}'))
  FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


class Publisher(NamedTuple):
    """A publication that brings updates or deletes of a table: its column list (None without one)."""

    name: str
    stored: bool
    columns: list[str] | None


def publishers(connection: Connection, oid: int) -> list[Publisher]:
    """All publications of a table or partition, be it by its own name, an ancestor's, its schema's or for all."""
    schemas = sql.SQL(_BY_SCHEMA if connection.info.server_version >= _SCHEMAS_FROM else "")
    return [Publisher(*row) for row in connection.execute(sql.SQL(_PUBLISHERS).format(schemas), {"t": oid})]


def unique_indexes(connection: Connection, oid: int) -> list[tuple[str, list[str], bool]]:
    """Valid, complete, immediate unique indexes of a table: name, key columns, whether all of them are NOT NULL."""
    return connection.execute(_UNIQUE, [oid]).fetchall()


def remedy(connection: Connection, table: NarrowTable, identity: Identity, *, several: bool = False) -> str:
    """The statements that give a narrow table, or a partition of it, an identity that carries its cell.

    A unique index that is there is taken before FULL, and FULL before an index that is yet to be made: that one asks
    for NOT NULL, which an application may not expect. `several` rows may share a cell: then the index has the primary
    key, too.
    """
    others = publishers(connection, identity.oid)
    shown = sql.Identifier(*identity.table)
    fitting = [
        index
        for index, columns, not_null in unique_indexes(connection, identity.oid)
        if not_null and set(table.cell) <= set(columns) and _listed(others, columns)
    ]
    if fitting:
        return _text(connection, "ALTER TABLE {} REPLICA IDENTITY USING INDEX {};", shown, sql.Identifier(fitting[0]))
    if _full_fits(connection, identity, others):
        return _text(connection, "ALTER TABLE {} REPLICA IDENTITY FULL;", shown)
    return _new_index(connection, table, identity, several=several)


def _listed(others: list[Publisher], columns: list[str]) -> bool:
    return all(each.columns is None or set(columns) <= set(each.columns) for each in others)


def _full_fits(connection: Connection, identity: Identity, others: list[Publisher]) -> bool:
    """Whether the application's writes go on with FULL."""
    as_full = identity._replace(kind="f")
    stored = all(each.stored for each in others)
    return not as_full.refuses(connection.info.server_version, stored=stored) and all(
        each.columns is None for each in others
    )


def _new_index(connection: Connection, table: NarrowTable, identity: Identity, *, several: bool) -> str:
    rows = connection.execute(_COLUMNS, [identity.oid]).fetchall()
    primary = [column for column, _, in_key in rows if in_key and column not in table.cell] if several else []
    columns = [*table.cell, *primary]
    nullable = [column for column, not_null, _ in rows if column in columns and not not_null]
    shown, index = (
        sql.Identifier(*identity.table),
        sql.Identifier(f"{identity.table.name.encode()[:50].decode(errors='ignore')}_widebeam"),
    )
    listed = sql.SQL(", ").join(map(sql.Identifier, columns))
    return " ".join(
        [
            *(
                _text(connection, "ALTER TABLE {} ALTER COLUMN {} SET NOT NULL;", shown, sql.Identifier(column))
                for column in nullable
            ),
            _text(connection, "CREATE UNIQUE INDEX {} ON {} ({});", index, shown, listed),
            _text(connection, "ALTER TABLE {} REPLICA IDENTITY USING INDEX {};", shown, index),
        ]
    )


def _text(connection: Connection, template: LiteralString, *parts: sql.Composable) -> str:
    return sql.SQL(template).format(*parts).as_string(connection)
