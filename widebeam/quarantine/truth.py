"""What the source says now of the rows that lie in quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, LiteralString, TypeAlias

import psycopg
from psycopg import sql

from cdc.event import Value
from sink.fold.copytext import unescaped
from sink.mapping.rule import Rule
from sink.wide import tables
from widebeam.quarantine.entry import Cell

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Rows: TypeAlias = "dict[Cell, list[tuple[Value, ...]]]"

_COMMA: Final = sql.SQL(", ")


def rows_of(source: Session, rule: Rule, cells: Sequence[Cell]) -> Rows:
    """The source's rows of these cells of one table, as text: the values of `table.carried`. Autocommit: as of now."""
    found: Rows = {}
    # A NULL is compared otherwise than all else, and no index helps there.
    for same, some in (
        ("source.{} = {}::{}", [cell for cell in cells if None not in cell.values]),
        ("source.{} IS NOT DISTINCT FROM {}::{}", [cell for cell in cells if None in cell.values]),
    ):
        if some:
            with source.cursor().copy(_select(rule, some, same)) as copy:
                text = b"".join(copy).decode()
            for line in text.split("\n")[:-1]:
                number, *values = line.split("\t")
                found.setdefault(some[int(number) - 1], []).append(tuple(map(unescaped, values)))
    return found


def _select(rule: Rule, cells: Sequence[Cell], same: LiteralString) -> sql.Composed:
    """COPY, as the backfill reads: without casts, which would print another text than the stream's."""
    table, names = rule.table, rule.table.cell
    wanted = [sql.Identifier("wanted", f"k{n}") for n in range(len(names))]
    lists = [sql.SQL("{}::text[]").format(sql.Literal([cell.values[n] for cell in cells])) for n in range(len(names))]
    tests = [
        sql.SQL(same).format(sql.Identifier(name), field, tables.type_name(rule.types[name]))
        for name, field in zip(names, wanted, strict=True)
    ]
    return sql.SQL(
        "COPY (SELECT wanted.n, {} FROM unnest({}) WITH ORDINALITY AS wanted ({}, n) JOIN {} AS source ON {}) TO STDOUT"
    ).format(
        _COMMA.join(sql.Identifier("source", name) for name in table.carried),
        _COMMA.join(lists),
        _COMMA.join(sql.Identifier(f"k{n}") for n in range(len(names))),
        sql.Identifier(table.schema, table.name),
        sql.SQL(" AND ").join(tests),
    )
