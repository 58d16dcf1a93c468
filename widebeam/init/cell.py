"""Which columns name a cell: whose reading it is, and of what. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from widebeam.init.facts import Column, Index, Sample, Table
from widebeam.init.readings import is_text
from widebeam.init.times import Moment
from widebeam.init.words import AUDIT, ENTITY, KEY, LABELS, UNIT, about, names_a_value, tokens

_WHOLE: Final = ("smallint", "integer", "bigint")
_MEASURE: Final = re.compile(
    r".*[%°²³/^·µΩ].*|[kMGmuc]?(m|g|s|A|V|W|Wh|Hz|Pa|bar|L|l|J|N|VA|VAr|var|t|B|b|Bd|eV|cd|lx|lm|mol|T)|"
    r"[CFK]|rpm|psi|ppm|ppb|min|h|d|deg|degC|degF|dB|dBm|pH|kn|kt|nm|ft|in|mi|lb|hPa|mmHg|inHg|rad|Celsius|Kelvin|"
    r"Fahrenheit|percent|count|pcs|-?"
)
"""Units of measure, as people write them."""

_LONGEST_KEY: Final = 300  # characters: a longer text is no name


@dataclass(frozen=True, slots=True)
class Cell:
    """The columns beside the time that name a cell.

    `key` is None where no column is left for it: then the table's name is the key, or `labels`, a jsonb column.
    `unique` says whether a unique index covers entity, time and key.
    """

    entity: tuple[str, ...]
    key: str | None
    labels: str | None
    unique: bool
    why_entity: str
    why_key: str
    unit: str | None = None
    """A column that says in what unit a reading is: of one key always the same, so that it tells nothing apart."""
    nullable: str | None = None
    """The column that is NULL in some rows."""

    @property
    def doubt(self) -> str:
        """What to ask oneself about a column called `unit`, whether it is in the entity or not."""
        if self.unit is not None:
            return (
                f"is {self.unit} a part of the plant? Then name it here. It is taken as the unit of measure, since "
                f"each {self.key} has only one."
            )
        if self.nullable is not None:
            return (
                f"what are the rows without {self.nullable}? They go into the quarantine. If they are no readings of "
                "these, a connector of its own reads them, by another key."
            )
        named = [name for name in self.entity if tokens(name)[-1:] in UNIT]
        return f"is {named[0]} the unit of measure? Then it belongs to the key rather than here." if named else ""


def cell(table: Table, sample: Sample, time: Moment) -> Cell | None:
    """What names a cell in this table; None if nothing does."""
    labels = _labels(table, sample)
    index = _unique(table, time)
    rest = _of_index(index, time, labels) if index is not None else _likely(table, sample, time)
    last = (time.unread,) if time.unread is not None else ()
    rest = [name for name in rest if name not in last]
    unit = _unit(table, sample, rest) if index is None else None
    rest = [name for name in rest if name != unit]
    if not rest:
        return _without_key(table, time, labels, index)
    ranked = sorted(rest, key=lambda name: (-_key_score(table, sample, name), rest.index(name)))
    entity = (*(name for name in rest if name != ranked[0]), *last)
    empty = next((name for name in rest if len(sample.present(name)) < len(sample.rows)), None)
    place = _place(table, rest, index, time)
    if labels is not None and (index is None or labels in index.columns or not about(ranked[0], KEY)):
        return Cell((*rest, *last), None, labels, index is not None, f"{place}", "its fields name the series")
    return Cell(
        entity, ranked[0], None, index is not None, place, f"{place}, and {_why(table, ranked[0])}", unit, empty
    )


def _unit(table: Table, sample: Sample, rest: list[str]) -> str | None:
    """Of columns that could name a cell the one with the unit of measure: a word for one, or beside another entity."""
    for name in rest:
        others = [other for other in rest if other != name]
        keys = [other for other in others if about(other, KEY)]
        if not is_text(table.column(name)) or tokens(name)[-1:] not in UNIT or not keys:
            continue
        measures = all(_MEASURE.fullmatch(value) for value in sample.distinct(name))
        beside = any(about(other, ENTITY) and other not in keys for other in others)
        if (measures or beside) and all(len(set(of)) == 1 for _, of in _by(sample, others, name)):
            return name
    return None


def _by(sample: Sample, columns: list[str], of: str) -> Iterator[tuple[tuple[str | None, ...], list[str]]]:
    found: dict[tuple[str | None, ...], list[str]] = {}
    for *group, value in zip(*map(sample.values, [*columns, of]), strict=True):
        found.setdefault(tuple(group), []).append(value or "")
    yield from found.items()


def _place(table: Table, rest: list[str], index: Index | None, time: Moment) -> str:
    if index is not None:
        return f"part of the unique key ({', '.join(index.columns)})"
    indexed = all(_beside_time(table, name, time) for name in rest)
    return "never NULL and indexed" if indexed else "never NULL, and called like it"


def _without_key(table: Table, time: Moment, labels: str | None, index: Index | None) -> Cell | None:
    nobody = "no column says whose reading it is"
    if labels is not None:
        return Cell((), None, labels, index is not None, nobody, "all its fields together name the series")
    if time.columns and index is not None:
        return Cell((), None, None, True, nobody, "only the table's name says what is measured")
    return None


def _unique(table: Table, time: Moment) -> Index | None:
    """The unique index that names a cell: with the time in it, or of several columns where there is no time."""
    fits = [
        index
        for index in table.indexes
        if index.unique
        and not any(_is_no_name(table, index, name) for name in index.columns)
        and (
            {*time.columns, *filter(None, [time.unread])} <= set(index.columns)
            and (time.columns or len(index.columns) > 1)
        )
    ]
    return min(fits, key=lambda index: (len(index.columns), not index.primary), default=None)


def _is_no_name(table: Table, index: Index, name: str) -> bool:
    """Whether a column of an index is a reading or numbers the rows. `measurement` is the one or names the other."""
    if name in table.surrogates or not names_a_value(name):
        return name in table.surrogates
    others = any(names_a_value(each.name) for each in table.columns if each.name not in index.columns)
    return not (others and about(name, KEY) and _can_name(table.column(name)))


def _of_index(index: Index, time: Moment, labels: str | None) -> list[str]:
    return [name for name in index.columns if name not in time.columns and name != labels]


def _likely(table: Table, sample: Sample, time: Moment) -> list[str]:
    """Without a unique index: what is always set, is indexed or refers to something, and is called like a part."""
    if not time.columns and time.unread is None:
        return []
    likely = [column for column in table.columns if _is_likely(table, sample, column, time)]
    indexed = [column.name for column in likely if _beside_time(table, column.name, time)]
    return indexed or [column.name for column in likely if about(column.name, KEY | ENTITY)]


def _beside_time(table: Table, name: str, time: Moment) -> bool:
    """An index on a column and the time is made to look for the one's history."""
    moments = {*time.columns, time.unread}
    return any(name in index.columns and moments & set(index.columns) for index in table.indexes)


