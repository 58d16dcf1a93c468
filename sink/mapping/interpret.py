"""Interpreting: one row of a narrow table becomes the readings in it, by the table's rule. Pure.

The general path, for rules that are not plain: whoever reads rows (stream, chunk, re-read, verify) reads them here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from cdc.event import UNCHANGED, Value
from cdc.source.time_encoding import Untimely
from sink.mapping.dictionary import Dictionary
from sink.mapping.labels import labels_of
from sink.mapping.mapping import Mapping
from sink.mapping.names import misplaced
from sink.mapping.rule import IS_NOT_NULL, IS_NULL, NUMBER, TABLE, Rule

_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_IN_A_NAME: Final = re.compile(r"[\\,=]")
_IN_A_VALUE: Final = re.compile(r"[\\,]")
_TEXTUAL: Final = re.compile(r"text|json|jsonb|character.*|name|citext", re.ASCII)

Values: TypeAlias = "Sequence[Value]"
OneText: TypeAlias = "Callable[[tuple[str, ...], tuple[str, ...]], tuple[tuple[str, ...], tuple[str, ...]]]"


class Reading(NamedTuple):
    """One cell of a row: where it goes, and its value: a text, None (NULL, or the row is gone), or UNCHANGED.

    `entity` and `time` are wide values; `source` is the narrow column with the value, `type` the type of a column for
    it. With `textual` a column of type text can take it as it is, too. Without a value, both may be empty. A `misfit`
    is no number, where the type of a column for it is one all the same.
    """

    entity: tuple[str, ...]
    time: tuple[str, ...]
    key: str
    source: str
    type: str
    value: Value
    textual: bool = False
    misfit: bool = False

    def fits(self, column_type: str) -> bool:
        """Can a column of this type hold it as it is?"""
        return (self.type == column_type and not self.misfit) or (self.textual and column_type == "text")


def two_values(names: Iterable[str]) -> tuple[str, str]:
    """Why a row has no place in which several value columns are set, and nothing says which of them is the reading."""
    return "two_values", f"{' and '.join(names)} are set, and there is to be one reading"


class Unplaced(NamedTuple):
    """A row that has no place: a reason for the quarantine and its detail."""

    reason: str
    detail: str


class Interpreter:
    """Reads the rows of one table: `head` has the values of `table.wide`, `row` those of `table.carried`, as text.

    An id that the dictionary does not know makes a row Unplaced (`unknown_id`), and is in `dictionary.missing`.
    """

    def __init__(self, rule: Rule, dictionary: Dictionary | None = None, one_text: OneText | None = None) -> None:
        self.rule, self._one_text = rule, one_text
        self.dictionary = dictionary if dictionary is not None else Dictionary()
        table = rule.table
        self._width = len(table.entity)
        self._index = {name: n for n, name in enumerate(table.carried)}
        self._real = {name: n for n, name in enumerate(table.wide)}
        self._axis = rule.axis
        self._padded = rule.padded
        self._where = [(name, wanted) for name, wanted in rule.where.items()]
        self._values = [(self._index[name], name) for name in table.values]
        self._names = {name: n for n, name in enumerate(rule.dictionary.names)} if rule.dictionary else {}

    def read(self, head: Sequence[str | None], row: Values, *, gone: bool = False) -> list[Reading] | Unplaced:
        """The cells of a row, with their values; all without one if the row is `gone`, or not there by `where`.

        A row that is not there and would have no place has no cells.
        """
        found = self._read(head, row, gone=gone)
        if isinstance(found, Unplaced) and found.reason != "unknown_id" and not gone and self._left_out(head, row):
            return []
        return found

    def _left_out(self, head: Sequence[str | None], row: Values) -> bool:
        try:
            return not self.there(head, row)
        except _Unreadable:
            return False

    def _read(self, head: Sequence[str | None], row: Values, *, gone: bool) -> list[Reading] | Unplaced:
        time = tuple(head[self._width :])
        if not self.rule.time.told(time):
            return Unplaced("null_wide_key", "the time is NULL")
        try:
            moment = self.rule.time.wide(time)
            there = not gone and self.there(head, row)
            row_values = _Row(self, head, row)
            entity = tuple(row_values.named(name) for name in self.rule.entity)
            if None in entity:
                return Unplaced("null_wide_key", f"the entity is NULL: {', '.join(self.rule.entity)}")
            key = row_values.key()
        except Untimely as error:
            return Unplaced(error.reason, error.detail)
        except _Unreadable as error:
            return Unplaced(error.reason, error.detail)
        if self._one_text is not None:
            entity, moment = self._one_text(entity, moment)  # type: ignore[arg-type]
        return self._readings(entity, moment, key, row, there=there)  # type: ignore[arg-type]

    def there(self, head: Sequence[str | None], row: Values) -> bool:
        """Does the row pass the filters of `where`?"""
        for name, wanted in self._where:
            value = self.real(name, head, row)
            if value is UNCHANGED:
                raise _Unreadable("unknown_filter", f"an update does not say {name}: give it REPLICA IDENTITY FULL")
            if not (IS_NULL in wanted if value is None else value in wanted or IS_NOT_NULL in wanted):
                return False
        return True

    def axis(self, head: Sequence[str | None], row: Values) -> str:
        """Where a row lies on the axis that chunks are ranges of; empty where there is none, or it is NULL."""
        if self.rule.time.either:
            return self.rule.time.place(tuple(head[self._width :]))
        value = None if self._axis is None else self.real(self._axis, head, row)
        if self.rule.time.parted and self._axis in self.rule.table.time:
            return self._seconds(tuple(each or "" for each in head[self._width :]))
        return value if isinstance(value, str) else ""

    def _seconds(self, time: tuple[str, ...]) -> str:
        try:
            return str(self.rule.time.seconds(time))
        except Untimely:
            return ""

    def real(self, name: str, head: Sequence[str | None], row: Values) -> Value:
        """The value of a real column."""
        place = self._real.get(name)
        value = row[self._index[name]] if place is None else head[place]
        return value.rstrip(" ") if name in self._padded and isinstance(value, str) else value

    def _readings(
        self, entity: tuple[str, ...], time: tuple[str, ...], key: str, row: Values, *, there: bool
    ) -> list[Reading] | Unplaced:
        misplacement = misplaced(key)
        if misplacement is not None:
            return Unplaced(*misplacement)
        if self.rule.measures:
            return [
                self._reading(
                    entity, time, f"{key}{self.rule.measure_separator}{name}", name, self._meant(row[index], there)
                )
                for index, name in self._values
            ]
        if not there:
            return [Reading(entity, time, key, "", "", None)]
        chosen = self._chosen(row)
        if isinstance(chosen, Unplaced):
            return chosen
        return [self._reading(entity, time, key, *chosen)]

    def _chosen(self, row: Values) -> tuple[str, Value] | Unplaced:
        """Which column holds the reading, and the reading."""
        rule = self.rule
        if rule.discriminator is None:
            meant = ((name, self._meant(row[index])) for index, name in self._values)
            values = [(name, value) for name, value in meant if value is not None]
            if len(values) > 1:
                return Unplaced(*two_values(name for name, _ in values))
            return values[0] if values else ("", None)
        choice = self.real(rule.discriminator, (), row) if rule.discriminator in self._index else None
        name = (rule.choices or {}).get(choice) if isinstance(choice, str) else None
        if name is not None:
            return name, self._meant(row[self._index[name]])
        if all(row[index] is None for index, _ in self._values):
            return "", None
        return Unplaced("unknown_discriminator", f"{choice!r} is no choice")

    def _meant(self, value: Value, there: bool = True) -> Value:
        return None if not there or value in self.rule.nulls else value

    def _reading(self, entity: tuple[str, ...], time: tuple[str, ...], key: str, source: str, value: Value) -> Reading:
        raw = self.rule.types.get(source, "")
        textual = _TEXTUAL.fullmatch(raw) is not None
        if isinstance(value, str) and source in self.rule.numbers:
            if is_number(value):
                shown = printed_number(value) if self.rule.canonical else value
                return Reading(entity, time, key, source, NUMBER, shown, textual=True)
            if self.rule.strict:
                return Reading(entity, time, key, source, NUMBER, value, textual=True, misfit=True)
        return Reading(entity, time, key, source, raw, value, textual)

    def _named(self, name: str, head: Sequence[str | None], row: Values, labels: dict[str, str | None]) -> str | None:
        """A column's value, virtual or real; names of the dictionary shadow all others."""
        rule = self.rule
        if rule.dictionary is not None and name in self._names:
            identifier = self._plain(rule.dictionary.column, head, row, labels)
            if identifier is None:
                raise _Unreadable("null_id", f"{rule.dictionary.column}, which is looked up, is NULL")
            names = self.dictionary.get(identifier)
            if names is None:
                raise _Unreadable("unknown_id", f"the dictionary has no {rule.dictionary.column} {identifier!r}")
            return names[self._names[name]]
        return self._plain(name, head, row, labels)

    def _plain(self, name: str, head: Sequence[str | None], row: Values, labels: dict[str, str | None]) -> str | None:
        rule = self.rule
        if name == TABLE and rule.table_value is not None:
            return rule.table_value
        if name in rule.fields:
            return labels.get(name)
        value = self.real(name, head, row)
        if value is UNCHANGED:
            raise _Unreadable("unknown_value", f"an update does not say {name}: give it REPLICA IDENTITY FULL")
        return value


