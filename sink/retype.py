"""Changing the types of columns in place. A view that shows them is made anew, with the rights that it had."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from sink import tables
from sink.mapping import Mapping
from sink.wide import Column, Entity, Part
from sink.widen import Widening

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


def retype(connection: Connection, mapping: Mapping, widenings: Sequence[Widening]) -> None:
    """Widen these columns, in the open transaction, tables in the order in which they are locked.

    The tables are rewritten and locked meanwhile. Entities get their new columns here too.
    """
    views = {(part.schema, part.view): entity for entity, part in _parts(widenings)}
    rights = {view: connection.execute(_RIGHTS, view).fetchall() for view in views}
    for view in views:
        connection.execute(sql.SQL("DROP VIEW {}").format(sql.Identifier(*view)))
    by_part: dict[Part, list[Column]] = {}
    for each in widenings:
        by_part.setdefault(each.entity.parts[each.after.part], []).append(each.after)
        each.entity.add(each.after)
    for part, columns in sorted(by_part.items(), key=lambda item: item[0].table):
        connection.execute(_alter(part, columns))
    for view, entity in views.items():
        connection.execute(tables.create_view(mapping, entity, view[1]))
        for right in rights[view]:
            connection.execute(_grant(view, *right))
    _record(connection, mapping.connector, widenings)


def _parts(widenings: Iterable[Widening]) -> list[tuple[Entity, Part]]:
    return [(each.entity, each.entity.parts[each.after.part]) for each in widenings]


def _alter(part: Part, columns: Iterable[Column]) -> sql.Composed:
    """To text by the type's output function, as the source prints it: a cast makes `true` of `t`, and cuts blanks."""
    changes = []
    for column in columns:
        name = sql.Identifier(column.name)
        value = "CASE WHEN {0} IS NOT NULL THEN concat({0}) END" if column.type == "text" else "{0}::{1}"
        changes.append(
            sql.SQL("ALTER COLUMN {} TYPE {} USING {}").format(
                name, tables.type_name(column.type), sql.SQL(value).format(name, tables.type_name(column.type))
            )
        )
    return sql.SQL("ALTER TABLE {} {}").format(tables.relation(part), sql.SQL(", ").join(changes))


def _grant(view: tuple[str, str], right: str, role: str | None, grantable: bool) -> sql.Composed:
    form = "GRANT {} ON {} TO {} WITH GRANT OPTION" if grantable else "GRANT {} ON {} TO {}"
    grantee = sql.SQL("PUBLIC") if role is None else sql.Identifier(role)
    return sql.SQL(form).format(sql.SQL(right), sql.Identifier(*view), grantee)


def _record(connection: Connection, connector: str, widenings: Iterable[Widening]) -> None:
    rows = [(after.type, after.widened, connector, entity.identity, after.key) for entity, _, after in widenings]
    with connection.cursor() as cursor:
        cursor.executemany(_WIDENED, rows)


_RIGHTS: Final = """
SELECT held.privilege_type, role.rolname, held.is_grantable
FROM pg_class AS view, aclexplode(view.relacl) AS held LEFT JOIN pg_roles AS role ON role.oid = held.grantee
WHERE view.relnamespace = to_regnamespace(quote_ident(%s)) AND view.relname = %s AND held.grantee <> view.relowner
"""
_WIDENED: Final = (
    "UPDATE widebeam.columns SET column_type = %s, widened = %s WHERE (connector, entity, key) = (%s, %s, %s)"
)
