"""A table seen as narrow: its time, its cell, its readings; and which tables belong together. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from cdc.clock.time_text import TimeText
from widebeam.init.cell import Cell, cell
from widebeam.init.facts import Sample, Table, joined_samples
from widebeam.init.readings import Readings, is_text, readings
from widebeam.init.times import NONE, Moment, moment
from widebeam.init.words import ENTITY, KEY, about, stem


class NotNarrow(Exception):
    """A table that cannot be seen as narrow; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One narrow table and the part that each of its columns plays."""

    table: Table
    sample: Sample
    time: Moment
    cell: Cell
    readings: Readings

    @property
    def parts(self) -> tuple[object, ...]:
        """What tables have in common that go into one target: the same columns in the same parts, of the same thing."""
        entity = self.cell.entity
        targets = tuple(self.table.reference(name) and self.table.reference(name)[1:] for name in entity)  # type: ignore[index]
        cell = (entity, targets, self.cell.key, self.cell.labels, self.cell.unique)
        return (self.table.schema, self.time.columns, *cell, self.readings.columns)

    @property
    def series(self) -> set[tuple[str | None, ...]]:
        """The sample's different entities and keys."""
        names = (*self.cell.entity, *filter(None, (self.cell.key, self.cell.labels)))
        return set(zip(*map(self.sample.values, names), strict=True))

    @property
    def moments(self) -> list[tuple[float, str]]:
        """The sample's times in their order, as numbers or as the server prints them; at least one."""
        present = self.sample.present(self.time.columns[0])
        way = TimeText.of(self.time.form)
        if way is not None:
            return sorted((float(way.about(each)), "") for each in present) or [(0.0, "")]
        numbers = self.time.form != "native"
        return sorted((float(each), "") if numbers else (0.0, each) for each in present) or [(0.0, "")]

    @property
    def by_time(self) -> bool:
        """Whether an index leads to the history of a key."""
        wanted = {self.cell.key, *self.time.columns}
        return bool(self.time.columns) and any(wanted <= set(index.columns) for index in self.table.indexes)


@dataclass(frozen=True, slots=True)
class Family:
    """Narrow tables that belong together; one table is a family, too."""

    shapes: tuple[Shape, ...]

    @property
    def whole(self) -> Shape:
        """All of them as one: the table with the fewest columns, seen with the rows of all."""
        least = min(self.shapes, key=lambda each: (len(each.table.columns), each.table.name))
        joined = joined_samples(least.sample, [each.sample for each in self.shapes])
        named = (*least.time.columns, *least.cell.entity, least.cell.key or "", least.cell.labels or "")
        return replace(least, sample=joined, readings=readings(least.table, joined, named) or least.readings)

    @property
    def rows(self) -> int:
        """Estimated rows of all together."""
        return sum(shape.table.rows for shape in self.shapes)

    @property
    def numbered(self) -> bool:
        """Whether the names differ by numbers only, or a month ends the one name: then more of them may come."""
        names = [shape.table.name for shape in self.shapes]
        alike = len({_NUMBERS.sub("#", name) for name in names}) == 1
        return alike and (len(names) > 1 or _MONTH.search(names[0]) is not None)

    @property
    def ends_in_numbers(self) -> bool:
        """Whether every name ends in a number of its own, whatever is before it."""
        found = [_END.search(shape.table.name) for shape in self.shapes]
        numbers = {int(each[0]) for each in found if each is not None}
        return len(numbers) == len(self.shapes)

    @property
    def apart(self) -> bool:
        """Whether a table's name tells readings apart: several have the same keys, and that at the same times."""
        types = {tuple(shape.table.column(name).type for name in shape.readings.columns) for shape in self.shapes}
        if self.by_name or self.by_months or len(types) > 1:
            return False
        looked_at = [shape for shape in self.shapes if shape.sample.rows][:_COMPARED]
        named = any(column.name == "table" for shape in self.shapes for column in shape.table.columns)
        return not named and any(_beside(*pair) for pair in combinations(looked_at, 2))

    @property
    def by_months(self) -> bool:
        """Whether a month ends each name: these are one table, parted by hand."""
        return all(_MONTH.search(shape.table.name) is not None for shape in self.shapes)

    @property
    def by_name(self) -> bool:
        """Whether a table's name is the key."""
        return self.shapes[0].cell.key is None and self.shapes[0].cell.labels is None


def _beside(one: Shape, other: Shape) -> bool:
    """Whether two tables have a series in common, and more than a border's rows in the same span of time."""
    if not one.series & other.series:
        return False
    if not one.time.columns:
        return True
    times, others = one.moments, other.moments
    within = sum(others[0] <= each <= others[-1] for each in times) / len(times)
    return max(within, sum(times[0] <= each <= times[-1] for each in others) / len(others)) > _BORDER


