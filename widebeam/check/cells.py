"""The precondition that no two source rows fill one cell, where nothing is said of which of them holds then.

An index can promise that for one table and its own columns. Across tables, or where names, labels or several parts make
the key, only the data can tell: so some readings of each key are looked at, and where two tables (or two ids) fill one
column, their cells are looked up in all tables. Bounded in time and rows; what it misses, the run finds and says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from time import monotonic
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import errors, sql

from cdc.halt import Halt
from sink.mapping.interpret import Interpreters, Reading, Unplaced
from sink.mapping.mapping import Mapping
from sink.mapping.origin import may_meet, origin
from sink.mapping.rule import Rule
from sink.mapping.several import Cell, Meeting, SourceRow, shown
from sink.reread import met
from widebeam.config import catalog
from widebeam.config.connector import Connector
from widebeam.finding import Finding
from widebeam.init import look as database
from widebeam.plan.keys import Reach, look
from widebeam.plan.make import entries

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_SECONDS: Final = 10.0
"""For all tables together; one query may take a second."""
_REACH: Final = Reach(1, 1_000, 2)
_ROWS: Final = 5_000
"""Rows of a table that are looked at, at most."""
_CELLS: Final = 500
_OF_A_COLUMN: Final = 8
"""Cells that are looked up in all tables, and those of one column and table among them."""


class _Seen(NamedTuple):
    row: SourceRow
    reading: Reading


def one_row_a_cell(session: Session, connector: Connector) -> Iterator[Finding]:
    """No cell that rows fill with different values, among those that are looked at."""
    if connector.options.source.several != "refuse":
        return
    try:
        mapping = connector.mapping(catalog.sources(session, connector))
        if not may_meet(mapping):
            return
        found = _crowded(session, mapping)
    except (Halt, psycopg.Error):  # other checks say what cannot be read
        return
    if found:
        cell, rows = min(found.items())
        yield Finding(_said(cell, rows), "", _remedy(connector, rows))


def _crowded(session: Session, mapping: Mapping) -> dict[Cell, list[tuple[SourceRow, Reading]]]:
    interpreters = Interpreters(mapping, entries(session, mapping.rule))
    seen = list(_samples(session, mapping, interpreters, monotonic() + _SECONDS))
    meeting = Meeting(mapping.rules)
    for each in seen:
        meeting.take(each.row, [each.reading])
    found = meeting.crowded()
    if found:
        return found
    wanted = dict(islice(_suspects(mapping, interpreters, seen), _CELLS))
    return _looked_up(session, mapping, interpreters, wanted) if wanted else {}


def _samples(session: Session, mapping: Mapping, interpreters: Interpreters, deadline: float) -> Iterator[_Seen]:
    """Some readings of each key of each table, as long as there is time."""
    facts = database.catalog(session)
    for rule in mapping.rules:
        if monotonic() > deadline:
            return
        table = facts.find(rule.table.schema, rule.table.name)
        try:
            rows = look(session, rule.table, table, single=mapping.layout == "single", reach=_REACH).rows
        except errors.QueryCanceled:
            continue
        yield from _seen(rule, interpreters, rows[:: len(rows) // _ROWS + 1])


def _seen(rule: Rule, interpreters: Interpreters, rows: Iterable[tuple[str | None, ...]]) -> Iterator[_Seen]:
    interpreter, width = interpreters.of(rule.table.qualified), len(rule.table.wide)
    for values in rows:
        row = SourceRow(rule.table.qualified, values[:width], values[width:])
        readings = interpreter.read(row.head, row.row)
        if not isinstance(readings, Unplaced) and interpreter.there(row.head, row.row):
            yield from (_Seen(row, each) for each in readings if each.value is not None)


def _suspects(mapping: Mapping, interpreters: Interpreters, seen: Iterable[_Seen]) -> Iterator[tuple[Cell, SourceRow]]:
    """Cells of columns that are filled from several origins, some of each origin."""
    columns: defaultdict[tuple[tuple[str, ...], str], defaultdict[str, list[_Seen]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for each in seen:
        entity = () if mapping.layout == "single" else each.reading.entity
        source = origin(interpreters.of(each.row.table).rule, each.row.row)
        columns[entity, each.reading.key][source].append(each)
    for origins in columns.values():
        for some in origins.values() if len(origins) > 1 else ():
            for row, reading in some[:: len(some) // _OF_A_COLUMN + 1]:
                yield Cell(reading.entity, reading.time, reading.key), row


def _looked_up(
    session: Session, mapping: Mapping, interpreters: Interpreters, wanted: dict[Cell, SourceRow]
) -> dict[Cell, list[tuple[SourceRow, Reading]]]:
    """What all tables have of these cells, in one snapshot; nothing where no index leads there in time."""
    try:
        with session.transaction():
            session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            session.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(int(_REACH.seconds * 1000))))
            return met(session, mapping, interpreters, wanted.values(), wanted.keys()).crowded()
    except errors.QueryCanceled:
        return {}


def _said(cell: Cell, rows: list[tuple[SourceRow, Reading]]) -> str:
    tables = sorted({row.table for row, _ in rows})
    who = " and ".join(tables) if len(tables) > 1 else f"several rows of {tables[0]}"
    place = ", ".join((*cell.entity, *cell.time))
    return f"{who} fill one cell with different values: {cell.key!r} of ({place}) ({shown(rows)})"


def _remedy(connector: Connector, rows: list[tuple[SourceRow, Reading]]) -> str:
    choice = f'several = "first" or "last" in [source] of {connector.file}, which says what holds then'
    if len({row.table for row, _ in rows}) > 1:
        return f'{choice}; or, for columns of their own, `table_pattern` and "table" as a part of `key` there'
    return f"{choice}; or a `key` there that tells the two apart"


CHECKS: Final = (one_row_a_cell,)