def _is_likely(table: Table, sample: Sample, column: Column, time: Moment) -> bool:
    name = column.name
    if name in time.columns or name in table.surrogates or names_a_value(name) or about(name, AUDIT):
        return False
    present, rows = len(sample.present(name)), len(sample.rows)
    refers = table.reference(name) is not None and present * 2 > rows  # a row without it goes into the quarantine
    always = (present == rows or refers) and bool(rows or column.not_null)
    return _can_name(column) and always


def _can_name(column: Column) -> bool:
    return column.type in (*_WHOLE, "uuid") or is_text(column)


def _labels(table: Table, sample: Sample) -> str | None:
    """A jsonb column whose values are objects of texts."""
    for column in table.columns:
        called = column.type == "jsonb" and about(column.name, LABELS) and not names_a_value(column.name)
        if called and all(value.startswith("{") for value in sample.present(column.name)):
            return column.name
    return None


def _key_score(table: Table, sample: Sample, name: str) -> float:
    """How much a column looks like what is measured rather than where."""
    column, words = table.column(name), tokens(name)
    score = 5.0 * about(name, KEY) - 5.0 * about(name, ENTITY) + 3.0 * (words == ("key",))
    score -= 6.0 * about(name, AUDIT)
    score -= 2.0 * (words[-1:] in (("type",), ("kind",), ("format",)))
    score += 2.0 * (table.reference(name) is not None) - 2.0 * (column.type == "uuid")
    score -= 4.0 * any(len(value) > _LONGEST_KEY for value in sample.present(name))
    score += 2.0 * _decides_column(table, sample, name)
    return score + min(len(sample.distinct(name)), 1000) / 1001


def _decides_column(table: Table, sample: Sample, name: str) -> bool:
    """Whether its value alone says which value column is set: so it is with keys, hardly with entities."""
    columns = [column.name for column in table.columns if names_a_value(column.name)]
    if len(columns) < 2:
        return False
    found: dict[str | None, set[tuple[bool, ...]]] = {}
    for key, *values in zip(sample.values(name), *map(sample.values, columns), strict=True):
        found.setdefault(key, set()).add(tuple(value is not None for value in values))
    return all(len(patterns) == 1 for patterns in found.values()) and len(set.union(set(), *found.values())) > 1


def _why(table: Table, name: str) -> str:
    if about(name, KEY):
        return "called like what is measured"
    if table.reference(name) is not None:
        return "refers to what is measured"
    return "of these it has the most different values"
