"""Building: the tables, columns and views that were planned, in the target and in its registry."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from sink import tables
from sink.layout import folded
from sink.mapping import Mapping
from sink.planned import Planned
from sink.wide import Need

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


def make(connection: Connection, mapping: Mapping, planned: list[Planned]) -> None:
    """Make what is planned, in the open transaction.

    Tables and columns first, in the order in which they are locked, then the views.
    """
    by_part = [(part, each.columns_of(part), part in each.new_parts) for each in planned for part in each.touched]
    for part, columns, new in sorted(by_part, key=lambda entry: entry[0].table):
        if new:
            connection.execute(tables.create_part(mapping, part, columns))
        else:
            connection.execute(tables.add_columns(part, columns))
    with connection.cursor() as cursor:
        for each in planned:
            for view in each.views:
                connection.execute(tables.create_view(mapping, each.entity, view))
                if (opened := tables.open_view(mapping, each.entity, view)) is not None:
                    connection.execute(opened)
            cursor.executemany(_NEW_TABLE, [[mapping.connector, *part] for part in each.new_parts])
            cursor.executemany(_NEW_COLUMN, [[mapping.connector, each.entity.identity, *c] for c in each.columns])


def make_schema(connection: Connection, schema: str) -> None:
    """See that the schema is there.

    Not by CREATE SCHEMA IF NOT EXISTS: that wants the right to make schemas even where nothing is to be made.
    """
    if connection.execute("SELECT to_regnamespace(quote_ident(%s)) IS NULL", [schema]).fetchone() == (True,):
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))


def check_types(connection: Connection, mapping: Mapping, missing: list[Need]) -> None:
    """Let the target's own parser read the types' names, which go into statements as they are."""
    wanted = {need.type for need in missing} | set(mapping.key_types.values())
    for text in sorted(wanted):
        connection.execute("SELECT %s::regtype", [text])


def taken(connection: Connection, schema: str) -> set[str]:
    """Every name that a table in the schema cannot have: of relations, of types, and of tables that are registered."""
    rows = connection.execute(
        "SELECT relname::text FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident(%(schema)s))"
        " UNION SELECT typname::text FROM pg_type WHERE typnamespace = to_regnamespace(quote_ident(%(schema)s))"
        " UNION SELECT unnest(ARRAY[table_name, view_name, group_view]) FROM widebeam.tables"
        " WHERE schema_name = %(schema)s",
        {"schema": schema},
    )
    return {name for (name,) in rows if name is not None}


def folded_names(connection: Connection, schema: str) -> set[str]:
    """The same, as names are compared."""
    return {folded(name) for name in taken(connection, schema)}


_NEW_TABLE: Final = (
    "INSERT INTO widebeam.tables"
    " (connector, entity, part, schema_name, table_name, view_name, group_name, group_view)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
)
_NEW_COLUMN: Final = (
    "INSERT INTO widebeam.columns (connector, entity, ordinal, part, key, column_name, column_type, source, widened)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
