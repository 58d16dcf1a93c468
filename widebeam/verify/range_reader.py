"""What cells a range of the narrow tables comes to, for rules that the databases cannot be asked in: row by row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from cdc.source.time_encoding import Untimely
from sink.fold.copytext import unescaped
from sink.lookup import entries
from sink.mapping.dictionary import Dictionary
from sink.mapping.interpret import Interpreters, Reading, Unplaced
from sink.mapping.mapping import Mapping
from sink.mapping.rule import Rule
from sink.mapping.several import Cell, Meeting, SourceRow, shown
from sink.wide.cell import empty, filled
from snapshot.chunks.chunk_key import scale
from snapshot.chunks.estimate import plan_chunks
from snapshot.chunks.plan import Chunk
from snapshot.fill.reader import narrow, select, within

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

PIECE_ROWS: Final = 50_000
"""Rows of a range that are read at once: each takes more than a kilobyte as objects; and where a range is repaired,
the sinks stand still meanwhile."""
_ENDLESS: Final = frozenset(("infinity", "Infinity", "NaN"))
"""How the server prints what lies at no place on the axis."""


@dataclass(slots=True)
class Found:
    """A range of the narrow tables: how many rows it has, its cells that are not NULL, and rows that have no place.

    `rows_of` has the rows that hold in the cells, where they are to be kept. `crowded` are cells that rows with
    different values fill, where none should meet, and what each of them says. `times` are those of all rows that have
    a place, also without a value.
    """

    rows: int = 0
    cells: dict[Cell, Reading] = field(default_factory=dict)
    unplaced: list[tuple[SourceRow, Unplaced]] = field(default_factory=list)
    rows_of: dict[Cell, SourceRow] = field(default_factory=dict)
    crowded: dict[Cell, str] = field(default_factory=dict)
    times: set[tuple[str, ...]] = field(default_factory=set)


class RangeReader:
    """Reads ranges of all narrow tables of a mapping, each in one snapshot; autocommit."""

    def __init__(self, source: Session, target: Session, mapping: Mapping) -> None:
        self._source, self._mapping = source, mapping
        known = target.execute("SELECT id, names FROM widebeam.dictionary WHERE connector = %s", [mapping.connector])
        self._dictionary = Dictionary({each: tuple(names) for each, names in known})
        self.interpreters = Interpreters(mapping, self._dictionary)
        self._look_up()

    def read(self, chunk: Chunk, *, keep_rows: bool = False) -> Found:
        """All tables' rows between the chunk's bounds."""
        found, meeting = Found(), Meeting(self._mapping.rules)
        unknown: list[SourceRow] = []
        with self._source.transaction():
            self._source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            for rule in self._mapping.rules:
                for row in rows(self._source, rule, chunk):
                    found.rows += 1
                    if not self._take(row, found, meeting):
                        unknown.append(row)
        if unknown:
            self._look_up()
            for row in unknown:
                if not self._take(row, found, meeting):
                    found.unplaced.append((row, Unplaced("unknown_id", "the dictionary does not know it")))
        found.cells = {cell: reading for cell, (_, reading) in meeting.held.items() if reading.value is not None}
        found.times = {cell.time for cell in meeting.held}
        found.crowded = {cell: shown(rows) for cell, rows in meeting.crowded().items()}
        if keep_rows:
            found.rows_of = {cell: row for cell, (row, _) in meeting.held.items()}
        return found

    def _take(self, row: SourceRow, found: Found, meeting: Meeting) -> bool:
        """Take a row in; False if the dictionary lacks its id."""
        interpreter = self.interpreters.of(row.table)
        made = interpreter.read(row.head, row.row)
        if isinstance(made, Unplaced):
            if made.reason == "unknown_id":
                return False
            found.unplaced.append((row, made))
        elif interpreter.there(row.head, row.row):
            meeting.take(row, made)
        return True

    def _look_up(self) -> None:
        """Read the dictionary, and write nothing down: that is for those who place readings."""
        rule = self._mapping.rule.dictionary
        if rule is not None:
            self._dictionary.take(entries(self._source, rule))
        self._dictionary.missing.clear()


def rows(source: Session, rule: Rule, chunk: Chunk, most: int | None = None) -> Iterator[SourceRow]:
    """The rows of one table between a chunk's bounds; with `most`, the first so many that the server finds."""
    width, table, rest = len(rule.table.wide), rule.table.qualified, b""
    with source.cursor().copy(select(rule, chunk, most)) as copy:
        for block in copy:
            *lines, rest = (rest + bytes(block)).split(b"\n")
            for line in lines:
                values = tuple(map(unescaped, line.decode().split("\t")))
                yield SourceRow(table, values[:width], values[width:])


