"""The two sides that verify compares: the same questions to the narrow table and to the wide ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import psycopg
from psycopg import sql

from sink.mapping.mapping import Mapping
from sink.mapping.wide import Entity, Part, identity
from sink.wide.registry import Registry
from snapshot.chunks.plan import Chunk
from widebeam.verify.checksum import Side, WideKey
from widebeam.verify.proof import Place

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class Sums(NamedTuple):
    """How many cells, and the sum of their hashes."""

    cells: int
    total: int


Ranges: TypeAlias = "dict[int, tuple[int, int, int]]"
"""Index of a range -> rows, cells, sum."""

Cells: TypeAlias = "dict[Place, str]"


class Narrow:
    """The source's side."""

    def __init__(self, source: Session, mapping: Mapping) -> None:
        self._session, self._mapping, self._side = source, mapping, Side(mapping)

    def by_range(self, ranges: Sequence[Chunk]) -> Ranges:
        """Rows, cells and sums of ranges that lie end to end."""
        cells = self._side.narrow(self._side.within(ranges[0].lower, ranges[-1].upper))
        return {row[0]: row[1:] for row in self._session.execute(self._side.by_range(cells, ranges))}

    def by_wide_key(self, chunk: Chunk) -> dict[WideKey, Sums]:
        """Cells and sums of the wide keys in a range."""
        query = self._side.by_wide_key(self._side.narrow(self._side.within(chunk.lower, chunk.upper)))
        return dict(_wide_keys(self._session, query, self._mapping))

    def times(self, chunk: Chunk) -> set[tuple[str | None, ...]]:
        """The times of all rows in a range, also of those without a reading."""
        query = self._side.times(self._side.narrow(self._side.within(chunk.lower, chunk.upper)))
        return set(self._session.execute(query))

    def cells(self, keys: Iterable[WideKey]) -> Cells:
        """The cells of wide keys."""
        query = self._side.cells(self._side.narrow(self._side.among(keys, self._mapping.table.wide)))
        return dict(_cells(self._session, query, self._mapping))

    def sources(self, keys: Iterable[WideKey]) -> Cells:
        """For each cell of wide keys, the name of the value column that its reading is in."""
        where = self._side.among(keys, self._mapping.table.wide)
        return dict(_cells(self._session, self._side.cells(self._side.narrow(where, sources=True)), self._mapping))


class Wide:
    """The target's side. Asks one part table after another: the registry says which there are, and their columns."""

    def __init__(self, target: Session, registry: Registry) -> None:
        self._session, self._registry = target, registry
        self._mapping = registry.mapping
        self._side = Side(registry.mapping)

    def by_range(self, ranges: Sequence[Chunk]) -> Ranges:
        """Cells (twice) and sums of ranges that lie end to end."""
        found: Ranges = {}
        within = self._side.within(ranges[0].lower, ranges[-1].upper, "wide")
        for entity, part in self._parts():
            query = self._side.by_range(self._side.wide(entity, part, within), ranges)
            for index, *counted in self._session.execute(query):
                rows, cells, total = found.get(index, (0, 0, 0))
                found[index] = (rows + counted[0], cells + counted[1], total + counted[2])
        return found

    def by_wide_key(self, chunk: Chunk, wanted: Container[WideKey] | None) -> dict[WideKey, Sums]:
        """Cells and sums of the wide keys in a range; only of those that are wanted, if that is said."""
        found: dict[WideKey, Sums] = {}
        within = self._side.within(chunk.lower, chunk.upper, "wide")
        for entity, part in self._parts():
            query = self._side.by_wide_key(self._side.wide(entity, part, within))
            for key, sums in _wide_keys(self._session, query, self._mapping):
                if wanted is None or key in wanted:
                    before = found.get(key, Sums(0, 0))
                    found[key] = Sums(before.cells + sums.cells, before.total + sums.total)
        return found

    def cells(self, keys: Iterable[WideKey]) -> Cells:
        """The cells of wide keys."""
        by_entity: dict[str, list[WideKey]] = {}
        for key in keys:
            name = "[]" if self._mapping.layout == "single" else identity(key.entity)
            by_entity.setdefault(name, []).append(key)
        found: Cells = {}
        for entity, part in self._parts(by_entity):
            among = self._side.among(by_entity[entity.identity], self._mapping.key_columns, "wide")
            found.update(_cells(self._session, self._side.cells(self._side.wide(entity, part, among)), self._mapping))
        return found

    def _parts(self, entities: Container[str] | None = None) -> Iterator[tuple[Entity, Part]]:
        """All part tables that have a column; of these entities, if that is said."""
        for entity in self._registry.entities.values():
            if entities is None or entity.identity in entities:
                for number, part in sorted(entity.parts.items()):
                    if entity.of_part(number):
                        yield entity, part


def _wide_keys(session: Session, query: sql.Composed, mapping: Mapping) -> Iterator[tuple[WideKey, Sums]]:
    width, keys = len(mapping.table.entity), len(mapping.table.wide)
    with session.transaction(), session.cursor("widebeam_keys") as cursor:  # on the server: there may be many
        cursor.itersize = 10_000
        for row in cursor.execute(query):
            yield WideKey(row[:width], row[width:keys]), Sums(*row[keys:])


def _cells(session: Session, query: sql.Composed, mapping: Mapping) -> Iterator[tuple[Place, str]]:
    width, keys = len(mapping.table.entity), len(mapping.table.wide)
    alike = Counter[tuple[Place, str]]()
    for row in session.execute(query):
        place, value = Place(row[:width], row[width:keys], row[keys]), row[keys + 1]
        if None in place.entity or None in place.time or not place.key:
            alike[place, value] += 1
            place = place._replace(row=f"{alike[place, value]}:{value}")
        yield place, value
