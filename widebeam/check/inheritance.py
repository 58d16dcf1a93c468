"""Preconditions of a table with inheritance children, or of one that is a child: no row is read twice or left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import orjson
import psycopg
from psycopg import sql

from cdc.source.table_name import TableName
from widebeam.check.table import Found, find
from widebeam.config.connector import Connector
from widebeam.finding import Finding, names, statement

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


def children(session: Session, connector: Connector) -> Iterator[Finding]:
    """A table with inheritance children is no narrow table: its changes come under the children's names.

    The children are; the application sees their rows by the parent as before. Only rows of the parent's own have to
    lie in a child, since nothing reads them apart from the children's.
    """
    table, place = find(session, connector), connector.table.qualified
    if table is None or table.kind != "r" or not _has_children(session, table):
        return
    yield Finding(
        f"{place} has inheritance children, whose changes come under their own names",
        "",
        f"{_option(connector, _pattern(session, table, connector.table.table_name))} in [source] of {connector.file}",
    )
    yield from _own_rows(session, connector.table.table_name)


def inherits(session: Session, connector: Connector) -> Iterator[Finding]:
    """Where the children are the narrow tables, their parent has no rows that would be left out."""
    table = find(session, connector)
    for parent in [] if table is None else session.execute(_PARENTS, [table.oid]).fetchall():
        yield from _own_rows(session, TableName(*parent))


def _own_rows(session: Session, parent: TableName) -> Iterator[Finding]:
    shown = sql.Identifier(*parent)
    if session.execute(sql.SQL("SELECT EXISTS (SELECT FROM ONLY {})").format(shown)).fetchone() == (True,):
        yield Finding(
            f"{parent} holds rows of its own beside its children's, and these would be left out",
            "",
            _moved(session, parent),
        )


def _moved(session: Session, parent: TableName) -> str:
    """The statements that bring a parent's own rows into a child, which is made unless it is there already."""
    shown = sql.Identifier(*parent)
    name = f"{parent.name.encode()[:58].decode(errors='ignore')}_rest"
    rest = sql.Identifier(parent.schema, name)
    there = session.execute(_IS_CHILD, [parent.schema, name, parent.schema, parent.name]).fetchone() == (True,)
    made = "" if there else "CREATE TABLE {0} (LIKE {1} INCLUDING ALL EXCLUDING GENERATED) INHERITS ({1}); "
    columns = names([column for (column,) in session.execute(_WRITABLE, [parent.schema, parent.name])])
    moved = (
        "WITH moved AS (DELETE FROM ONLY {1} RETURNING {2}) INSERT INTO {0} ({2}) OVERRIDING SYSTEM VALUE"
        " SELECT {2} FROM moved; -- and have new rows go into a child"
    )
    return statement(session, f"{made}{moved}", rest, shown, columns)


def _pattern(session: Session, table: Found, name: TableName) -> list[str]:
    """The tables at the ends of a tree of inheritance: by a pattern, if it matches just them, so that new ones join."""
    ends = [TableName(*row) for row in session.execute(_ENDS, [table.oid])]
    alike = session.execute(
        "SELECT nspname::text, relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE relkind IN ('r', 'p') AND NOT relispartition AND nspname = %s AND starts_with(relname, %s)",
        [name.schema, f"{name.name}_"],
    ).fetchall()
    if {TableName(*row) for row in alike} == set(ends) and "%" not in name.name:
        return [f"{name.text}_%"]
    return [each.text for each in ends]


def _option(connector: Connector, ends: list[str]) -> str:
    listed = orjson.dumps(ends).decode()
    if connector.options.source.table is not None:
        return f"set `tables = {listed}` in the place of `table`"
    return f"put {listed[1:-1]} in the place of what names {connector.table.qualified} among `tables`"


def _has_children(session: Session, table: Found) -> bool:
    return session.execute("SELECT EXISTS (SELECT FROM pg_inherits WHERE inhparent = %s)", [table.oid]).fetchone() == (
        True,
    )


_ENDS: Final = """
WITH RECURSIVE tree(oid) AS (SELECT %s::oid UNION SELECT inhrelid FROM tree JOIN pg_inherits ON inhparent = tree.oid)
SELECT nspname::text, relname::text FROM tree JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = relnamespace
 WHERE NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = tree.oid) ORDER BY 1, 2
"""
_IS_CHILD: Final = """
SELECT EXISTS (SELECT FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class p ON p.oid = inhparent JOIN pg_namespace m ON m.oid = p.relnamespace
    WHERE (n.nspname, c.relname, m.nspname, p.relname) = (%s, %s, %s, %s))
"""
_WRITABLE: Final = """
SELECT attname::text FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
WHERE (nspname, relname) = (%s, %s) AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
"""
_PARENTS: Final = """
WITH RECURSIVE line(oid) AS (
    SELECT inhparent FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhrelid = %s AND NOT relispartition
    UNION SELECT inhparent FROM line JOIN pg_inherits ON inhrelid = line.oid
)
SELECT nspname::text, relname::text FROM line JOIN pg_class c USING (oid)
  JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' ORDER BY 1, 2
"""


CHECKS: Final = (children, inherits)