class Interpreters:
    """The interpreters of a mapping's tables, which share one dictionary."""

    def __init__(self, mapping: Mapping, dictionary: Dictionary | None = None) -> None:
        self.dictionary = dictionary if dictionary is not None else Dictionary()
        known = self.dictionary, mapping.one_text
        self._made = {rule.table.qualified: Interpreter(rule, *known) for rule in mapping.rules}

    def of(self, table: str) -> Interpreter:
        """That of a table, by its qualified name. KeyError if the mapping has no such table."""
        return self._made[table]


class _Unreadable(Exception):
    """A row whose entity, key or filter cannot be told."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class _Row:
    """One row while it is read: its labels are taken apart once."""

    __slots__ = ("_head", "_interpreter", "_labels", "_row")

    def __init__(self, interpreter: Interpreter, head: Sequence[str | None], row: Values) -> None:
        self._interpreter, self._head, self._row = interpreter, head, row
        column = interpreter.rule.labels
        self._labels: dict[str, str | None] = {}
        if column is not None:
            value = interpreter.real(column, head, row)
            if value is UNCHANGED:
                raise _Unreadable("unknown_value", f"an update does not say {column}: give it REPLICA IDENTITY FULL")
            try:
                self._labels = labels_of(value or "{}")
            except ValueError as error:
                raise _Unreadable("bad_labels", str(error)) from None

    def named(self, name: str) -> str | None:
        return self._interpreter._named(name, self._head, self._row, self._labels)

    def key(self) -> str:
        """The key: its parts, joined."""
        rule = self._interpreter.rule
        if rule.all_labels:
            labels = sorted((name, value) for name, value in self._labels.items() if value is not None)
            return ",".join(f"{_escaped(name, _IN_A_NAME)}={_escaped(value, _IN_A_VALUE)}" for name, value in labels)
        parts = []
        for name in rule.key:
            value = self.named(name)
            if value is None:
                raise _Unreadable("null_key", f"the key is NULL: {name}")
            parts.append(value)
        return rule.joined(parts)


def _escaped(text: str, special: re.Pattern[str]) -> str:
    """A name or value of the labels with a backslash before what would end it: else two series could look the same."""
    return special.sub(r"\\\g<0>", text)


def is_number(text: str) -> bool:
    """Is the text a finite number that a double precision holds without losing a digit?

    So it is if the number is a double precision, by its shortest text (0.1), by 16 or 17 digits of it, as many
    programs print it (2.2000000476837158, which was a float of four bytes), or by all of its digits.
    """
    return _known_number(text) if len(text) <= _SHORT else _is_number(text)


def _is_number(text: str) -> bool:
    if _NUMBER.fullmatch(text) is None:
        return False
    value, meant = float(text), Decimal(text)
    if value in (float("inf"), float("-inf")):
        return False
    digits = len(meant.as_tuple().digits)
    return (
        Decimal(repr(value)) == meant
        or Decimal(value) == meant
        or (digits <= _DIGITS and Decimal(f"{value:.{digits - 1}e}") == meant)
    )


def printed_number(text: str) -> str:
    """A number as the server prints it as a double precision: by its fewest digits."""
    negative, digits, exponent = Decimal(repr(float(text))).as_tuple()
    shown = "".join(map(str, digits)).rstrip("0")
    sign = "-" if negative else ""
    if not shown.strip("0"):
        return f"{sign}0"
    place = len(digits) + int(exponent)  # of the point, from the first digit
    if place - 1 < _SMALLEST or place - 1 >= _LARGEST:
        return f"{sign}{shown[0]}{'.' if shown[1:] else ''}{shown[1:]}e{place - 1:+03}"
    if place <= 0:
        return f"{sign}0.{'0' * -place}{shown}"
    fraction = shown[place:]
    return f"{sign}{shown[:place].ljust(place, '0')}{'.' if fraction else ''}{fraction}"


_SMALLEST: Final = -4
_LARGEST: Final = 15
"""Powers of ten between which the server prints a double precision without an exponent."""
_DIGITS: Final = 17
"""Of a double precision: two that differ have other texts of so many digits."""
_SHORT: Final = 64
"""Characters of a text beyond which nothing of it is remembered."""
_known_number: Final = lru_cache(maxsize=65_536)(_is_number)
