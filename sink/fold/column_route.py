"""Routes: for each entity, which value of a row goes into which column. Pure, and made to be looked up fast."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

from sink.mapping.kinds import holds
from sink.mapping.mapping import Mapping
from sink.mapping.wide import ALL, Column, Entity, identity

Slots: TypeAlias = "dict[str, int]"
"""Key -> the ordinal of its column."""


@dataclass(frozen=True, slots=True)
class Route:
    """How the rows of one entity become cells.

    With a discriminator, `choices` gives for each of its values where in a row the reading stands, and the columns
    that are filled from there: `index, slots = route.choices[row[discriminator]]; ordinal = slots[row[key]]`.
    Without one, `values` lists in order where a reading can stand and the columns that are filled from there.
    `sources` names the narrow column at an index, and `number` is the route's own, given once.
    """

    entity: Entity
    choices: dict[str | None, tuple[int, Slots]]
    values: tuple[tuple[int, Slots], ...]
    sources: dict[int, str]
    version: int
    number: int

    @property
    def stale(self) -> bool:
        """Has the entity got columns since, or other types of them?"""
        return self.entity.version != self.version


class Routes:
    """The routes of all entities, for rows in which the carried columns begin at index `first`.

    That is 1 in a change record (after the op) and `len(table.wide)` in a line of a chunk. `entities` is the
    registry's own dictionary: what is added to it later is seen.
    """

    def __init__(self, mapping: Mapping, entities: Dict[str, Entity], first: int) -> None:
        self._entities = entities
        self._single = mapping.layout == "single"
        rule = mapping.rule
        self._choices = dict(rule.choices or {}) if rule.discriminator is not None else {}
        self._index = {name: first + n for n, name in enumerate(rule.table.carried)}
        self._values = rule.table.values
        self._types = rule.types
        self._widens = mapping.type_conflict == "widen"
        self._numbers = count(1)
        self._cache: dict[tuple[str | None, ...], Route] = {}
        self.key = self._index[rule.table.key[0]] if rule.table.key else 0
        self.discriminator = self._index.get(rule.discriminator or "")

    def takes(self, column: Column, source: str) -> bool:
        """Is this column filled from that value column as it is?"""
        return column.source == source or (self._widens and holds(column.type, self._types.get(source, "")))

    def _sources(self, column: Column) -> list[str]:
        """The value columns that it is filled from."""
        return [column.source, *(each for each in self._values if each != column.source and self.takes(column, each))]

    def of(self, values: tuple[str | None, ...]) -> Route:
        """The route of the entity with these values; one without any column where it has no table yet."""
        route = self._cache.get(values)
        if route is None or route.stale or route.entity is not self._entities.get(route.entity.identity):
            route = self._cache[values] = self._made(ALL if self._single else identity(values))
        return route

    def _made(self, entity_identity: str) -> Route:
        entity = self._entities.get(entity_identity) or Entity(entity_identity, "")
        slots: dict[str, Slots] = {name: {} for name in self._values}
        for column in entity.columns.values():
            for source in self._sources(column):
                slots.setdefault(source, {})[column.key] = column.ordinal
        values = tuple((self._index[name], slots[name]) for name in self._values)
        choices: dict[str | None, tuple[int, Slots]] = {
            value: (self._index[name], slots[name]) for value, name in self._choices.items()
        }
        sources = {index: name for name, index in self._index.items()}
        return Route(entity, choices, values, sources, entity.version, next(self._numbers))
