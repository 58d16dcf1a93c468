"""Which columns hold the reading, and what decides between them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sink.mapping.rule import IS_NULL
from widebeam.init.facts import Column, Sample, Table
from widebeam.init.words import (
    AUDIT,
    QUALITY,
    SENTINELS,
    SOFT_DELETE,
    UNIT,
    about,
    names_a_value,
    qualifies_a_value,
    tokens,
)

_MOST_KINDS: Final = 12  # different values of a discriminator
_OF_A_KIND: Final = ("id", "type", "format", "kind", "datatype")
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_GOOD_QUALITY: Final = "192"  # OPC's code
TEXTS: Final = ("text", "character varying", "character", "citext", "name")
"""Types that hold any text, whatever their length."""


@dataclass(frozen=True, slots=True)
class Readings:
    """The value columns, in the order in which they are looked at, and what says which one counts."""

    columns: tuple[str, ...]
    why: str
    discriminator: str | None = None
    choices: tuple[tuple[str, str], ...] = ()
    measures: bool = False
    left_out: tuple[str, ...] = ()
    """Columns that stand beside a reading and say something about it."""
    named: bool = False
    """They are called like values, rather than being what is left."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Rows that count: those with one of `values` in `column`. `sure` if nothing else can be meant."""

    column: str
    values: tuple[str, ...]
    why: str
    sure: bool


def is_text(column: Column) -> bool:
    """Whether a column holds text of any length."""
    return column.type.partition("(")[0] in TEXTS


def readings(table: Table, sample: Sample, cell: Sequence[str]) -> Readings | None:
    """The value columns of a table whose cells are named by `cell`; None if there are none."""
    free = [column for column in table.columns if column.name not in cell and column.name not in table.surrogates]
    named = [column.name for column in free if names_a_value(column.name)]
    beside = tuple(column.name for column in free if qualifies_a_value(column.name))
    if sample.rows and not any(sample.present(name) for name in named):
        others = [column.name for column in free if column.name not in named and _could_hold(table, sample, column)]
        named = [] if others else named
    columns = [*named, *_instead(table, sample, free, named)]
    columns = columns or [column.name for column in free if _could_hold(table, sample, column)]
    if not columns:
        return None
    if len(columns) == 1:
        return Readings(tuple(columns), "the only column that can hold a reading", left_out=beside, named=bool(named))
    return _several(sample, columns, free, beside, named=bool(named))


def _instead(table: Table, sample: Sample, free: Sequence[Column], named: Sequence[str]) -> list[str]:
    """Columns of any name that are set only where none that is called like a value is: else those rows had none."""
    if not named:
        return []
    there = [any(row) for row in zip(*([v is not None for v in sample.values(name)] for name in named), strict=True)]
    found = []
    for column in free:
        filled = [value is not None for value in sample.values(column.name)]
        apart = not any(one and other for one, other in zip(there, filled, strict=True))
        if column.name not in named and any(filled) and apart and _could_hold(table, sample, column):
            found.append(column.name)
    return found


def _could_hold(table: Table, sample: Sample, column: Column) -> bool:
    """Without a telling name: it has values, and is neither about the row nor about the reading."""
    apart = about(column.name, AUDIT | QUALITY | SOFT_DELETE) or qualifies_a_value(column.name)
    if (
        tokens(column.name)[-1:] in UNIT
        or apart
        or column.type.startswith("timestamp")
        or table.reference(column.name) is not None
    ):
        return False
    return bool(sample.present(column.name)) and not {*tokens(column.name)[-1:]} & {*_OF_A_KIND}


def _several(
    sample: Sample, columns: list[str], free: list[Column], beside: tuple[str, ...], *, named: bool
) -> Readings | None:
    ordered = tuple(columns)
    together = sum(1 for row in zip(*map(sample.values, columns), strict=True) if sum(v is not None for v in row) > 1)
    if together and together * 2 > len(sample.rows):
        if not named:
            return _beside_others(sample, columns, free, beside)
        return Readings(ordered, "they are set together", measures=True, left_out=beside, named=named)
    for column in free:
        choices = _choices(sample, column, columns) if is_text(column) and column.name not in columns else ()
        if choices and {chosen for _, chosen in choices} == set(columns):
            why = f"each value of {column.name} goes with exactly one column that is set"
            return Readings(ordered, why, column.name, choices, left_out=beside, named=named)
    return Readings(ordered, "at most one of them is set in a row", left_out=beside, named=named)


