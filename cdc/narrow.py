"""The narrow table as capture and sink see it: which of its columns say whose reading it is, when, of what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NarrowTable:
    """A source table and the part each carried column plays.

    `entity`, `time` and `key` are column names; together they name one cell, and some unique index covers them.
    `values` are the columns that can hold the reading; `extra` what else the mapping needs (the discriminator).
    """

    schema: str
    name: str
    entity: tuple[str, ...]
    time: tuple[str, ...]
    key: tuple[str, ...]
    values: tuple[str, ...]
    extra: tuple[str, ...] = ()

    @property
    def qualified(self) -> str:
        """`schema.name`, as records and messages name the table."""
        return f"{self.schema}.{self.name}"

    @property
    def wide(self) -> tuple[str, ...]:
        """The columns whose values are the wide key: entity, then time."""
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
