"""Rules: how the rows of one narrow table are read, in the words of the connector's file. Pure, plain values.

A row has its columns and *virtual columns*: `table` (out of the table's name), the columns of a dictionary, and the
fields of a jsonb column. Entity and key may name real and virtual columns alike. Virtual columns are text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from cdc.source.narrow import NarrowTable
from cdc.source.time_encoding import TimeRule

TABLE: Final = "table"
"""The virtual column that comes out of the table's name, by the first group of `table_pattern`."""

IS_NULL: Final = "IS NULL"
IS_NOT_NULL: Final = "IS NOT NULL"
"""What `where` can name instead of values of a column, or beside them."""

NUMBER: Final = "double precision"
"""The type of a column that holds numbers out of texts."""

_SLICED: Final = re.compile(
    r"smallint|integer|bigint|date|timestamp(\(\d\))? (with|without) time zone|double precision|numeric.*"
)

_PADDED: Final = re.compile(r"character(\(\d+\))?|bpchar")

Several = Literal["refuse", "first", "last"]


@dataclass(frozen=True, slots=True)
class DictionaryRule:
    """Ids and their names: `column` (real, or virtual) is looked up in the rows of `query`, whose first column is
    the id; `names` are the virtual columns that the others become. They shadow real columns."""

    column: str
    query: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """How one narrow table is read.

    `entity` and `key` are names of real or virtual columns; the parts of a key are `joined`. `time` says what becomes
    of the raw time columns, which `table.time` names (one, two for s_ns, several of which the first that is not NULL
    counts, or none); `wide_time` is what the wide time column is called, where that is not the name of the first.
    `table_value` is the virtual column `table`. `labels` names a jsonb column; `fields` are the names in entity and key
    that are fields of it, and `all_labels` tells that the key is all of them, sorted, as name=value.

    The value: with a `discriminator`, its value chooses the column in `choices`; else the first of `table.values` that
    is not NULL, or with `measures` each of them under its own key. `nulls` are texts that count as NULL. Of `numbers`,
    which are text columns, values that are numbers are stored as such: `canonical` in a text column, too (1.50 is 1.5),
    so that it does not matter which reading came first; if `strict`, what is none fits no column of numbers.

    A row that does not have one of the wanted values in each column of `where` counts as if it were not there; IS_NULL
    and IS_NOT_NULL stand for what they say.
    `several` says what holds where several source rows meet in one cell; `order_by` decides, after the time, which is
    first and last. `types` gives each real column's type as format_type writes it.
    """

    table: NarrowTable
    types: Dict[str, str]
    entity: tuple[str, ...]
    key: tuple[str, ...]
    time: TimeRule = field(default_factory=TimeRule)
    key_separator: str = "/"
    table_value: str | None = None
    labels: str | None = None
    fields: frozenset[str] = frozenset()
    all_labels: bool = False
    dictionary: DictionaryRule | None = None
    where: Dict[str, frozenset[str]] = field(default_factory=dict)
    several: Several = "refuse"
    order_by: tuple[str, ...] = ()
    discriminator: str | None = None
    choices: Dict[str, str] | None = None
    numbers: frozenset[str] = frozenset()
    nulls: frozenset[str] = frozenset()
    measures: bool = False
    measure_separator: str = "."
    escapes: bool = True
    wide_time: str | None = None
    canonical: bool = False
    strict: bool = False

    @classmethod
    def of(
        cls,
        table: NarrowTable,
        types: Dict[str, str],
        *,
        discriminator: str | None = None,
        choices: Dict[str, str] | None = None,
    ) -> Rule:
        """The rule of a plain table: its columns as they are, one of them the key."""
        return cls(table, types, table.entity, table.key, discriminator=discriminator, choices=choices)

    @property
    def plain(self) -> bool:
        """Entity, time, key and value are single real columns as they are: the fast paths can read it."""
        table = self.table
        return (
            self.entity == table.entity != ()
            and self.key == table.key
            and len(table.key) == len(table.time) == 1
            and self.time.verbatim
            and self.several == "refuse"
            and not (self.labels or self.dictionary or self.table_value or self.where)
            and not (self.nulls or self.numbers or self.measures or self.padded)
            and self.time_names == table.time
        )

    @property
    def padded(self) -> frozenset[str]:
        """The columns of type character(n) that name something: the spaces that fill them up are no part of a name."""
        naming = {*self.table.entity, *self.table.key, *self.where, self.discriminator}
        return frozenset(name for name in naming if name is not None and _PADDED.fullmatch(self.types.get(name, "")))

    def joined(self, parts: Sequence[str]) -> str:
        """The key that these parts make: no others make the same one.

        They are joined as they are where they can be told apart again; else what could be taken for a separator gets
        a backslash. A connector from before that (not `escapes`) joins them as it always did, since its columns are
        named so.
        """
        separator = self.key_separator
        plain = separator.join(parts)
        if len(parts) < 2 or not self.escapes or not separator:
            return plain
        # Where the separator is one character, there are more of them in what is escaped than in what is not.
        mark = next((each for each in "\\~^|!" if each not in separator), "\\")
        if plain.split(separator) == list(parts) and (len(separator) == 1 or mark not in plain):
            return plain
        special = re.compile(f"[{re.escape(separator + mark)}]")
        return separator.join(special.sub(lambda found: mark + found[0], part) for part in parts)

    @property
    def virtual(self) -> frozenset[str]:
        """The names in entity and key that are virtual columns."""
        names = {TABLE} if self.table_value is not None else set()
        names |= set(self.dictionary.names if self.dictionary else ()) | self.fields
        return frozenset(names)

    @property
    def entity_types(self) -> dict[str, str]:
        """The entity's names and the types of their wide columns."""
        virtual = self.virtual
        bare = virtual | self.padded
        return {name: "text" if name in bare else self.types[name] for name in self.entity}

    @property
    def time_types(self) -> dict[str, str]:
        """The wide time columns' names and types."""
        names = self.time_names
        if self.time.verbatim:
            return {name: self.types[raw] for name, raw in zip(names, self.table.time, strict=True)}
        if self.time.form == "s_ns":
            return {names[0]: "timestamp with time zone", names[1]: "integer"}
        return dict.fromkeys(names, f"timestamp {'with' if self.time.gives_zoned else 'without'} time zone")

    @property
    def time_names(self) -> tuple[str, ...]:
        """The wide time columns' names."""
        raw = self.table.time[:1] if self.time.either else self.table.time
        return raw if self.wide_time is None else (self.wide_time, *raw[1:])

    @property
    def axis(self) -> str | None:
        """The column whose ranges are the chunks: of time, else of the entity, else of the key, the first."""
        return next(iter((*self.table.time, *self.table.entity, *self.table.key)), None)

    @property
    def axis_type(self) -> str | None:
        """The type of the axis, if ranges of it can be made: an integer's or a time's; else there is one open chunk.

        Where the time is in one of several columns, the axis is the moment.

        So it is where rows of different keys can meet in a cell and nothing else could tell them apart.
        """
        if self.several != "refuse" and not (self.table.time or self.table.entity):
            return None
        if self.time.either:
            return "bigint"  # of moments
        found = None if self.axis is None else self.types.get(self.axis)
        written = self.time.written if self.axis in self.table.time else None
        if found is None or written is not None:
            return found if written is not None and written.fixed else None
        return found if _SLICED.fullmatch(found) else None
