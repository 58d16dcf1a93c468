"""Changing types and names of columns in place. A view that shows them is made anew, with all that somebody gave it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Mapping as Dict
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from sink.mapping.mapping import Mapping
from sink.mapping.wide import Column, Entity, Part
from sink.views import comments
from sink.views.kept import kept
from sink.wide import tables
from sink.wide.cell import text_of
from sink.wide.widen import Widening

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


def retype(connection: Connection, mapping: Mapping, widenings: Sequence[Widening]) -> None:
    """Widen these columns, in the open transaction, tables in the order in which they are locked.

    The tables are rewritten and locked meanwhile. Entities get their new columns here too.
    """
    with _without_views(connection, mapping, widenings):
        for part, columns in _by_part(widenings):
            connection.execute(_alter(part, [after for _, after in columns]))
    rows = [
        (after.type, after.widened, mapping.connector, entity.identity, after.key) for entity, _, after in widenings
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_WIDENED, rows)


def domains(connection: Connection, entities: Dict[str, Entity]) -> list[Widening]:
    """The columns that are of a domain, and what they are to be."""
    types = {column.type for entity in entities.values() for column in entity.columns.values()}
    base: dict[str, str] = dict(connection.execute(_DOMAINS, [sorted(types)]).fetchall())
    return [
        Widening(entity, column, column._replace(type=base[column.type], widened=column.widened + 1))
        for entity in entities.values()
        for column in entity.columns.values()
        if column.type in base
    ]


def rename(connection: Connection, mapping: Mapping, renamings: Sequence[Widening]) -> None:
    """Give columns other keys, and names, in the open transaction. Two may exchange theirs.

    Entities get their new columns here too.
    """
    with _without_views(connection, mapping, renamings):
        for part, columns in _by_part(renamings):
            moved = [(before.name, after.name) for before, after in columns if before.name != after.name]
            ways = [(old, f"\x01{n}", new) for n, (old, new) in enumerate(moved)]  # nobody has such a name
            for step in [way[:2] for way in ways] + [way[1:] for way in ways]:
                connection.execute(_rename(part, *step))
    record_renamed(connection, mapping, renamings)


def record_renamed(connection: Connection, mapping: Mapping, renamings: Sequence[Widening]) -> None:
    """Write new keys and names down, in the open transaction. The entities get them, too."""
    places = [(mapping.connector, each.entity.identity, each.after.ordinal) for each in renamings]
    names = [(each.after.key, each.after.name, each.after.widened) for each in renamings]
    with connection.cursor() as cursor:
        cursor.executemany(_UNNAMED, places)
        cursor.executemany(_RENAMED, [(*name, *place) for name, place in zip(names, places, strict=True)])
    for each in renamings:
        each.entity.add(each.after)
    comments.follow(connection, mapping, [comments.Rekeyed(*each) for each in renamings])


@contextmanager
def _without_views(connection: Connection, mapping: Mapping, changes: Sequence[Widening]) -> Iterator[None]:
    """The views that show these columns are away meanwhile."""
    parts = {each.entity.parts[each.after.part]: each.entity for each in changes}
    views = {(part.schema, view): entity for part, entity in parts.items() for view in part.views}
    before = [kept(connection, view) for view in views]
    for view in views:
        connection.execute(sql.SQL("DROP VIEW {}").format(sql.Identifier(*view)))
    yield
    for each in changes:
        each.entity.add(each.after)
    for (view, entity), was in zip(views.items(), before, strict=True):
        connection.execute(tables.create_view(mapping, entity, view[1]))
        if was is not None:
            was.restore(connection, {each.before.name: each.after.name for each in changes if each.entity is entity})


def _by_part(changes: Iterable[Widening]) -> list[tuple[Part, list[tuple[Column, Column]]]]:
    """Before and after of each part's columns, in the order in which tables are locked."""
    found: dict[Part, list[tuple[Column, Column]]] = {}
    for entity, before, after in changes:
        found.setdefault(entity.parts[after.part], []).append((before, after))
    return sorted(found.items(), key=lambda item: item[0].table)


def _rename(part: Part, old: str, new: str) -> sql.Composed:
    names = tables.relation(part), sql.Identifier(old), sql.Identifier(new)
    return sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO {}").format(*names)


def _alter(part: Part, columns: Iterable[Column]) -> sql.Composed:
    """To text by the type's output function, as the source prints it: a cast makes `true` of `t`, and cuts blanks."""
    changes = []
    for column in columns:
        name, wanted = sql.Identifier(column.name), tables.type_name(column.type)
        value = text_of(name) if column.type == "text" else sql.SQL("{}::{}").format(name, wanted)
        changes.append(sql.SQL("ALTER COLUMN {} TYPE {} USING {}").format(name, wanted, value))
    return sql.SQL("ALTER TABLE {} {}").format(tables.relation(part), sql.SQL(", ").join(changes))


_DOMAINS: Final = """
WITH RECURSIVE made_of AS (
    SELECT name, to_regtype(name)::oid AS type, -1 AS modifier FROM unnest(%s::text[]) AS name
    UNION ALL
    SELECT name, typbasetype, typtypmod FROM made_of JOIN pg_type AS t ON t.oid = type WHERE typtype = 'd'
)
SELECT name, format_type(type, modifier) FROM made_of JOIN pg_type AS t ON t.oid = type
WHERE typtype <> 'd' AND type <> to_regtype(name)
"""
_WIDENED: Final = (
    "UPDATE widebeam.columns SET column_type = %s, widened = %s WHERE (connector, entity, key) = (%s, %s, %s)"
)
# A control character stands in no key, so nobody has the passing name.
_UNNAMED: Final = (
    "UPDATE widebeam.columns SET key = chr(1) || ordinal, column_name = chr(1) || ordinal"
    " WHERE (connector, entity, ordinal) = (%s, %s, %s)"
)
_RENAMED: Final = (
    "UPDATE widebeam.columns SET key = %s, column_name = %s, widened = %s"
    " WHERE (connector, entity, ordinal) = (%s, %s, %s)"
)
