"""Preconditions of the publication: that it carries all changes of the narrow tables, or that it can be made.

Looked at for all narrow tables together, so that one statement mends what is amiss with its tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import sql

from cdc.bindable import Verbatim
from cdc.halt import Halt
from cdc.source.identity import identities
from cdc.source.narrow import NarrowTable
from cdc.source.publication import Published as Inspected
from cdc.source.publication import entry, inspect, stored
from widebeam.check.table import Found, find
from widebeam.config.catalog import members
from widebeam.config.connector import Connector
from widebeam.finding import Finding, names, statement

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LISTS_FROM: Final = 150000  # PostgreSQL 15 brought column lists, row filters and whole schemas


_ATTRIBUTES: Final = (
    "SELECT attname::text FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n"
    " ON n.oid = relnamespace WHERE nspname = %s AND relname = %s AND attnum > 0 AND NOT attisdropped"
)


class Listed(NamedTuple):
    """A table as the publication names it: its column list and its row filter, None without one."""

    schema: str
    name: str
    columns: list[str] | None
    row_filter: str | None


class Published(NamedTuple):
    """What a publication names, or that it is for all tables."""

    tables: dict[tuple[str, str], Listed]
    schemas: list[str]
    all: bool

    def covers(self, table: NarrowTable) -> bool:
        """Whether a table is in it, be it by its schema."""
        return self.all or (table.schema, table.name) in self.tables or table.schema in self.schemas


def publication(session: Session, connector: Connector) -> Iterator[Finding]:
    """All kinds of changes, all rows, all mapped columns, and partitions under the table's own name."""
    found = [(table, find(session, connector.at(table))) for table in members(session, connector)]
    tables = [(table, there) for table, there in found if there is not None and there.kind in "rp"]
    if not tables:
        return
    there = inspect(session, connector.publication, tables[0][0])
    if there is None:
        yield from _can_be_made(session, connector, tables)
        return
    yield from _settings(session, connector, tables, there)
    yield from _tables(session, connector, tables)


def _can_be_made(session: Session, connector: Connector, tables: list[tuple[NarrowTable, Found]]) -> Iterator[Finding]:
    """Making one takes the tables' owner with CREATE on the database."""
    may = session.execute(
        "SELECT has_database_privilege(current_database(), 'CREATE') AND bool_and(pg_has_role(relowner, 'USAGE')) "
        "FROM pg_class WHERE oid = ANY(%s)",
        [[there.oid for _, there in tables]],
    ).fetchone()
    if not (may and may[0]):
        entries = sql.SQL(", ").join(_entry(session, table) for table, _ in tables)
        template = "CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true{});"
        yield Finding(
            f"there is no publication {connector.publication}, and the role {session.info.user} may not make it",
            "",
            f"{statement(session, template, connector.publication, entries, stored(session))} -- by the owner of "
            + ("the table" if len(tables) == 1 else "the tables")
            + ", who needs CREATE on the database",
        )


def _settings(
    session: Session,
    connector: Connector,
    tables: list[tuple[NarrowTable, Found]],
    there: Inspected,
) -> Iterator[Finding]:
    roots = [] if there.via_root else [table.qualified for table, found in tables if found.partitioned]
    amiss, settings = [], []
    if there.lacks_ops:
        amiss.append(f"leaves out: {', '.join(there.lacks_ops)}")
        settings.append("publish = 'insert, update, delete, truncate'")
    if roots:
        amiss.append(f"names partitions instead of {', '.join(roots)}")
        settings.append("publish_via_partition_root = true")
    version, failing = session.info.server_version, list[str]()
    for table, _ in tables:
        some = identities(session, table)
        failing += [
            each.table.text
            for each in some
            if each.refuses(version, stored=there.stored) and not each.refuses(version, stored=True)
        ]
    if failing:
        amiss.append(
            f"leaves out generated columns of {', '.join(failing)}, whose replica identity is FULL: "
            "the application's own UPDATE and DELETE fail"
        )
        settings.append("publish_generated_columns = stored")
    if amiss:
        remedy = f"ALTER PUBLICATION {{}} SET ({', '.join(settings)});"
        what = f"the publication {connector.publication} {'; it '.join(amiss)}"
        yield Finding(what, "", statement(session, remedy, connector.publication))


