"""Preconditions of the changes: that one cell is one row, and that updates and deletes say which cell they mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from cdc.source.identity import identities
from cdc.source.identity_remedy import remedy, unique_indexes
from cdc.source.table_name import TableName
from widebeam.check.table import Found, find, leaves, pair
from widebeam.config.connector import Connector
from widebeam.finding import Finding, names, statement

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_MILLISECONDS: Final = 500
_BROKEN: Final = """
SELECT nspname::text, c.relname::text, array_agg(a.attname::text)
FROM pg_index i JOIN pg_class c ON c.oid = indexrelid JOIN pg_namespace n ON n.oid = relnamespace
JOIN pg_attribute a ON a.attrelid = indrelid AND a.attnum = ANY(indkey::int2[])
WHERE indrelid = %s AND indisunique AND NOT indisvalid AND NOT EXISTS (
    SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = indexrelid)
GROUP BY 1, 2
"""
"""What CREATE INDEX CONCURRENTLY leaves behind where it fails."""


def unique_cell(session: Session, connector: Connector) -> Iterator[Finding]:
    """A unique index on exactly (entity, time, key), so that one cell is one row; or `several` says what holds else."""
    table = find(session, connector)
    if connector.options.source.several != "refuse" or table is None or not _has_cell(session, connector, table):
        return
    cell = sorted(connector.table.cell)
    if any(sorted(columns) == cell for _, columns, _ in unique_indexes(session, table.oid)):
        return
    if _are_several(session, connector):
        yield Finding(
            f"rows of {connector.table.qualified} are alike in ({', '.join(connector.table.cell)}): two are one cell",
            "",
            f'`several = "last"` and `order_by` in [source] of {connector.file} say which of them holds; or delete the '
            "surplus ones, and check again",
        )
        return
    yield Finding(
        f"no unique index on exactly ({', '.join(connector.table.cell)}) of {connector.table.qualified}: "
        f'two rows could be one cell (if they may: several = "last" in [source] of {connector.file})',
        "",
        _unique(session, connector, table),
    )


def _are_several(session: Session, connector: Connector) -> bool:
    """Whether two rows of one cell are found in little time: an index that forbids them could not be made then."""
    cell = names(connector.table.cell)
    query = sql.SQL("SELECT FROM {} WHERE ({}) IS NOT NULL GROUP BY {} HAVING count(*) > 1 LIMIT 1").format(
        sql.Identifier(*pair(connector)), cell, cell
    )
    try:
        with session.transaction():
            session.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(_MILLISECONDS)))
            return session.execute(query).fetchone() is not None
    except psycopg.Error:  # it takes longer, or another check says why it cannot be read
        return False


def _unique(session: Session, connector: Connector, table: Found) -> str:
    """What makes the index; and takes away what an attempt that failed has left, which costs each write its time."""
    cell, rows = list(connector.table.cell), session.execute(_BROKEN, [table.oid]).fetchall()
    left = [(schema, name) for schema, name, columns in rows if sorted(columns) == sorted(cell)]
    online = "" if table.partitioned else "CONCURRENTLY "
    return " ".join(
        [
            *(statement(session, f"DROP INDEX {online}{{}};", each) for each in left),
            statement(session, f"CREATE UNIQUE INDEX {online}ON {{}} ({{}});", pair(connector), names(cell)),
        ]
    )


def identity(session: Session, connector: Connector) -> Iterator[Finding]:
    """A replica identity that carries entity, time and key, so that updates and deletes name their cell."""
    table = find(session, connector)
    if table is None or not _has_cell(session, connector, table):
        return
    known = {each.table: each for each in identities(session, connector.table)}
    family = [(table.oid, *pair(connector)), *(leaf[:3] for leaf in leaves(session, table) if leaf[0] != table.oid)]
    for oid, schema, name in family:
        carried = known[TableName(schema, name)]
        version = session.info.server_version
        several = connector.options.source.several != "refuse"
        mend = remedy(session, connector.table, carried, several=several)
        if carried.refuses(version, stored=True):
            yield Finding(
                f"the replica identity of {carried.table} is FULL, and it has virtual generated columns, which nothing "
                "publishes: the application's own UPDATE and DELETE would fail",
                "",
                mend,
            )
        if not carried.holds(connector.table):
            shown = f"only ({', '.join(carried.columns)})" if carried.columns else "nothing"
            yield Finding(
                f"the replica identity of {carried.table} carries {shown}: updates and deletes would not say which cell"
                + (" (a DEFERRABLE key counts for nothing there)" if _deferrable(session, oid) else ""),
                "",
                mend,
            )


def _deferrable(session: Session, oid: int) -> bool:
    """Whether the primary key is, which the server takes for no identity at all."""
    query = "SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = %s AND indisprimary AND NOT indimmediate)"
    return session.execute(query, [oid]).fetchone() == (True,)


def _has_cell(session: Session, connector: Connector, table: Found) -> bool:
    """Whether the cell's columns exist; if not, `columns_exist` has said so."""
    row = session.execute(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = %s AND attname = ANY(%s) AND NOT attisdropped",
        [table.oid, list(connector.table.cell)],
    ).fetchone()
    return row is not None and row[0] == len(connector.table.cell)


CHECKS: Final = (unique_cell, identity)
