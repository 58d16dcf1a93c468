"""Where in the narrow tables the rows of a cell can lie, told from one of them. Pure.

The answer may be too wide (the rows are interpreted anyway), but never too narrow. Where the time is in one of several
columns, a range of moments is a range of each, of its own type: its index is of use then, and no value is cast.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple

from cdc.clock.time_text import TimeText
from cdc.event import UNCHANGED
from cdc.source.raw_bound import raw_bound
from cdc.source.time_encoding import NANOSECONDS, TimeRule, Untimely, printed
from sink.mapping.interpret import Interpreter
from sink.mapping.rule import Rule
from sink.mapping.several import SourceRow

_SECOND: Final = 1_000_000
_BEGIN: Final = len("YYYY-MM-DDTHH:MM:SS")
_NOWHERE: Final = ("1", "0")
"""A range that holds nothing."""


class Test(NamedTuple):
    """A column's test; the values of a place stand in the order of the tests, two for a range. Ranges come first, and a
    row is in one of them. `read_as` is the type of the values, where it is not the column's."""

    column: str
    ranged: bool
    read_as: str = ""


class SourceRange:
    """The tests by which rows of one cell are found in any table of an interpreter's rule, and their values."""

    def __init__(self, interpreter: Interpreter) -> None:
        rule = self._rule = interpreter.rule
        self._interpreter = interpreter
        self._id = _looked_up(rule)
        self._ids = _by_name(interpreter) if self._id is not None else {}
        key = rule.key[0] if len(rule.key) == 1 and rule.key[0] not in rule.virtual else None
        self._key = key if key is not None and key not in rule.table.wide else None
        merged = _ranged(rule) if rule.time.merges else []
        exact = rule.table.entity if merged else rule.table.wide
        last = [each for each in (self._key, self._id) if each is not None and each not in exact]
        self._exact = (*exact, *last)
        self.tests = [
            *merged,
            *(Test(name, ranged=False) for name in self._exact),
        ]

    def places(self, row: SourceRow) -> list[tuple[str, ...]]:
        """Values for the tests; several where several ids have the row's name."""
        found = self._values(row, None)
        if self._id is None or self._id not in self._exact:
            return [] if found is None else [found]
        every = (self._values(row, each) for each in self.ids(row))
        return [each for each in every if each is not None]

    def ids(self, row: SourceRow) -> tuple[str, ...]:
        """All ids that mean what the row's means."""
        mine = self._real(self._id or "", row)
        names = None if mine is None else self._interpreter.dictionary.get(mine)
        return () if names is None else self._ids.get(_used(self._rule, names), ())

    def axes(self, row: SourceRow) -> list[str]:
        """Where on the axis of the chunks rows of the cell can lie: at one place in each chunk, at least."""
        if self._id is not None and self._rule.axis == self._id:
            return list(self.ids(row))
        return [self._interpreter.axis(row.head, row.row)]

    def _values(self, row: SourceRow, identifier: str | None) -> tuple[str, ...] | None:
        exact = [
            identifier if name == self._id and identifier is not None else self._real(name, row) for name in self._exact
        ]
        if None in exact:
            return None
        ranged = _span(self._rule, row) if self._rule.time.merges and self._rule.table.time else ()
        return (*ranged, *(each for each in exact if each is not None))

    def _real(self, name: str, row: SourceRow) -> str | None:
        value = self._interpreter.real(name, row.head, row.row)
        return None if value is UNCHANGED else value


def _looked_up(rule: Rule) -> str | None:
    """The real column that the dictionary looks up, if all of entity and key that it brings is known by the id."""
    if rule.dictionary is None or rule.dictionary.column in (rule.table_value and "table", *rule.fields):
        return None
    return rule.dictionary.column if rule.dictionary.column in rule.table.columns else None


def _used(rule: Rule, names: tuple[str | None, ...]) -> tuple[str | None, ...]:
    """Of an entry's names those that decide about a cell."""
    if rule.dictionary is None:
        return ()
    return tuple(
        name for column, name in zip(rule.dictionary.names, names, strict=True) if column in (*rule.entity, *rule.key)
    )


def _by_name(interpreter: Interpreter) -> dict[tuple[str | None, ...], tuple[str, ...]]:
    found: dict[tuple[str | None, ...], list[str]] = {}
    for identifier, names in interpreter.dictionary.entries.items():
        found.setdefault(_used(interpreter.rule, names), []).append(identifier)
    return {names: tuple(ids) for names, ids in found.items()}


def _ranged(rule: Rule) -> list[Test]:
    """The columns that have the time: the first, or each that may have it."""
    if not rule.time.either:
        return [Test(name, ranged=True) for name in rule.table.time[:1]]
    return [
        Test(name, ranged=True, read_as=raw_bound(each, rule.types[name], 0).type)
        for name, each in zip(rule.table.time, rule.time.either, strict=True)
    ]


def _span(rule: Rule, row: SourceRow) -> tuple[str, ...]:
    """A closed range of the first raw time column that holds all times that are rounded to the same; of each column
    that may have the time, where there are several."""
    width = len(rule.table.entity)
    if rule.time.either:
        return _of_each(rule, row.head[width:])
    raw = tuple(each or "" for each in row.head[width:])
    try:
        moment = rule.time.moment(raw)
        return (raw[0], raw[0]) if moment is None else _around(rule, moment)
    except Untimely:
        return raw[0], raw[0]


def _of_each(rule: Rule, raw: tuple[str | None, ...]) -> tuple[str, ...]:
    kinds = [rule.types[name] for name in rule.table.time]
    try:
        moment = rule.time.moment(raw) if rule.time.told(raw) else None
    except Untimely:
        return _NOWHERE * len(kinds)
    if moment is None:  # infinity, which only times have that are no numbers
        text = next((each for each in raw if each is not None), "infinity")
        return tuple(
            bound for each in rule.time.either for bound in ((text, text) if each.form == "native" else _NOWHERE)
        )
    lower, upper = rule.time.borders(moment)
    return tuple(
        raw_bound(each, kind, bound).text
        for each, kind in zip(rule.time.either, kinds, strict=True)
        for bound in (lower, upper)
    )


def _around(rule: Rule, moment: int) -> tuple[str, str]:
    lower, upper = rule.time.borders(moment)
    match rule.time.form:
        case "native":
            bounds = (printed(rule.time.bound(each), zoned=rule.time.zoned) for each in (lower, upper))
            return next(bounds), next(bounds)
        case "epoch_float":
            return str(Decimal(lower - 1) / _SECOND), str(Decimal(upper + 1) / _SECOND)
        case "epoch_ns":
            return str((lower - 1) * 1000), str((upper + 1) * 1000)
        case "text" if rule.time.written is not None:
            return _texts_around(rule.time, rule.time.written, lower, upper)
        case form:
            spare = 3 if form == "s_ns" else 1  # of an integer, nanoseconds may be more than two seconds
            unit = NANOSECONDS[form] // 1000
            return str(lower // unit - spare), str(upper // unit + spare)


def _texts_around(time: TimeRule, written: TimeText, lower: int, upper: int) -> tuple[str, str]:
    """The begins of the second before and of one behind: what comes after the seconds has an order of its own."""
    spare = max(2 * _SECOND, written.step)
    return (
        written.text((time.bound(lower) - spare) // written.step * written.step)[:_BEGIN],
        written.text((time.bound(upper) + spare) // written.step * written.step)[:_BEGIN],
    )
