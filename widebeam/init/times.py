"""Which column is the moment of a reading, and how it is written. Pure."""

from __future__ import annotations

import math
import re
from typing import Final, NamedTuple

from widebeam.init.facts import Column, Index, Sample, Table
from widebeam.init.readings import is_text
from widebeam.init.words import AUDIT, NANOSECONDS, TIME, about, names_a_value, tokens, words

_WHOLE: Final = ("smallint", "integer", "bigint")
_FRACTIONS: Final = ("double precision", "real", "numeric")

_FORMS: Final = (  # form, unit, and which numbers are moments between 1990 and 2100
    ("epoch_s", "seconds", 631_152_000, 4_102_444_800),
    ("epoch_ms", "milliseconds", 631_152_000_000, 4_102_444_800_000),
    ("epoch_us", "microseconds", 631_152_000_000_000, 4_102_444_800_000_000),
)
_NANOSECONDS: Final = ("nanoseconds", 631_152_000_000_000_000, 4_102_444_800_000_000_000)
_ISO: Final = re.compile(r"(19|20)\d\d-[01]\d-[0-3]\d([T ][0-2]\d:[0-5]\d.*)?", re.ASCII)
_ODD: Final = 0.01  # the share of odd values up to which the others tell what a column is
_SHOWN: Final = 3  # odd values that are shown

_CALLED: Final = TIME | words("t unix utc dt instant millis")
"""Names of a moment, with those that say so only where the values do."""

_COMMONEST: Final = {
    "integer": ("epoch_s", "it is an integer that is called like a time: seconds since 1970, most likely"),
    "bigint": ("epoch_ms", "it is a bigint that is called like a time: milliseconds since 1970, most likely"),
    "double precision": ("epoch_float", "it is called like a time: seconds since 1970, with a fraction, most likely"),
}


class Moment(NamedTuple):
    """The time columns (two for seconds and nanoseconds, none where there is no time), the form, and why."""

    columns: tuple[str, ...]
    form: str
    why: str
    guessed: bool = False
    """The table is empty: the form is the commonest one for the column's type."""
    local: bool = False
    """A timestamp without a zone: nobody can tell from the schema in which zone it is."""
    odd: str = ""
    """Values that are no moments of our years as the others are, how many of how many, and which."""
    unread: str | None = None
    """A column of moments that no `time_form` can say: it tells rows apart, and is asked about."""

    end: str | None = None
    """The column with the end, where the time is the beginning of a span."""

    @property
    def doubt(self) -> str:
        """What its reader has to ask himself about the column; empty if nothing."""
        if self.unread is not None:
            return (
                "can the writers fill a column of type timestamptz, or one of microseconds, beside it? Name that one "
                f"here. No time_form reads {self.unread}: a part of the entity, it keeps moments apart."
            )
        asked = []
        if self.odd:
            asked.append(f"should these be mended in the source? {self.odd}. Each lands where its number says.")
        if self.end is not None:
            asked.append(f"are spans of time meant by their beginnings? The ends are in {self.end}; or take that.")
        return " ".join(asked)


NONE: Final = Moment((), "native", "no column looks like the moment of a reading")


def moment(table: Table, sample: Sample) -> Moment:
    """The best of the columns that could be the time; NONE if there is none."""
    scored = [(_score(table, sample, column), -at, column) for at, column in enumerate(table.columns)]
    best = max((each for each in scored if each[0] > 0), default=None)
    return _unread(table, sample) if best is None else _described(table, sample, best[2])


def _unread(table: Table, sample: Sample) -> Moment:
    """Without a time that can be said: the column that is one all the same, in nanoseconds or as a text."""
    for column in table.columns:
        present, known = sample.present(column.name), about(column.name, _CALLED)
        if not present or len(present) < len(sample.rows) or names_a_value(column.name):
            continue
        _, low, high = _NANOSECONDS
        if column.type in ("bigint", "numeric") and all(low <= float(value) < high for value in present):
            return Moment((), "native", f"{column.name} is nanoseconds since 1970", unread=column.name)
        if is_text(column) and known and all(map(_ISO.fullmatch, present)):
            return Moment((), "native", f"{column.name} is a text with a time in it", unread=column.name)
    return NONE


def form(column: Column, values: list[str]) -> tuple[str, str] | None:
    """How moments are written in a column of this type with these values: the form and what it says, or None."""
    if _native(column.type):
        return "native", f"it is a {column.type}"
    kind = column.type.partition("(")[0]
    if kind not in (*_WHOLE, *_FRACTIONS):
        return None
    numbers = [float(value) for value in values]
    for name, unit, low, high in _FORMS:
        fit = [number for number in numbers if low <= number < high]
        if not fit or len(numbers) - len(fit) > _ODD * len(numbers):
            continue
        if kind in _FRACTIONS:
            return ("epoch_float", "it is seconds since 1970, with a fraction") if name == "epoch_s" else None
        return name, f"its numbers are {unit} since 1970 (from {min(fit):.0f} to {max(fit):.0f})"
    return None


