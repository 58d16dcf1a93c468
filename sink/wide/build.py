"""Building: the tables, columns and views that were planned, in the target and in its registry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Dict
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from sink.mapping.mapping import Mapping
from sink.mapping.names import folded
from sink.mapping.wide import Entity, Need
from sink.views import comments, kept
from sink.wide import tables
from sink.wide.planned import Planned

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


def make(connection: Connection, mapping: Mapping, planned: list[Planned]) -> None:
    """Make what is planned, in the open transaction.

    Tables and columns first, in the order in which they are locked, then the views.
    """
    if not planned:
        return
    by_part = [
        (part, each.columns_of(part), part in each.new_parts, each.entity) for each in planned for part in each.touched
    ]
    ordered = sorted(by_part, key=lambda entry: entry[0].table)
    statements: list[sql.Composed] = [
        tables.create_part(mapping, part, columns) if new else tables.add_columns(mapping, entity, part, columns)
        for part, columns, new, entity in ordered
    ]
    options = kept.options(connection, mapping.schema, [view for each in planned for view in each.views])
    statements += [statement for each in planned for statement in views(mapping, each, options)]
    # In one message, which the server reads whole before it locks anything: between two messages of a pipeline it
    # would wait without a bound for a process that is stopped.
    connection.execute(sql.SQL("; ").join([*statements, *_registered(mapping, planned)]))


def views(mapping: Mapping, planned: Planned, options: Dict[str, Sequence[str]]) -> Iterator[sql.Composed]:
    """What makes an entity's views, or brings them up to date; `options` are those that they have."""
    entity = planned.entity
    for view in planned.views:
        yield from shown(mapping, entity, view, options.get(view, ()))
        parts, _ = entity.shown(view)
        if all(part in planned.new_parts for part in parts):
            said = comments.on_view(mapping, entity, view)
        else:
            added = [column for part in parts for column in planned.columns_of(part)]
            said = comments.on_columns(mapping, view, added)
        yield from (comment for _, comment in said)


def shown(mapping: Mapping, entity: Entity, view: str, options: Sequence[str] = ()) -> Iterator[sql.Composed]:
    """What makes a view, and lets its readers read it."""
    yield tables.create_view(mapping, entity, view, options)
    if (opened := tables.open_view(mapping, entity, view)) is not None:
        yield opened


def _registered(mapping: Mapping, planned: list[Planned]) -> Iterator[sql.Composed]:
    """What is made is written down: all tables in one statement, and all columns."""
    made = [[mapping.connector, *part] for each in planned for part in each.new_parts]
    columns = [[mapping.connector, each.entity.identity, *column] for each in planned for column in each.columns]
    for statement, rows in ((_NEW_TABLES, made), (_NEW_COLUMNS, columns)):
        if rows:
            yield sql.SQL(statement).format(*(sql.Literal(list(values)) for values in zip(*rows, strict=True)))


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


_NEW_TABLES: Final = (
    "INSERT INTO widebeam.tables"
    " (connector, entity, part, schema_name, table_name, view_name, group_name, group_view)"
    " SELECT * FROM unnest({}::text[], {}::text[], {}::int[], {}::text[], {}::text[], {}::text[], {}::text[],"
    " {}::text[])"
)
_NEW_COLUMNS: Final = (
    "INSERT INTO widebeam.columns (connector, entity, ordinal, part, key, column_name, column_type, source, widened)"
    " SELECT * FROM unnest({}::text[], {}::text[], {}::int[], {}::int[], {}::text[], {}::text[], {}::text[],"
    " {}::text[], {}::int[])"
)
