"""Preconditions of the publication: that it carries all changes of the narrow table, or that it can be made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from cdc.publication import Published, inspect
from widebeam.check_table import Found, find, pair
from widebeam.config import Connector
from widebeam.finding import Finding, names, statement

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LISTS_FROM: Final = 150000  # PostgreSQL 15 brought column lists and row filters


def publication(session: Session, connector: Connector) -> Iterator[Finding]:
    """All kinds of changes, all rows, all mapped columns, and partitions under the table's own name."""
    table = find(session, connector)
    if table is None or table.kind not in "rp":
        return
    found = inspect(session, connector.publication, connector.table)
    if found is None:
        yield from _can_be_made(session, connector, table)
    else:
        yield from _fits(session, connector, table, found)


def _can_be_made(session: Session, connector: Connector, table: Found) -> Iterator[Finding]:
    """Making one takes the table's owner with CREATE on the database."""
    may = session.execute(
        "SELECT has_database_privilege(current_database(), 'CREATE') AND pg_has_role(relowner, 'USAGE') "
        "FROM pg_class WHERE oid = %s",
        [table.oid],
    ).fetchone()
    if not (may and may[0]):
        yield Finding(
            f"there is no publication {connector.publication}, and the role {session.info.user} may not make it",
            "",
            f"as the owner of the table: {_creation(session, connector, table)}",
        )


def _creation(session: Session, connector: Connector, table: Found) -> str:
    """The statement that makes it. FULL and a column list exclude each other."""
    columns = (
        sql.SQL(" ({})").format(names(connector.table.columns))
        if session.info.server_version >= _LISTS_FROM and table.identity == "d" and not table.partitioned
        else sql.SQL("")
    )
    root = " WITH (publish_via_partition_root = true)" if table.partitioned else ""
    template = f"CREATE PUBLICATION {{}} FOR TABLE {{}}{{}}{root};"
    return statement(session, template, connector.publication, pair(connector), columns)


def _fits(session: Session, connector: Connector, table: Found, found: Published) -> Iterator[Finding]:
    name, place = connector.publication, connector.table.qualified
    if found.lacks_ops:
        remedy = "ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate');"
        what = f"the publication {name} leaves out: {', '.join(found.lacks_ops)}"
        yield Finding(what, "", statement(session, remedy, name))
    if table.partitioned and not found.via_root:
        remedy = "ALTER PUBLICATION {} SET (publish_via_partition_root = true);"
        yield Finding(
            f"the publication {name} names partitions instead of {place}", "", statement(session, remedy, name)
        )
    elif not found.covers and not _joins(session, connector, table):
        remedy = statement(session, "ALTER PUBLICATION {} ADD TABLE {};", name, pair(connector))
        yield Finding(f"the publication {name} does not contain {place}", "", remedy)
    if found.covers and (found.row_filter is not None or found.lacks_columns):
        lacking = f"leaves out the columns {', '.join(found.lacks_columns)}"
        what = "filters rows" if found.row_filter is not None else lacking
        remedy = statement(session, "ALTER PUBLICATION {} SET TABLE {};", name, pair(connector))
        yield Finding(f"the publication {name} {what} of {place}", "", remedy)


def _joins(session: Session, connector: Connector, table: Found) -> bool:
    """Whether a run puts the table into the publication by itself, as one that came after the others."""
    may = session.execute(
        "SELECT pg_has_role(pubowner, 'USAGE') AND pg_has_role(relowner, 'USAGE') "
        "FROM pg_publication, pg_class WHERE pubname = %s AND pg_class.oid = %s",
        [connector.publication, table.oid],
    ).fetchone()
    return connector.growing and may == (True,)


def _may_add(session: Session, connector: Connector, table: Found) -> bool:
    """Whether the role may put a new table of the family into the publication: then it joins by itself."""
    row = session.execute(
        "SELECT bool_and(pg_has_role(owner, 'USAGE')) FROM (SELECT pubowner FROM pg_publication WHERE pubname = %s "
        "UNION SELECT relowner FROM pg_class WHERE oid = %s) AS owners (owner)",
        [connector.publication, table.oid],
    ).fetchone()
    return row == (True,)


CHECKS: Final = (publication,)
