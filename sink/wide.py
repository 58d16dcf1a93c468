"""The wide tables as the registry knows them: entities, their parts, their columns. Plain values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

ALL: Final = "[]"
"""The identity that stands for every entity where one table holds them all."""


def identity(values: Sequence[str | None]) -> str:
    """How the control tables name an entity (or a time): a JSON array of its values as text."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


class Part(NamedTuple):
    """One wide table: the part `number` (from 1) of an entity's columns."""

    entity: str
    number: int
    schema: str
    table: str


class Column(NamedTuple):
    """One column: which key of the entity it holds, and which narrow column it is filled from.

    `ordinal` counts from 1 within the entity and is never given twice.
    """

    ordinal: int
    part: int
    key: str
    name: str
    type: str
    source: str


class Need(NamedTuple):
    """A key that was met and has no column: `values` are the entity's, `source` the narrow column with its value.

    `type` is that of the column to be made.
    """

    values: tuple[str | None, ...]
    key: str
    source: str
    type: str


@dataclass(slots=True)
class Entity:
    """The tables of one entity, or of all. `identity` as the control tables have it; `view` is what readers read."""

    identity: str
    view: str
    parts: dict[int, Part] = field(default_factory=dict)
    columns: dict[str, Column] = field(default_factory=dict)
    ordinals: dict[int, Column] = field(default_factory=dict)

    def add(self, column: Column) -> None:
        """Take a column in."""
        self.columns[column.key] = column
        self.ordinals[column.ordinal] = column

    def of_part(self, number: int) -> list[Column]:
        """The columns of one part, in the order in which they were made."""
        return [self.ordinals[ordinal] for ordinal in sorted(self.ordinals) if self.ordinals[ordinal].part == number]
