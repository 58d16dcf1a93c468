"""What the source says now of the rows that lie in quarantine, and when that can be relied on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import Event
from time import monotonic
from typing import Any, Final, LiteralString, TypeAlias

import psycopg
from psycopg import sql

from cdc.event import Value
from cdc.narrow import NarrowTable
from sink import tables
from sink.copytext import unescaped
from sink.rule import Rule
from widebeam.quarantine.entry import Cell

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Rows: TypeAlias = "dict[Cell, list[tuple[Value, ...]]]"

_COMMA: Final = sql.SQL(", ")
_PAUSE: Final = 0.02

# Locks go after the commit is visible: who holds none cannot have committed anything that a new snapshot lacks.
_WRITERS: Final = """
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND granted
    AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND relation IN (
        SELECT to_regclass(name)::oid FROM unnest(%(names)s::text[]) AS name
        UNION SELECT tree.relid FROM unnest(%(names)s::text[]) AS name, pg_partition_tree(to_regclass(name)) AS tree
    )
"""


class StillWriting(Exception):
    """Transactions that have written to the narrow table did not end in time."""


def await_writers(source: Session, names: Iterable[str], seconds: float) -> None:
    """Wait until every transaction that has written to these tables by now is over: committed and visible, or not.

    A commit can be decoded and applied before it is visible (it waits for a synchronous standby, say); a row that is
    read meanwhile would be older than what is applied. Raises StillWriting.
    """
    end, pause = monotonic() + seconds, Event()
    parameters = {"names": list(names)}
    waiting = {row[0] for row in source.execute(_WRITERS, parameters)}
    while waiting:
        if monotonic() > end:
            raise StillWriting(
                f"{len(waiting)} transactions have been writing to the narrow table for {seconds:.0f} s: "
                "try again when they are over (pg_locks and pg_stat_activity on the source name them)"
            )
        pause.wait(_PAUSE)
        waiting &= {row[0] for row in source.execute(_WRITERS, parameters)}


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


def quoted_name(session: Session, table: NarrowTable) -> str:
    """The table's name as to_regclass reads it."""
    return sql.Identifier(table.schema, table.name).as_string(session)


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
