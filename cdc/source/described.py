"""A narrow table in the source's catalog: which table it is, and of which types its columns are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, LiteralString, NamedTuple, TypeAlias

import psycopg
from psycopg import sql

from cdc.halt import ANEW, CONNECTOR, Cause, Halt
from cdc.source.narrow import NarrowTable

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class Described(NamedTuple):
    """A table's oid, and its mapped columns' types as format_type writes them.

    `types` has of a domain what it is made of: a wide column is NULL where there is no reading, whatever the domain
    says of NULL, and a domain there would refuse what the source has already. `declared` has the domain itself.
    """

    oid: int
    types: dict[str, str]
    declared: dict[str, str]


def describe(source: Session, table: NarrowTable) -> Described:
    """Look the table up; a Halt if it, or a mapped column of it, is gone."""
    row = source.execute(
        "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE nspname = %s AND relname = %s AND relkind IN ('r', 'p')",
        [table.schema, table.name],
    ).fetchone()
    if row is None:
        raise Halt(
            Cause.RELATION_CHANGED,
            f"the table {table.qualified} is gone",
            f"Bring it back, and `widebeam run {CONNECTOR}` goes on; or `widebeam drop {CONNECTOR}`.",
        )
    found = source.execute(_TYPES, [row[0], list(table.columns)]).fetchall()
    types = {name: base for name, _, base in found}
    missing = [column for column in table.columns if column not in types]
    if missing:
        raise Halt(
            Cause.RELATION_CHANGED,
            f"{table.qualified} has no column {', '.join(missing)}",
            f"Bring it back, and `widebeam run {CONNECTOR}` goes on; or mend the mapping: {ANEW}",
        )
    return Described(row[0], types, {name: declared for name, declared, _ in found})


def resolved(source: Session, columns: Sequence[tuple[str, int, int]]) -> dict[str, str]:
    """The types of columns by name, as `Described.types` has them, told by their types' oids and modifiers."""
    names, oids, modifiers = ([*each] for each in zip(*columns, strict=True)) if columns else ([], [], [])
    found = source.execute(_OF_NUMBERS, [names, oids, modifiers]).fetchall()
    return {name: base for name, _, base in found}


# A domain may be over another one, and an array may be one of domains. (One of domains over arrays stays what it is:
# its text is another one than that of an array of more dimensions.)
_RESOLVED: Final[LiteralString] = """
WITH RECURSIVE made_of AS (
    SELECT name, format_type(type, modifier) AS declared, type, modifier, '' AS brackets FROM ({}) AS given
    UNION ALL
    SELECT name, declared, CASE typtype WHEN 'd' THEN typbasetype ELSE typelem END,
        CASE typtype WHEN 'd' THEN typtypmod ELSE modifier END, CASE typtype WHEN 'd' THEN brackets ELSE '[]' END
    FROM made_of JOIN pg_type AS t ON t.oid = type
    WHERE typtype = 'd'
    OR (brackets = '' AND EXISTS (SELECT FROM pg_type AS e WHERE e.typarray = t.oid AND e.typtype = 'd'))
)
SELECT name, declared, CASE WHEN brackets = '' OR typcategory <> 'A' THEN format_type(type, modifier) || brackets
    ELSE declared END
FROM made_of JOIN pg_type AS t ON t.oid = type
WHERE typtype <> 'd' AND NOT (
    brackets = '' AND EXISTS (SELECT FROM pg_type AS e WHERE e.typarray = t.oid AND e.typtype = 'd'))
"""
_TYPES: Final = sql.SQL(_RESOLVED).format(
    sql.SQL(
        "SELECT attname::text AS name, atttypid AS type, atttypmod AS modifier FROM pg_attribute"
        " WHERE attrelid = %s AND attname = ANY(%s) AND attnum > 0 AND NOT attisdropped"
    )
)
_OF_NUMBERS: Final = sql.SQL(_RESOLVED).format(
    sql.SQL("SELECT name, type, modifier FROM unnest(%s::text[], %s::oid[], %s::int[]) AS u(name, type, modifier)")
)