def _tables(session: Session, connector: Connector, tables: list[tuple[NarrowTable, Found]]) -> Iterator[Finding]:
    """What it lacks of the tables, with one statement that keeps whatever else it names."""
    published = _published(session, connector.publication)
    absent = [table for table, there in tables if not published.covers(table) and not _joins(session, connector, there)]
    amiss = [f"does not contain {', '.join(table.qualified for table in absent)}"] if absent else []
    unfit = dict[tuple[str, str], str]()
    for table, _ in tables:
        listed = published.tables.get((table.schema, table.name))
        if listed is not None and (what := _unfit(session, table, listed)):
            unfit[table.schema, table.name] = what
    amiss += unfit.values()
    if not amiss:
        return
    add = [_entry(session, table, listless=bool(published.schemas)) for table in absent]
    verb = "ADD"
    if unfit:
        verb = "SET"
        ours = {(table.schema, table.name): table for table, _ in tables}
        add += [
            _entry(session, ours[place], listless=bool(published.schemas)) if place in unfit else _as_it_is(listed)
            for place, listed in published.tables.items()
        ]
    schemas = published.schemas if unfit else []
    more = [sql.SQL("TABLES IN SCHEMA {}").format(sql.Identifier(schema)) for schema in schemas]
    entries = sql.SQL(", ").join([sql.SQL("TABLE {}").format(sql.SQL(", ").join(add)), *more])
    remedy = statement(session, f"ALTER PUBLICATION {{}} {verb} {{}};", connector.publication, entries)
    yield Finding(f"the publication {connector.publication} {'; it '.join(amiss)}", "", remedy)


def _unfit(session: Session, table: NarrowTable, listed: Listed) -> str | None:
    """What the publication leaves out of a table that it names."""
    if listed.row_filter is not None:
        return f"filters rows of {table.qualified}"
    if listed.columns is None:
        return None
    there = {row[0] for row in session.execute(_ATTRIBUTES, [table.schema, table.name])}
    lacking = [name for name in table.columns if name in there and name not in listed.columns]  # of others, others say
    if lacking:
        return f"leaves out the columns {', '.join(lacking)} of {table.qualified}"
    if any(each.full or not set(each.columns) <= set(listed.columns) for each in identities(session, table)):
        return (
            f"leaves out columns of the replica identity of {table.qualified}, "
            "which makes the application's own UPDATE and DELETE fail"
        )
    return None


def _published(session: Session, publication: str) -> Published:
    """Read by pg_publication_rel: pg_publication_tables shows partitions in the place of their table."""
    lists = session.info.server_version >= _LISTS_FROM
    row_filter, columns = (
        ("pg_get_expr(prqual, prrelid)", "CASE WHEN prattrs IS NOT NULL THEN ARRAY(SELECT attname::text FROM "
         "pg_attribute WHERE attrelid = prrelid AND attnum = ANY (prattrs::int2[]) ORDER BY attnum) END")
        if lists
        else ("NULL", "NULL::text[]")
    )  # fmt: skip
    rows = session.execute(
        sql.SQL(
            "SELECT nspname::text, relname::text, {}, {} FROM pg_publication p JOIN pg_publication_rel ON prpubid = "
            "p.oid JOIN pg_class c ON c.oid = prrelid JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE pubname = %s ORDER BY 1, 2"
        ).format(sql.SQL(columns), sql.SQL(row_filter)),
        [publication],
    ).fetchall()
    schemas = session.execute(
        "SELECT nspname::text FROM pg_publication_namespace JOIN pg_publication p ON p.oid = pnpubid "
        "JOIN pg_namespace n ON n.oid = pnnspid WHERE pubname = %s ORDER BY 1",
        [publication],
    ).fetchall() if lists else []  # fmt: skip
    every = session.execute("SELECT puballtables FROM pg_publication WHERE pubname = %s", [publication]).fetchone()
    tables = {(row[0], row[1]): Listed(*row) for row in rows}
    return Published(tables, [schema for (schema,) in schemas], every == (True,))


def _entry(session: Session, table: NarrowTable, *, listless: bool = False) -> sql.Composable:
    """A narrow table in a publication; without a column list where its replica identity is yet to be mended."""
    plain = sql.Identifier(table.schema, table.name)
    if listless or not all(each.holds(table) for each in identities(session, table)):
        return plain
    try:
        return entry(session, table)
    except Halt:  # no replica identity that could be used: another check says so
        return plain


def _as_it_is(listed: Listed) -> sql.Composable:
    columns = sql.SQL("") if listed.columns is None else sql.SQL(" ({})").format(names(listed.columns))
    rows = sql.SQL("") if listed.row_filter is None else sql.SQL(" WHERE ({})").format(Verbatim(listed.row_filter))
    return sql.SQL("{}{}{}").format(sql.Identifier(listed.schema, listed.name), columns, rows)


def _joins(session: Session, connector: Connector, table: Found) -> bool:
    """Whether a run puts the table into the publication by itself, as one that came after the others."""
    may = session.execute(
        "SELECT pg_has_role(pubowner, 'USAGE') AND pg_has_role(relowner, 'USAGE') "
        "FROM pg_publication, pg_class WHERE pubname = %s AND pg_class.oid = %s",
        [connector.publication, table.oid],
    ).fetchone()
    return connector.growing and may == (True,)


CHECKS: Final = (publication,)
