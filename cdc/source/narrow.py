"""The narrow table as capture and sink see it: which of its columns say whose reading it is, when, of what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cdc.source.table_name import TableName
from cdc.source.time_encoding import TimeRule, Untimely


@dataclass(frozen=True, slots=True)
class NarrowTable:
    """A source table and the part each carried column plays. All are real columns; what is made of them comes later.

    `entity`, `time` and `key` are column names (any of them may be empty); together they name one cell. (`time` may be
    columns of which the first that is not NULL counts.) `values` are
    the columns that can hold the reading; `extra` what else the mapping needs (discriminator, filters, order).
    `place` is there where rows of different raw times can meet in one wide row: they go into one partition.
    """

    schema: str
    name: str
    entity: tuple[str, ...]
    time: tuple[str, ...]
    key: tuple[str, ...]
    values: tuple[str, ...]
    extra: tuple[str, ...] = ()
    place: TimeRule | None = None

    @property
    def table_name(self) -> TableName:
        """What the catalog calls it."""
        return TableName(self.schema, self.name)

    @property
    def qualified(self) -> str:
        """The text that stands for it in records, in the control tables and in messages."""
        return self.table_name.text

    @property
    def quoted(self) -> str:
        """The name as it stands in a statement that a person is to run."""
        return self.table_name.quoted

    @property
    def wide(self) -> tuple[str, ...]:
        """The columns in a change record's head: entity, then time. Mostly they are the wide key."""
        return self.entity + self.time

    @property
    def cell(self) -> tuple[str, ...]:
        """The columns that name one cell: entity, time, key."""
        return self.entity + self.time + self.key

    @property
    def carried(self) -> tuple[str, ...]:
        """The columns of a change record's rows: key, values, extra. The wide key stands in the record's head."""
        return self.key + self.values + self.extra

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that capture and backfill read, in the order in which a chunk reads them."""
        return self.wide + self.carried

    def placed(self, wide: Sequence[str | None]) -> tuple[str | None, ...]:
        """What of a head decides about its partition: the head itself, or the entity and the rounded time."""
        values = tuple(map(_plain, wide))
        entity, time = values[: len(self.entity)], values[len(self.entity) :]
        if self.place is None or not self.place.told(time):
            return values
        try:
            return entity + self.place.wide(time)
        except Untimely:
            return values  # it goes into quarantine, wherever


def _plain(text: str | None) -> str | None:
    """A number without the zeros at its end: equal ones, as 1.0 and 1.00 are, go to one partition, in their order."""
    if text is None or text[-1:] != "0" or _DECIMAL.fullmatch(text) is None:
        return text
    return text.rstrip("0").rstrip(".") if "." in text else "0"


_DECIMAL: Final = re.compile(r"-?\d+\.\d*0|-0", re.ASCII)
