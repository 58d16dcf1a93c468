"""Routes of a chunk: what a route is to a change record, for lines as COPY writes them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from sink.fold.column_route import Route
from sink.fold.copytext import NULL, escaped

Slots: TypeAlias = "dict[str, int]"
"""Keys, as COPY writes them, and the ordinals of their columns."""


class ChunkRoute:
    """How the lines of one entity become cells; as Route, with keys and discriminators as COPY writes them.

    Its dictionaries are added to and never replaced: every wide row of the entity refers to them.
    """

    __slots__ = ("_slots", "choices", "values")

    def __init__(self, indices: Iterable[int] = (), choices: dict[str | None, int] | None = None) -> None:
        self._slots: dict[int, Slots] = {index: {} for index in indices}
        self.values = tuple(self._slots.items())
        self.choices = {
            NULL if choice is None else escaped(choice): (index, self._slots[index])
            for choice, index in (choices or {}).items()
        }

    @classmethod
    def of(cls, route: Route) -> ChunkRoute:
        """The chunk_route of a route, as it is now."""
        chunk_route = cls(
            (index for index, _ in route.values), {choice: index for choice, (index, _) in route.choices.items()}
        )
        chunk_route.follow(route)
        return chunk_route

    def follow(self, route: Route) -> None:
        """Take in the columns that came about since."""
        for index, slots in route.values:
            self._slots[index].update((escaped(key), ordinal) for key, ordinal in slots.items())
