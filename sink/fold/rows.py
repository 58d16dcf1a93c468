"""Folded wide rows, and what a part table gets of them as lines of COPY. Plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, NamedTuple, TypeAlias

from cdc.lsn import Lsn
from sink.mapping.wide import Column, Part

WideKey: TypeAlias = "tuple[str, ...]"
"""The values of a wide table's key columns: the time, and before it the entity where one table holds all."""

Shape: TypeAlias = "tuple[int, ...]"
"""The ordinals that a row sets, in the row's own order."""

Moments: TypeAlias = "dict[tuple[str, WideKey], set[tuple[str, str]]]"
"""Entity identity, wide key -> tables of the rows that were folded there, and where they lie on the chunks' axis."""


class WideRow:
    """What happened to one wide row: its last position, and for each ordinal COPY text, or None where it is cleared.

    `bare` holds keys that were cleared and have no column (they matter to chunks that are not merged yet, and to the
    overflow); `over` holds texts that go into the overflow, by key. `clears` tells that there may be a None.
    """

    __slots__ = ("bare", "cells", "clears", "over", "position")

    def __init__(self, position: Lsn) -> None:
        self.position = position
        self.cells: dict[int, str | None] = {}
        self.clears = False
        self.bare: set[str] | None = None
        self.over: dict[str, str] | None = None

    def put_over(self, key: str, value: str) -> None:
        """Set a cell whose key has no column of its own."""
        if self.over is None:
            self.over = {}
        self.over[key] = value
        if self.bare is not None:
            self.bare.discard(key)

    def clear_bare(self, key: str) -> None:
        """Clear a cell whose key has no column of its own."""
        if self.bare is None:
            self.bare = set()
        self.bare.add(key)
        if self.over is not None:
            self.over.pop(key, None)

    def drop_clears(self) -> None:
        """Forget which cells are cleared: for who only fills, they are not there."""
        for ordinal in [ordinal for ordinal, value in self.cells.items() if value is None]:
            del self.cells[ordinal]
        self.clears, self.bare = False, None

    def __repr__(self) -> str:
        return f"WideRow({self.position}, {self.cells}, bare={self.bare})"


class Lines(NamedTuple):
    """COPY lines of the key columns, `_lsn` and `columns`.

    Where a row does not set one of them, there is a NULL, which means nothing else: a value that is set is never NULL.
    """

    columns: list[Column]
    lines: list[str]


@dataclass(slots=True)
class PartRows:
    """What one part table gets.

    `columns` are all that it has, `copies` the rows, those together that set about the same columns, which stand by
    their types: so tables whose columns are alike but for their order can share a COPY.
    `clear_lines` are COPY lines of the key columns, `_lsn` and a bit for each of the columns `clears`: 1 where it is
    to be cleared. `over_lines` are COPY lines for the overflow `over`: the key columns, `_lsn`, an object of what is
    set and an array of keys that go. `leads`: other parts' rows have one in this part (`Entity.bases`). There a line of
    `copies` without a column, and a clear without a bit, stand for a row whose cells are in those.
    """

    part: Part
    copies: list[Lines] = field(default_factory=list)
    clears: list[Column] = field(default_factory=list)
    clear_lines: list[str] = field(default_factory=list)
    over: Column | None = None
    over_lines: list[str] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)
    leads: bool = False


by_type: Final = attrgetter("type", "ordinal")
"""The order in which the columns of a line stand."""
