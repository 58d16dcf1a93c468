"""Which source row holds where several meet in one cell: the first or the last by time, then by `order_by`. Pure.

Stream, chunks and verify decide it here, so that they come to the same. Values are compared as the source compares
them: numbers as numbers, times as times, texts by their characters, NULL after everything else. Rows that are equal in
all of that are told apart by their other values: any order will do, if it is always the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

from cdc.clock.time_text import NotWrittenSo, TimeText
from cdc.event import Value
from cdc.lsn import Lsn
from cdc.source.time_encoding import Untimely, parsed
from sink.mapping.interpret import Reading
from sink.mapping.rule import Rule

Rank: TypeAlias = "tuple[Any, ...]"

_NUMERIC: Final = re.compile(r"smallint|integer|bigint|real|double precision|numeric.*|oid")
_TIMELY: Final = re.compile(r"date|timestamp.*")
_INFINITE: Final = {"infinity": float("inf"), "-infinity": float("-inf")}


class Cell(NamedTuple):
    """One cell: the wide values of entity and time, and the key."""

    entity: tuple[str, ...]
    time: tuple[str, ...]
    key: str


class SourceRow(NamedTuple):
    """A row of a narrow table: `head` has the values of `table.wide`, `row` those of `table.carried`."""

    table: str
    head: tuple[str | None, ...]
    row: tuple[Value, ...]


class Touch(NamedTuple):
    """A narrow row that touched a cell in which several may meet, the last one that did.

    `reading` is what it says of the cell, and `there` whether it was in it then: not moved away, nor left out by
    `where`. `xid` is its transaction, `position` where that stands, `origin` the row's place in the log.
    """

    row: SourceRow
    reading: Reading
    there: bool
    xid: int
    position: Lsn
    origin: str


class Meeting:
    """Rows that met in cells. `held` has for each cell the row that holds, and the reading in it.

    Where `several` is "refuse", no two rows should meet: the first holds, and `beaten` keeps the others.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = {rule.table.qualified: rule for rule in rules}
        self.held: dict[Cell, tuple[SourceRow, Reading]] = {}
        self.beaten: dict[Cell, list[tuple[SourceRow, Reading]]] = {}
        self._ranks: dict[Cell, Rank] = {}  # of those that hold, as far as they had to be compared

    def take(self, row: SourceRow, readings: Iterable[Reading]) -> list[Cell]:
        """Let a row in; the cells that it holds now. A row without a value holds its cell too: it is empty then."""
        taken = []
        for reading in readings:
            cell = Cell(reading.entity, reading.time, reading.key)
            before = self.held.get(cell)
            beats = before is None or self._beats(cell, row, before[0])
            if before is not None and self._rules[row.table].several == "refuse":
                self.beaten.setdefault(cell, []).append(before if beats else (row, reading))
            if beats:
                self.held[cell] = row, reading
                taken.append(cell)
        return taken

    def rows(self, cell: Cell) -> list[SourceRow]:
        """The rows of a cell that none are to meet in."""
        held = [self.held[cell]] if cell in self.held else []
        return [row for row, _ in (*held, *self.beaten.get(cell, ()))]

    def crowded(self) -> dict[Cell, list[tuple[SourceRow, Reading]]]:
        """Cells that several rows fill, not all of them with the same value, although none should meet: those rows.

        A row without a value leaves a cell to the others, and a copy of a row (in an archive, say) loses nothing.
        """
        found = {}
        for cell, others in self.beaten.items():
            rows = [each for each in (self.held[cell], *others) if each[1].value is not None]
            if len({reading.value for _, reading in rows}) > 1:
                found[cell] = rows
        return found

    def _beats(self, cell: Cell, row: SourceRow, other: SourceRow) -> bool:
        rule = self._rules[row.table]
        mine, its = rank(rule, row), self._ranks.get(cell) or rank(self._rules[other.table], other)
        beats = mine > its if rule.several == "last" else mine < its
        self._ranks[cell] = mine if beats else its
        return beats


def shown(rows: Iterable[tuple[SourceRow, Reading]]) -> str:
    """Rows that fill one cell, as messages name them: table and value, in the order of their names."""
    return "; ".join(sorted(f"{row.table}: {reading.value}" for row, reading in rows))


def rank(rule: Rule, row: SourceRow) -> Rank:
    """Where a row stands among those of its cell."""
    table = rule.table
    values = dict(zip(table.columns, (*row.head, *row.row), strict=True))
    order: list[Any] = []
    times: tuple[str, ...] = table.time
    if rule.time.either:
        order.append(comparable(rule.time.place(row.head[len(table.entity) :]) or None, "bigint"))
        times = ()
    elif rule.time.written is not None:
        order += [_written(rule.time.written, values[name]) for name in table.time]
        times = ()
    order += [comparable(values[name], rule.types.get(name, "text")) for name in (*times, *rule.order_by)]
    rest = [comparable(value, "text") for value in values.values()]
    return (*order, *rest, row.table)


def _written(way: TimeText, value: Value) -> tuple[Any, ...]:
    """A text with a time in it as one that can be compared: of several lengths, texts lie in no order of their own."""
    try:
        return 0, 1, 0, way.nanoseconds(str(value))
    except NotWrittenSo:
        return comparable(value, "text")


def comparable(value: Value, type_text: str) -> tuple[Any, ...]:
    """A value of that type as something that can be compared with the others of its column."""
    if not isinstance(value, str):
        return (1,)
    return 0, *_form(type_text)(value)


@cache
def _form(type_text: str) -> Callable[[str], tuple[Any, ...]]:
    if _NUMERIC.fullmatch(type_text):
        return _number
    return _moment if _TIMELY.fullmatch(type_text) else _text


def _text(text: str) -> tuple[Any, ...]:
    return 2, 0, text


def _number(text: str) -> tuple[Any, ...]:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return 2, 0, text
    return (0, 1, 0) if number.is_nan() else (0, 0, number)  # NaN is the greatest number, for the server


def _moment(text: str) -> tuple[Any, ...]:
    if text in _INFINITE:
        return 1, 0, _INFINITE[text]
    try:
        return 1, 0, parsed(text)
    except Untimely:
        return 2, 0, text
