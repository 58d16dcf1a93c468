"""A dictionary of ids and names, as far as it is known. Pure: sink.lookup reads it from the source.

What was known once is never forgotten: a row may be deleted after its dictionary entry.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

Names: TypeAlias = "tuple[str | None, ...]"
"""The values of the virtual columns, in the order of DictionaryRule.names."""


class Renamed(NamedTuple):
    """An entry that says something else than before."""

    id: str
    before: Names
    now: Names


class Dictionary:
    """`entries` by id. `missing` are the ids that were asked for and are not known: read them, and fold again."""

    def __init__(self, entries: dict[str, Names] | None = None) -> None:
        self.entries: dict[str, Names] = dict(entries or {})
        self.missing: set[str] = set()
        self._ids: dict[Names, tuple[str, ...]] | None = None

    def get(self, identifier: str) -> Names | None:
        """The names of an id; None, and the id is missing, when it is not known."""
        found = self.entries.get(identifier)
        if found is None:
            self.missing.add(identifier)
        return found

    def ids(self, names: Names) -> tuple[str, ...]:
        """Every id of these names: several ids may lead to one column."""
        if self._ids is None:
            self._ids = {}
            for identifier, each in self.entries.items():
                self._ids[each] = (*self._ids.get(each, ()), identifier)
        return self._ids.get(names, ())

    def take(self, rows: Iterable[tuple[str, Names]]) -> list[Renamed]:
        """Take entries in; which of them had other names before."""
        renamed = []
        for identifier, names in rows:
            before = self.entries.get(identifier)
            if before is not None and before != names:
                renamed.append(Renamed(identifier, before, names))
            self.entries[identifier] = names
            self.missing.discard(identifier)
        self._ids = None
        return renamed
