"""The wide tables as the registry knows them: entities, their parts, their columns. Plain values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

ALL: Final = "[]"
"""The identity that stands for every entity where one table holds them all."""

OVERFLOW: Final = ""
"""The key under which the column is registered that takes keys without a column of their own. No real key is empty."""

Refused: TypeAlias = "dict[tuple[str, str], tuple[str, str]]"
"""(entity identity, key) -> reason and detail: keys that get no column."""


def identity(values: Sequence[str | None]) -> str:
    """How the control tables name an entity (or a time): a JSON array of its values as text."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


_INDEXED: Final = 1_950
_TIME: Final = 600
"""Bytes of an entity and a key together, and of a time, as the control tables have them. PostgreSQL takes 2,704 bytes
into an index: all of this, the connector's name, and the number of a chunk."""

_SHORT: Final = 100
"""So many characters are never too many bytes."""

TOO_LONG: Final = "too_long"
"""The reason in the quarantine."""


def overlong(entity: Sequence[str | None], time: Sequence[str | None], key: str = "") -> tuple[str, str] | None:
    """Why no index takes an entity, a time and a key: a reason and its detail; None when one does."""
    if sum(len(each or "") for each in (*entity, *time, key)) <= _SHORT:
        return None
    size = len(identity(entity).encode(errors="replace")) + len(key.encode(errors="replace"))
    if size > _INDEXED:
        return TOO_LONG, f"entity and key have {size} bytes, and an index takes {_INDEXED} of them"
    size = len(identity(time).encode(errors="replace"))
    return (TOO_LONG, f"the time has {size} bytes, and an index takes {_TIME} of it") if size > _TIME else None


class Part(NamedTuple):
    """One wide table: the part `number` (from 1) of an entity's columns.

    `view` is the view that shows it with all others; that of its `group` alone is `group_view`. `in_base`: each of its
    rows has one in the bases of these views (`Entity.bases`), as all have that are made by now.
    """

    entity: str
    number: int
    schema: str
    table: str
    view: str
    group: str = ""
    group_view: str | None = None
    in_base: bool = True

    @property
    def views(self) -> tuple[str, ...]:
        """The views that show it."""
        return (self.view,) if self.group_view is None else (self.view, self.group_view)


class Column(NamedTuple):
    """One column: which key of the entity it holds, and which narrow column it is filled from.

    `ordinal` counts from 1 within the entity and is never given twice. `widened` counts how often its type was changed.
    """

    ordinal: int
    part: int
    key: str
    name: str
    type: str
    source: str
    widened: int = 0


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
    """The tables of one entity, or of all. `identity` as the control tables have it; `view` is what readers read.

    Where one view cannot show all columns, it shows the first of them, and others like it the rest.
    """

    identity: str
    view: str
    parts: dict[int, Part] = field(default_factory=dict)
    columns: dict[str, Column] = field(default_factory=dict)
    ordinals: dict[int, Column] = field(default_factory=dict)
    version: int = 0  # changes with each change of the columns
    _of_parts: dict[int, list[Column]] = field(default_factory=dict, repr=False, compare=False)
    _by_part: dict[int, list[Column]] | None = field(default=None, repr=False, compare=False)

    def add(self, column: Column) -> None:
        """Take a column in: a new one, or one that has another type or key than before."""
        before = self.ordinals.get(column.ordinal)
        if before == column:
            return
        if before is not None and self.columns.get(before.key) == before:
            del self.columns[before.key]
        self.columns[column.key] = column
        self.ordinals[column.ordinal] = column
        self.version += 1
        self._of_parts.clear()
        self._by_part = None

    @property
    def overflow(self) -> Column | None:
        """The column that takes keys without a column of their own, if there is one."""
        return self.columns.get(OVERFLOW)

    def shown(self, view: str) -> tuple[list[Part], list[Column]]:
        """What a view shows: its parts, and its columns in the order in which they were made."""
        parts = [self.parts[number] for number in sorted(self.parts) if view in self.parts[number].views]
        numbers = {part.number for part in parts}
        return parts, [column for _, column in sorted(self.ordinals.items()) if column.part in numbers]

    def bases(self) -> dict[int, frozenset[int]]:
        """The parts (by number) that have a row wherever this one has: the first of each view that shows it.

        So a view joins its other parts to its first one. A row there may have no cell of its own: a bare one.
        """
        found: dict[int, frozenset[int]] = {}
        first: dict[str, int] = {}
        for number in sorted(self.parts):
            leading = {first.setdefault(view, number) for view in self.parts[number].views}
            found[number] = frozenset(leading - {number})
        return found

    def leads_elsewhere(self, view: str) -> bool:
        """Whether a view's first part also has rows for parts that the view does not show."""
        first = min(number for number, part in self.parts.items() if view in part.views)
        return any(first in bases and view not in self.parts[n].views for n, bases in self.bases().items())

    def of_part(self, number: int) -> list[Column]:
        """The columns of one part, in the order in which they were made: for reading, since it is kept."""
        found = self._of_parts.get(number)
        if found is None:
            every = (self.ordinals[ordinal] for ordinal in sorted(self.ordinals))
            found = self._of_parts[number] = [column for column in every if column.part == number]
        return found
