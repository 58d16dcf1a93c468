"""What is to be made for keys without a column: names, parts by bytes, tables. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field

from sink.layout import OVERFLOW_COLUMN, TABLE_BYTES, fitted, folded, part_name, reserved, table_name
from sink.mapping import Mapping
from sink.wide import ALL, Column, Entity, Need, Part, identity
from sink.width import VIEW_COLUMNS, width


@dataclass(slots=True)
class Planned:
    """An entity as it will be, and what is new in it."""

    entity: Entity
    new_parts: list[Part] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)

    @property
    def touched(self) -> list[Part]:
        """The parts that get columns."""
        return [self.entity.parts[number] for number in sorted({column.part for column in self.columns})]

    @property
    def views(self) -> list[str]:
        """The views that get columns."""
        return list(dict.fromkeys(part.view for part in self.touched))

    def columns_of(self, part: Part) -> list[Column]:
        """The new columns of one part."""
        return [column for column in self.columns if column.part == part.number]


def plan(mapping: Mapping, entities: Dict[str, Entity], needs: Iterable[Need], taken: Iterable[str]) -> list[Planned]:
    """Plan tables and columns for these keys, which have none. `taken`: names in use in the wide tables' schema.

    The first of several needs of one key wins: the others are in conflict with its type.
    """
    names = {folded(name) for name in taken}
    by_entity: dict[str, list[Need]] = {}
    for need in needs:
        by_entity.setdefault(ALL if mapping.layout == "single" else identity(need.values), []).append(need)
    return [
        _entity(mapping, entities.get(name) or _new(mapping, name, names), wanted, names)
        for name, wanted in by_entity.items()
    ]


def _new(mapping: Mapping, name: str, names: set[str]) -> Entity:
    """An entity without tables yet, under a name that nobody has."""
    values = [] if mapping.layout == "single" else json.loads(name)
    view = fitted(table_name(mapping.name, values), f"{mapping.connector} {name}", names, TABLE_BYTES)
    names.add(folded(view))
    return Entity(name, view)


def _entity(mapping: Mapping, found: Entity, needs: list[Need], names: set[str]) -> Planned:
    made = Planned(Entity(found.identity, found.view, dict(found.parts), dict(found.columns), dict(found.ordinals)))
    entity = made.entity
    taken = reserved(mapping.key_columns) | {folded(column.name) for column in entity.columns.values()}
    ordinal = max(entity.ordinals, default=0)
    key_types = [*mapping.key_types.values(), "pg_lsn"]
    number = max(entity.parts, default=0)
    view = entity.parts[number].view if number else entity.view
    room = VIEW_COLUMNS - len(key_types) - len(entity.shown(view)[1])
    end = width(key_types + [column.type for column in entity.of_part(number)])
    for need in needs:
        if need.key in entity.columns:
            continue
        type_text = need.type
        if room == 0:
            view, room = _next_view(mapping, entity, names), VIEW_COLUMNS - len(key_types)
        if number == 0 or view != entity.parts[number].view or not end.plus(type_text).fits:
            number, end = number + 1, width(key_types)
            made.new_parts.append(_part(mapping, entity, number, view, names))
        end = end.plus(type_text)
        room -= 1
        ordinal += 1
        name = fitted(need.key or OVERFLOW_COLUMN, need.key, taken)
        taken.add(folded(name))
        column = Column(ordinal, number, need.key, name, type_text, need.source)
        entity.add(column)
        made.columns.append(column)
    return made


def _next_view(mapping: Mapping, entity: Entity, names: set[str]) -> str:
    """The name of a further view, for columns that the views so far cannot show."""
    number = len({part.view for part in entity.parts.values()}) + 1
    view = fitted(f"{entity.view}_{number}", f"{mapping.connector} {entity.identity} view {number}", names)
    names.add(folded(view))
    return view


def _part(mapping: Mapping, entity: Entity, number: int, view: str, names: set[str]) -> Part:
    name = fitted(part_name(entity.view, number), f"{mapping.connector} {entity.identity} {number}", names)
    names.add(folded(name))
    part = Part(entity.identity, number, mapping.schema, name, view)
    entity.parts[number] = part
    return part