def ranges(source: Session, mapping: Mapping, chunk_rows: int, chunk_hours: float | None) -> list[Chunk]:
    """Ranges of the axis that all narrow tables share, of about so many rows in all of them together."""
    axis = scale(mapping.rule)
    planned = [chunk for rule in mapping.rules for chunk in plan_chunks(source, rule, chunk_rows, chunk_hours)]
    if axis is None:
        return [Chunk(1, None, None, sum(each.estimated for each in planned))]
    first = sum(each.estimated for each in planned if each.lower is None)
    told = [(each.lower, each.estimated) for each in planned if each.lower and wide_bound(mapping, each.lower)]
    bounds = sorted((axis.position(lower), lower, estimated) for lower, estimated in told)
    made, lower, size = list[Chunk](), None, first
    for _, bound, estimated in bounds:
        if size + estimated > chunk_rows and bound != lower:
            made.append(Chunk(len(made) + 1, lower, bound, size))
            lower, size = bound, 0
        size += estimated
    return [*made, Chunk(len(made) + 1, lower, None, size)]


def lighter(source: Session, mapping: Mapping, chunk: Chunk, most: int) -> list[Chunk]:
    """A range, in pieces of about so many rows of a table at most: what was planned is only as good as the statistics.

    (What was written since they were made lies in the last range, all of it.) Rows of one place on the axis stay
    together.
    """
    axis = scale(mapping.rule)
    if axis is None:
        return [chunk]
    found = {value for rule in mapping.rules for value in _places(source, rule, chunk, most)}
    places = {axis.text(axis.position(value)) for value in found if wide_bound(mapping, value)}
    inner = sorted((axis.position(each), each) for each in places if each not in (chunk.lower, chunk.upper))
    bounds = [chunk.lower, *(each for _, each in inner), chunk.upper]
    return [chunk._replace(lower=lower, upper=upper) for lower, upper in pairwise(bounds)]


def _places(source: Session, rule: Rule, chunk: Chunk, nth: int) -> list[str]:
    """The place on the axis of each nth row of a range; where the time is in one of several columns, of each's rows."""
    if not rule.time.either:
        return _each_nth(source, rule, chunk, nth, rule.axis or "")
    found = []
    for which, name in enumerate(rule.table.time):
        before: tuple[str | None, ...] = (None,) * which
        found += [rule.time.place((*before, each)) for each in _each_nth(source, rule, chunk, nth, name, which)]
    return [each for each in found if each]


def _each_nth(source: Session, rule: Rule, chunk: Chunk, nth: int, name: str, which: int = 0) -> list[str]:
    """The value of a column in each nth row of a range, as the server prints it; of finite ones, and where the time
    columns before it, `which`, are NULL."""
    time = sql.Identifier(name)
    placed = [filled(time), *(empty(sql.Identifier(each)) for each in rule.table.time[:which])]
    query = sql.SQL(
        "SELECT DISTINCT place::text FROM (SELECT {time}, row_number() OVER (ORDER BY {time}) FROM {table}"
        " WHERE {within} AND {placed}) AS numbered(place, n) WHERE n %% {nth} = 0"
    ).format(
        time=time,
        table=narrow(rule, chunk),
        within=within(rule, chunk),
        placed=sql.SQL(" AND ").join(placed),
        nth=sql.Literal(nth),
    )
    return [value for (value,) in source.execute(query, []).fetchall() if value.strip("-") not in _ENDLESS]


def wide_bound(mapping: Mapping, bound: str) -> str | None:
    """The value of the wide tables' column at a bound of the narrow axis; None where there is none to be told."""
    rule = mapping.rule
    if not rule.table.time:
        return bound if rule.axis in mapping.key_columns else None
    if rule.time.either:
        return rule.time.shown(int(bound))
    try:
        if rule.time.form != "s_ns":
            return replace(rule.time, rounds=True).wide((bound,))[0]  # a bound may be finer than any time
        raw = divmod(rule.time.first(int(bound)), 1_000_000_000) if rule.time.parted else (bound, 0)
        return rule.time.wide(tuple(map(str, raw)))[0]
    except Untimely:
        return None
