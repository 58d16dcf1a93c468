"""What a database's catalog and a sample of its rows say about its tables. Plain values. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from cdc.source.table_name import TableName


class Column(NamedTuple):
    """A column; `type` as format_type writes it (of a domain, what it is made of).

    `counter` says whether it numbers its rows by itself (serial, identity).
    """

    name: str
    type: str
    not_null: bool
    counter: bool


class Index(NamedTuple):
    """A valid index on plain columns, without a condition; `columns` without those that it only includes."""

    columns: tuple[str, ...]
    unique: bool
    primary: bool


class Reference(NamedTuple):
    """A foreign key of one column."""

    column: str
    schema: str
    table: str
    target: str


class Inheritance(NamedTuple):
    """A tree of tables by INHERITS: its `root`, and the tables at its `ends`, whose changes come under their own names.

    `pattern` matches just the ends, and those to come; None if no pattern does.
    """

    root: TableName
    ends: tuple[TableName, ...]
    pattern: str | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is no partition of another. `rows` is the catalog's estimate, of all partitions together."""

    schema: str
    name: str
    partitioned: bool
    rows: int
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...] = ()
    references: tuple[Reference, ...] = ()
    inheritance: Inheritance | None = None

    @property
    def has_children(self) -> bool:
        """Whether other tables inherit from it: their rows are seen in it, and their changes are not its own."""
        return self.inheritance is not None and TableName(self.schema, self.name) not in self.inheritance.ends

    @property
    def qualified(self) -> str:
        """`schema.name`, as a connector names it."""
        return TableName(self.schema, self.name).text

    def column(self, name: str) -> Column:
        """The column of that name; KeyError if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def reference(self, column: str) -> Reference | None:
        """What a column refers to."""
        return next((each for each in self.references if each.column == column), None)

    def unique(self, *columns: str) -> bool:
        """Whether exactly these columns are unique together."""
        return any(index.unique and set(index.columns) == set(columns) for index in self.indexes)

    @property
    def surrogates(self) -> frozenset[str]:
        """Columns that number the rows and mean nothing else: counters, and single unique columns named like one."""
        alone = {index.columns[0] for index in self.indexes if index.unique and len(index.columns) == 1}
        return frozenset(
            column.name
            for column in self.columns
            if column.counter or (column.name in alone and column.name.lower() in ("id", "uuid", "guid"))
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """Some rows of a table, every value as text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]

    def values(self, column: str) -> list[str | None]:
        """One column, row by row."""
        at = self.columns.index(column)
        return [row[at] for row in self.rows]

    def present(self, column: str) -> list[str]:
        """One column's values that are not NULL."""
        return [value for value in self.values(column) if value is not None]

    def distinct(self, column: str) -> set[str]:
        """The different values of one column."""
        return set(self.present(column))

    def groups(self, by: str, of: str) -> Iterator[tuple[str, list[str]]]:
        """For each value of `by`, the values of `of` that are not NULL beside it."""
        found: dict[str, list[str]] = {}
        for group, value in zip(self.values(by), self.values(of), strict=True):
            if group is not None and value is not None:
                found.setdefault(group, []).append(value)
        yield from found.items()


def joined_samples(like: Sample, samples: Iterable[Sample]) -> Sample:
    """The rows of all samples that have the columns of `like`."""
    picked: list[tuple[str | None, ...]] = []
    for sample in samples:
        if set(like.columns) <= set(sample.columns):
            places = [sample.columns.index(name) for name in like.columns]
            picked += [tuple(row[place] for place in places) for row in sample.rows]
    return Sample(like.columns, tuple(picked))


@dataclass(frozen=True, slots=True)
class Catalog:
    """All tables of a database that a connector could read, in order of their names."""

    tables: tuple[Table, ...]

    def find(self, schema: str, name: str) -> Table | None:
        """The table of that name."""
        return next((table for table in self.tables if (table.schema, table.name) == (schema, name)), None)

    def referring(self, table: Table, column: str) -> Iterator[tuple[Table, Reference]]:
        """Tables with a foreign key to this column."""
        for other in self.tables:
            for reference in other.references:
                if (reference.schema, reference.table, reference.target) == (table.schema, table.name, column):
                    yield other, reference