def _odd(form: str, values: list[str]) -> str:
    """Which values are none of our years in this form: how many of how many, some of them, and what they may be."""
    name = "epoch_s" if form == "epoch_float" else form
    low, high = next(((low, high) for each, _, low, high in _FORMS if each == name), (-math.inf, math.inf))
    found = [] if form == "native" else [value for value in values if not low <= float(value) < high]
    if not found:
        return ""
    units = (*((unit, low, high) for _, unit, low, high in _FORMS), _NANOSECONDS)
    mixed = [unit for unit, low, high in units if any(low <= float(value) < high for value in found)]
    shown = ", ".join(list(dict.fromkeys(found))[:_SHOWN])
    may_be = f"; they may be {' or '.join(mixed)}" if mixed else ""
    return f"{len(found):,} of {len(values):,} values that were looked at are no moments of our years ({shown}){may_be}"


def _form(column: Column, sample: Sample) -> tuple[str, str] | None:
    """The form that the values show; of an empty table the commonest one of the column's type, if it is called so."""
    if sample.rows or _native(column.type) or not about(column.name, TIME):  # no single letter: "t" may be anything
        return form(column, sample.present(column.name))
    return _COMMONEST.get(column.type.partition("(")[0])


def _native(type_name: str) -> bool:
    return type_name == "date" or type_name.startswith("timestamp")


def _score(table: Table, sample: Sample, column: Column) -> int:
    """Above 0: it could be the time. Being part of a key weighs more than any name."""
    present = sample.present(column.name)
    if _form(column, sample) is None or names_a_value(column.name):
        return 0
    named = about(column.name, _CALLED)
    keyed = [index for index in table.indexes if column.name in index.columns and index.columns != (column.name,)]
    if not named and not _native(column.type) and not _counts_moments(column, present, keyed):
        return 0  # a large number is no moment by itself
    score = 2 + 2 * named
    score += 6 * any(index.unique for index in keyed) + 3 * bool(keyed)
    score += 1 * any(column.name in index.columns for index in table.indexes)
    score += 6 * table.unique(column.name)
    score += 2 * (tokens(column.name)[:1] == tokens(table.name)[:1] != ())
    score -= 3 * about(column.name, AUDIT)
    score -= 5 * (len(present) < len(sample.rows)) + 20 * (not present and bool(sample.rows))
    return score


def _counts_moments(column: Column, present: list[str], keyed: list[Index]) -> bool:
    """Whatever it is called: a part of a unique key whose numbers all are milliseconds or microseconds of our years."""
    found = form(column, present)
    fine = found is not None and found[0] in ("epoch_ms", "epoch_us")
    return fine and len(set(present)) > 1 and any(index.unique for index in keyed)


def _described(table: Table, sample: Sample, column: Column) -> Moment:
    found = _form(column, sample)
    if found is None:
        raise AssertionError(f"{column.name} has a score without a form")
    name, says = found
    unique = any(index.unique and column.name in index.columns for index in table.indexes)
    place = "it is part of a unique key" if unique else "it is the best dated column that is never NULL"
    beside = _nanoseconds(table, sample) if name == "epoch_s" else None
    strange = _odd(name, sample.present(column.name))
    if beside is not None:
        why = f"{says}, and {beside} holds the nanoseconds; {place}"
        return Moment((column.name, beside), "s_ns", why, guessed=not sample.rows, odd=strange)
    guessed, local = not sample.rows and name != "native", column.type.endswith("without time zone")
    return Moment((column.name,), name, f"{says}, and {place}", guessed, local, strange, end=_end(table, column.name))


def _end(table: Table, begin: str) -> str | None:
    """The column that is called like the end of what this one begins."""
    names = {tokens(column.name): column.name for column in table.columns}
    ends = {"start": "end", "begin": "end", "from": "to"}
    return names.get(tuple(ends.get(word, word) for word in tokens(begin))) if ends.keys() & {*tokens(begin)} else None


def _nanoseconds(table: Table, sample: Sample) -> str | None:
    for column in table.columns:
        called = column.name.lower() in NANOSECONDS and column.type in _WHOLE
        if called and all(0 <= int(value) < 10**9 for value in sample.present(column.name)):
            return column.name
    return None