def _beside_others(sample: Sample, columns: list[str], free: list[Column], beside: tuple[str, ...]) -> Readings | None:
    """Of which a discriminator chooses one, beside what is always set; else it is wide, a column for each quantity."""
    some = [name for name in columns if None in sample.values(name)]
    always = tuple(name for name in columns if name not in some)
    if len(some) < 2 or not always:
        return None
    found = _several(sample, some, free, (*beside, *always), named=False)
    return found if found is not None and found.discriminator is not None else None


def _choices(sample: Sample, column: Column, columns: list[str]) -> tuple[tuple[str, str], ...]:
    """Which value of this column goes with which value column; empty if that is not one to one."""
    kinds = sample.distinct(column.name)
    if not 2 <= len(kinds) <= _MOST_KINDS:
        return ()
    found: dict[str, str] = {}
    rows = zip(sample.values(column.name), *map(sample.values, columns), strict=True)
    for kind, *values in rows:
        filled = [name for name, value in zip(columns, values, strict=True) if value is not None]
        if kind is None or len(filled) > 1 or (filled and found.setdefault(kind, filled[0]) != filled[0]):
            return ()
    return tuple(sorted(found.items())) if len(found) == len(kinds) else ()


def numbers(sample: Sample, columns: Sequence[str], key: str | None) -> tuple[str, ...]:
    """Of value columns that are all text, those that hold nothing but numbers for at least one key."""
    found = []
    for name in columns:
        groups = [values for _, values in sample.groups(key, name)] if key is not None else [sample.present(name)]
        real = [[value for value in values if value.lower() not in SENTINELS] for values in groups]
        if any(values and all(map(_NUMBER.fullmatch, values)) for values in real):
            found.append(name)
    return tuple(found)


def sentinels(sample: Sample, columns: Sequence[str], key: str | None) -> tuple[str, ...]:
    """Texts that stand for no reading, as they occur beside numbers of the same key."""
    found: set[str] = set()
    for name in columns:
        for values in [group for _, group in sample.groups(key, name)] if key else [sample.present(name)]:
            words = {value for value in values if value.lower() in SENTINELS}
            if words and any(_NUMBER.fullmatch(value) for value in values):
                found |= words
    return tuple(sorted(found))


def filters(table: Table, sample: Sample) -> list[Filter]:
    """Rows that count as deleted, and rows of bad quality."""
    found: list[Filter] = []
    for column in sorted(table.columns, key=lambda each: each.type.startswith("timestamp")):
        values = sample.distinct(column.name)
        if set(tokens(column.name)) <= SOFT_DELETE | {"is"} and column.type in ("boolean", "smallint", "integer"):
            live: tuple[str, ...] = ("f",) if column.type == "boolean" else ("0",)
            live = live if column.not_null else (*live, IS_NULL)
            found.append(Filter(column.name, live, f"{column.name} marks rows that were taken back", sure=True))
        elif (
            set(tokens(column.name)) & SOFT_DELETE
            and column.type.startswith("timestamp")
            and not any(f.sure for f in found)
        ):
            found.append(
                Filter(column.name, (IS_NULL,), f"{column.name} may mark rows that were taken back", sure=False)
            )
        elif any(word in column.name.lower() for word in QUALITY):
            if _GOOD_QUALITY in values and column.type in ("smallint", "integer", "bigint"):
                why = f"{column.name} is a quality code, and {_GOOD_QUALITY} is OPC's for good"
                found.append(Filter(column.name, (_GOOD_QUALITY,), why, sure=True))
            elif 1 <= len(values) <= _MOST_KINDS:
                why = f"{column.name} says how good a reading is"
                found.append(Filter(column.name, tuple(sorted(values)), why, sure=False))
    return found