_COMPARED = 20  # tables of a family, each with each
_BORDER = 0.05  # the share of rows of a table parted by time that may be late for it
_NUMBERS = re.compile(r"\d+(_\d+)*")
_END = re.compile(r"\d+$")
_MONTH = re.compile(r"(19|20)\d\d_?[01]\d(_?[0-3]\d)?$")


def with_empty(family: Family, empty: Iterable[Table]) -> Family:
    """A family with the tables that belong to it by their names and columns, though they have no rows yet."""
    first, there = family.shapes[0], {each.table.name for each in family.shapes}
    if family.by_name or first.cell.labels is not None:
        return family
    named = (*first.time.columns, *first.cell.entity, *((first.cell.key,) if first.cell.key else ()))
    alike = {name: first.table.column(name).type for name in named}
    found = [
        Shape(table, Sample(tuple(column.name for column in table.columns), ()), first.time, first.cell, first.readings)
        for table in sorted(empty, key=lambda each: each.name)
        if table.schema == first.table.schema
        and table.name not in there
        and _kin(table) == _kin(first.table)
        and alike.items() <= {column.name: column.type for column in table.columns}.items()
        and {*first.readings.columns} <= {column.name for column in table.columns}
    ]
    return Family(tuple(sorted((*family.shapes, *found), key=lambda each: each.table.name)))


def latest(found: Shape) -> bool:
    """Whether a table has one row for each cell, whatever the time that stands beside it: no history."""
    cell = (*found.cell.entity, found.cell.key or "")
    return found.time != NONE and not found.cell.unique and found.table.unique(*cell)


def shape(table: Table, sample: Sample, *, timeless: bool = False) -> Shape:
    """See a table as narrow, or as one without time. Raises NotNarrow."""
    time = NONE if timeless else moment(table, sample)
    found = cell(table, sample, time)
    if found is None:
        what = "no key" if time.columns else "neither a time nor a unique key of several columns"
        raise NotNarrow(f"{table.qualified} has {what}")
    named = (*time.columns, *found.entity, *((found.key,) if found.key else ()), *((found.labels or ""),))
    values = readings(table, sample, named)
    if values is None:
        raise NotNarrow(
            f"{table.qualified} has no column that holds a reading, or one for each quantity (then it is wide)"
        )
    return Shape(table, sample, time, found, values)


def convincing(found: Shape) -> bool:
    """Whether a table is narrow beyond doubt: enough to propose it without being asked for it."""
    readings_named = found.readings.named
    if found.time == NONE:
        key = found.cell.key
        return readings_named and key is not None and (about(key, KEY) or found.table.reference(key) is not None)
    if latest(found):
        return False  # the readings as they are now, which may have a history elsewhere
    if found.cell.key is None:
        return readings_named and len(found.table.columns) <= 5
    part = about(found.cell.key, KEY) or any(about(name, KEY | ENTITY) for name in found.cell.entity)
    names = about(found.cell.key, ENTITY) and is_text(found.table.column(found.cell.key))
    part = part or (found.by_time and (names or found.table.reference(found.cell.key) is not None))
    told = readings_named or found.readings.discriminator is not None or _alternatives(found) or _only_left(found)
    return told and (found.cell.unique or part)


def _only_left(found: Shape) -> bool:
    """The one column beside a unique key and its time, in a language of which we know no words."""
    columns = found.readings.columns
    rest = len(found.table.columns) - len(found.cell.entity) - len(found.time.columns) - 1
    return found.cell.unique and len(columns) == rest == 1 and not columns[0].isascii()


def _alternatives(found: Shape) -> bool:
    """A column for each type beside a key that is called so: whatever they are called, they are its readings."""
    several = len(found.readings.columns) > 1 and not found.readings.measures
    return several and found.cell.unique and found.cell.key is not None and about(found.cell.key, KEY)


def families(shapes: Iterable[Shape]) -> list[Family]:
    """Tables that belong together, the one with most rows first. A lone table whose name would be its key is none."""
    groups: defaultdict[tuple[object, ...], list[Shape]] = defaultdict(list)
    for each in shapes:
        groups[_kin(each.table), each.parts].append(each)
    found = [Family(tuple(group)) for group in groups.values()]
    real = [family for family in found if not (family.by_name and not family.numbered)]
    real += _of_any_name(family.shapes[0] for family in found if family.by_name and not family.numbered)
    return sorted(real, key=lambda family: (-family.rows, family.shapes[0].table.qualified))


def _kin(table: Table) -> object:
    """What tables of one family share: the tree of inheritance, or the name without numbers and types."""
    return table.inheritance.root if table.inheritance is not None else stem(table.name)


def _of_any_name(shapes: Iterable[Shape]) -> Iterator[Family]:
    """Tables of the same few columns, each with a name of its own: a table for each thing that is measured."""
    groups: defaultdict[tuple[object, ...], list[Shape]] = defaultdict(list)
    for each in shapes:
        groups[each.parts].append(each)
    yield from (Family(tuple(group)) for group in groups.values() if len(group) > 1)
