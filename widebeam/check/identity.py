"""Preconditions of the changes: that one cell is one row, and that updates and deletes say which cell they mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import psycopg

from cdc.source.identity import identities
from cdc.source.identity_remedy import remedy, unique_indexes
from cdc.source.table_name import TableName
from widebeam.check.table import Found, find, leaves, pair
from widebeam.config.connector import Connector
from widebeam.finding import Finding, names, statement

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


def unique_cell(session: Session, connector: Connector) -> Iterator[Finding]:
    """A unique index on exactly (entity, time, key), so that one cell is one row; or `several` says what holds else."""
    table = find(session, connector)
    if connector.options.source.several != "refuse" or table is None or not _has_cell(session, connector, table):
        return
    cell = sorted(connector.table.cell)
    if not any(sorted(columns) == cell for _, columns, _ in unique_indexes(session, table.oid)):
        online = "" if table.partitioned else "CONCURRENTLY "
        remedy = statement(
            session, f"CREATE UNIQUE INDEX {online}ON {{}} ({{}});", pair(connector), names(connector.table.cell)
        )
        yield Finding(
            f"no unique index on exactly ({', '.join(connector.table.cell)}) of {connector.table.qualified}: "
            f'two rows could be one cell (if they may: several = "last" in [source] of {connector.file})',
            "",
            remedy,
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
