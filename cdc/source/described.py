"""A narrow table in the source's catalog: which table it is, and of which types its columns are."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import psycopg

from cdc.halt import ANEW, CONNECTOR, Cause, Halt
from cdc.source.narrow import NarrowTable

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class Described(NamedTuple):
    """A table's oid, and its mapped columns' types as format_type writes them."""

    oid: int
    types: dict[str, str]


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
    types: dict[str, str] = dict(
        source.execute(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = %s AND attname = ANY(%s) AND attnum > 0 AND NOT attisdropped",
            [row[0], list(table.columns)],
        ).fetchall()
    )
    missing = [column for column in table.columns if column not in types]
    if missing:
        raise Halt(
            Cause.RELATION_CHANGED,
            f"{table.qualified} has no column {', '.join(missing)}",
            f"Bring it back, and `widebeam run {CONNECTOR}` goes on; or mend the mapping: {ANEW}",
        )
    return Described(row[0], types)
