"""Which column is the moment of a reading, and how it is written. Pure."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from widebeam.init.facts import Column, Index, Sample, Table
from widebeam.init.words import AUDIT, NANOSECONDS, TIME, about, names_a_value, tokens

_WHOLE: Final = ("smallint", "integer", "bigint")
_FRACTIONS: Final = ("double precision", "real", "numeric")

_FORMS: Final = (  # form, unit, and which numbers are moments between 1990 and 2100
    ("epoch_s", "seconds", 631_152_000, 4_102_444_800),
    ("epoch_ms", "milliseconds", 631_152_000_000, 4_102_444_800_000),
    ("epoch_us", "microseconds", 631_152_000_000_000, 4_102_444_800_000_000),
)


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


NONE: Final = Moment((), "native", "no column looks like the moment of a reading")


def moment(table: Table, sample: Sample) -> Moment:
    """The best of the columns that could be the time; NONE if there is none."""
    scored = [(_score(table, sample, column), -at, column) for at, column in enumerate(table.columns)]
    best = max((each for each in scored if each[0] > 0), default=None)
    return NONE if best is None else _described(table, sample, best[2])


def form(column: Column, values: list[str]) -> tuple[str, str] | None:
    """How moments are written in a column of this type with these values: the form and what it says, or None."""
    if _native(column.type):
        return "native", f"it is a {column.type}"
    kind = column.type.partition("(")[0]
    if kind not in (*_WHOLE, *_FRACTIONS):
        return None
    numbers = [float(value) for value in values]
    if not numbers or not all(map(math.isfinite, numbers)):
        return None
    for name, unit, low, high in _FORMS:
        if low <= min(numbers) and max(numbers) < high:
            if kind in _FRACTIONS:
                return ("epoch_float", "it is seconds since 1970, with a fraction") if name == "epoch_s" else None
            return name, f"its numbers are {unit} since 1970 (from {min(numbers):.0f} to {max(numbers):.0f})"
    return None


def _form(column: Column, sample: Sample) -> tuple[str, str] | None:
    """The form that the values show; of an empty table the commonest one of the column's type, if it is called so."""
    if sample.rows or _native(column.type) or not about(column.name, TIME):
        return form(column, sample.present(column.name))
    return _COMMONEST.get(column.type.partition("(")[0])


def _native(type_name: str) -> bool:
    return type_name == "date" or type_name.startswith("timestamp")


def _score(table: Table, sample: Sample, column: Column) -> int:
    """Above 0: it could be the time. Being part of a key weighs more than any name."""
    present = sample.present(column.name)
    if _form(column, sample) is None or names_a_value(column.name):
        return 0
    named = about(column.name, TIME)
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
    if beside is not None:
        why = f"{says}, and {beside} holds the nanoseconds; {place}"
        return Moment((column.name, beside), "s_ns", why, guessed=not sample.rows)
    guessed = not sample.rows and name != "native"
    return Moment(
        (column.name,), name, f"{says}, and {place}", guessed, local=column.type.endswith("without time zone")
    )


def _nanoseconds(table: Table, sample: Sample) -> str | None:
    for column in table.columns:
        called = column.name.lower() in NANOSECONDS and column.type in _WHOLE
        if called and all(0 <= int(value) < 10**9 for value in sample.present(column.name)):
            return column.name
    return None
