"""Rows of a record that are all inserts, kept column by column. Pure.

A record of 250 readings is 250 small lists as rows and seven lists as columns: reading it from JSON by columns costs
a quarter. Who wants rows still gets them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, overload

from cdc.event import Value

INSERT: Final = "i"


class Columnar(Sequence[list[Value]]):
    """Rows `["i", value, ...]`, out of `cells`: a list of values for each of the record's columns, all equally long."""

    __slots__ = ("cells",)

    def __init__(self, cells: Sequence[Sequence[str | None]]) -> None:
        self.cells = cells

    def __len__(self) -> int:
        return len(self.cells[0])

    def __iter__(self) -> Iterator[list[Value]]:
        for values in zip(*self.cells, strict=True):
            yield [INSERT, *values]

    @overload
    def __getitem__(self, index: int) -> list[Value]: ...

    @overload
    def __getitem__(self, index: slice) -> list[list[Value]]: ...

    def __getitem__(self, index: int | slice) -> list[Value] | list[list[Value]]:
        if isinstance(index, slice):
            return list(self)[index]
        row: list[Value] = [INSERT, *(column[index] for column in self.cells)]
        return row

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as a list

    def __repr__(self) -> str:
        return repr(list(self))
