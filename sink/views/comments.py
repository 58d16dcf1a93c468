"""Comments on the columns of wide views: which key each of them holds, and where its values come from.

On the views alone: they are what readers read, and everybody who sees a view sees its comments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import sql

from sink.mapping.mapping import Mapping
from sink.mapping.names import LSN_COLUMN
from sink.mapping.wide import OVERFLOW, Column, Entity

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_NAMED: Final = 3
"""Narrow tables that a comment names."""


class Rekeyed(NamedTuple):
    """A column of an entity that holds another key from now on."""

    entity: Entity
    before: Column
    after: Column


def comment(mapping: Mapping, column: Column) -> str:
    """What is said of a column: its key, narrow tables, and the narrow column with its values."""
    if column.key == OVERFLOW:
        return f"keys without a column of their own, from {_tables(mapping)}"
    return f"{_of_key(column)}{_tables(mapping)} ({column.source})"


def on_view(mapping: Mapping, entity: Entity, view: str) -> Iterator[tuple[str, sql.Composed]]:
    """COMMENT on all columns of a view, each with the column's name."""
    key = dict.fromkeys(mapping.key_columns, f"key of the row, from {_tables(mapping)}")
    time = mapping.rule.time_names
    key |= {name: f"time of the readings, from {_tables(mapping)}" for name in key if name in time}
    key[LSN_COLUMN] = "commit LSN, in the source, of the last change to the row"
    for name, text in key.items():
        yield name, _statement(mapping.schema, view, name, text)
    yield from on_columns(mapping, view, entity.shown(view)[1])


def on_columns(mapping: Mapping, view: str, columns: Iterable[Column]) -> Iterator[tuple[str, sql.Composed]]:
    """COMMENT on some columns of a view, which have just come about."""
    for column in columns:
        yield column.name, _statement(mapping.schema, view, column.name, comment(mapping, column))


def follow(connection: Connection, mapping: Mapping, changes: Iterable[Rekeyed]) -> None:
    """In the open transaction, once columns have other keys: our comments on them say so, somebody's own stay."""
    for entity, before, after in changes:
        for view in entity.parts[after.part].views:
            row = connection.execute(_THERE, [mapping.schema, view, after.name]).fetchone()
            if row is not None and row[0].startswith(_of_key(before)):
                connection.execute(_statement(mapping.schema, view, after.name, comment(mapping, after)))


def bare(connection: Connection, schema: str, views: Iterable[str]) -> list[str]:
    """Those of these views that were made before there were comments: there is none on their first column."""
    return [name for (name,) in connection.execute(_BARE, [schema, list(views)])]


def uncommented(connection: Connection, schema: str, view: str) -> set[str]:
    """The columns of a view that nobody has said anything of."""
    return {name for (name,) in connection.execute(_UNCOMMENTED, [schema, view])}


def _of_key(column: Column) -> str:
    return f"{column.key}, from "


def _tables(mapping: Mapping) -> str:
    names = sorted(mapping.tables)
    if mapping.family is not None:
        return f"{names[0]} and others like it" if names else "narrow tables"
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} others"


def _statement(schema: str, view: str, column: str, text: str) -> sql.Composed:
    return sql.SQL("COMMENT ON COLUMN {} IS {}").format(sql.Identifier(schema, view, column), sql.Literal(text))


_THERE: Final = """
SELECT description FROM pg_class JOIN pg_attribute ON attrelid = oid AND NOT attisdropped
JOIN pg_description ON objoid = oid AND objsubid = attnum AND classoid = 'pg_class'::regclass
WHERE relnamespace = to_regnamespace(quote_ident(%s)) AND relname = %s AND attname = %s
"""
_BARE: Final = """
SELECT relname::text FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident(%s)) AND relname = ANY(%s)
AND relkind = 'v' AND col_description(oid, 1) IS NULL
"""
_UNCOMMENTED: Final = """
SELECT attname::text FROM pg_class JOIN pg_attribute ON attrelid = oid AND attnum > 0 AND NOT attisdropped
WHERE relnamespace = to_regnamespace(quote_ident(%s)) AND relname = %s AND col_description(oid, attnum) IS NULL
"""
