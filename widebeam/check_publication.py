"""Preconditions of the publication: that it carries all changes of the narrow table, or that it can be made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import sql

from widebeam.check_table import Found, find, pair
from widebeam.config import Connector
from widebeam.finding import Finding, names, statement

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LISTS_FROM: Final = 150000  # PostgreSQL 15 brought column lists and row filters


class Published(NamedTuple):
    """A publication as the catalog has it; `columns` and `filter` of our table, None if it is not in it."""

    operations: set[str]
    via_root: bool
    columns: list[str] | None
    filtered: bool


def publication(session: Session, connector: Connector) -> Iterator[Finding]:
    """All kinds of changes, all rows, all mapped columns, and partitions under the table's own name."""
    table = find(session, connector)
    if table is None or table.kind not in "rp":
        return
    found = published(session, connector)
    if found is None:
        yield from _can_be_made(session, connector, table)
    else:
        yield from _fits(session, connector, table, found)


def published(session: Session, connector: Connector) -> Published | None:
    """The publication of the connector's name; None if there is none."""
    row = session.execute(
        "SELECT pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot FROM pg_publication WHERE pubname = %s",
        [connector.publication],
    ).fetchone()
    if row is None:
        return None
    operations = {name for name, on in zip(("insert", "update", "delete", "truncate"), row[:4], strict=True) if on}
    more = "attnames::text[], rowfilter IS NOT NULL" if session.info.server_version >= _LISTS_FROM else "NULL, false"
    ours = session.execute(
        sql.SQL(
            "SELECT {} FROM pg_publication_tables WHERE pubname = %s AND schemaname = %s AND tablename = %s"
        ).format(sql.SQL(more)),
        [connector.publication, *pair(connector)],
    ).fetchone()
    if ours is None:
        return Published(operations, row[4], None, False)
    return Published(operations, row[4], ours[0] or list(connector.table.columns), ours[1])


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
    name = connector.publication
    needed = {"insert", "update", "delete"} | (
        {"truncate"} if connector.options.sink.on_truncate != "ignore" else set()
    )
    if not needed <= found.operations:
        remedy = "ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate');"
        missing = ", ".join(sorted(needed - found.operations))
        yield Finding(f"the publication {name} leaves out: {missing}", "", statement(session, remedy, name))
    if table.partitioned and not found.via_root:
        remedy = "ALTER PUBLICATION {} SET (publish_via_partition_root = true);"
        yield Finding(
            f"the publication {name} names partitions instead of {connector.table.qualified}",
            "",
            statement(session, remedy, name),
        )
    elif found.columns is None:
        remedy = "ALTER PUBLICATION {} ADD TABLE {};"
        yield Finding(
            f"the publication {name} does not contain {connector.table.qualified}",
            "",
            statement(session, remedy, name, pair(connector)),
        )
    left_out = [
        column for column in connector.table.columns if column not in (found.columns or connector.table.columns)
    ]
    if found.filtered or left_out:
        what = "filters rows" if found.filtered else f"leaves out the columns {', '.join(left_out)}"
        yield Finding(
            f"the publication {name} {what} of {connector.table.qualified}",
            "",
            statement(session, "ALTER PUBLICATION {} SET TABLE {};", name, pair(connector)),
        )


CHECKS: Final = (publication,)
