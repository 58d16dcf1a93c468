"""What is to be made for keys without a column: names, parts by bytes, tables. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field

from sink.mapping.group import DEFAULT, group_of
from sink.mapping.mapping import Mapping
from sink.mapping.names import (
    NAME_BYTES,
    OVERFLOW_COLUMN,
    TABLE_BYTES,
    fitted,
    folded,
    group_name,
    part_name,
    reserved,
    table_name,
)
from sink.mapping.wide import ALL, Column, Entity, Need, Part, identity
from sink.mapping.width import VIEW_COLUMNS, Width, width


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
        """The views that get columns, and those whose first part gets rows for a new one."""
        bases = self.entity.bases()
        leading = [self.entity.parts[number] for part in self.new_parts for number in sorted(bases[part.number])]
        return list(dict.fromkeys(view for part in (*self.touched, *leading) for view in part.views))

    def columns_of(self, part: Part) -> list[Column]:
        """The new columns of one part."""
        return [column for column in self.columns if column.part == part.number]


class Names:
    """Names that are in use in the wide tables' schema, as names are compared.

    Read when the first is asked for: a column in a table that has room needs none, and there may be many.
    """

    def __init__(self, read: Callable[[], Iterable[str]]) -> None:
        self._read = read
        self._names: set[str] | None = None

    def __contains__(self, name: object) -> bool:
        return name in self._known()

    def add(self, name: str) -> None:
        """One more, `folded`."""
        self._known().add(name)

    def forget(self) -> None:
        """Others may have taken some: read them again."""
        self._names = None

    def _known(self) -> set[str]:
        if self._names is None:
            self._names = {folded(name) for name in self._read()}
        return self._names


def plan(
    mapping: Mapping, entities: Dict[str, Entity], needs: Iterable[Need], taken: Iterable[str] | Names
) -> list[Planned]:
    """Plan tables and columns for these keys, which have none. `taken`: names in use in the wide tables' schema.

    The first of several needs of one key wins: the others are in conflict with its type.
    """
    names = taken if isinstance(taken, Names) else Names(lambda: taken)
    by_entity: dict[str, list[Need]] = {}
    for need in needs:
        by_entity.setdefault(ALL if mapping.layout == "single" else identity(need.values), []).append(need)
    return [
        _entity(mapping, entities.get(name) or _new(mapping, name, names), wanted, names)
        for name, wanted in by_entity.items()
    ]


def _new(mapping: Mapping, name: str, names: Names) -> Entity:
    """An entity without tables yet, under a name that nobody has."""
    values = [] if mapping.layout == "single" else json.loads(name)
    view = fitted(table_name(mapping.name, values), f"{mapping.connector} {name}", names, TABLE_BYTES)
    names.add(folded(view))
    return Entity(name, view)


def _entity(mapping: Mapping, found: Entity, needs: list[Need], names: Names) -> Planned:
    made = Planned(Entity(found.identity, found.view, dict(found.parts), dict(found.columns), dict(found.ordinals)))
    drawing = _Drawing(mapping, made, names)
    for need in needs:
        if need.key not in made.entity.columns:
            drawing.add(need)
    return made


class _Drawing:
    """An entity while columns are added to it. `names` are those in use in the schema."""

    def __init__(self, mapping: Mapping, made: Planned, names: Names) -> None:
        self._mapping, self._made, self._entity, self._names = mapping, made, made.entity, names
        entity = made.entity
        self._key_types = [*mapping.key_types.values(), "pg_lsn"]
        self._taken = reserved(mapping.key_columns) | {folded(column.name) for column in entity.columns.values()}
        self._ordinal = max(entity.ordinals, default=0)
        self._last = {part.group: part for _, part in sorted(entity.parts.items())}
        self._ends = {group: self._width(part) for group, part in self._last.items()}
        views = {view for part in entity.parts.values() for view in part.views}
        self._rooms = {view: self._empty - len(entity.shown(view)[1]) for view in views}

    @property
    def _empty(self) -> int:
        """How many columns a new view has room for."""
        return VIEW_COLUMNS - len(self._key_types)

    def _width(self, part: Part) -> Width:
        return width(self._key_types + [column.type for column in self._entity.of_part(part.number)])

    def add(self, need: Need) -> None:
        """One more column: in the last part of its group, if the part, and the views that show it, have room."""
        group = group_of(self._mapping.groups, need.key)
        part = self._last.get(group)
        if part is None or not self._takes_more(part) or not self._ends[group].plus(need.type).fits:
            part = self._last[group] = self._new_part(group)
            self._ends[group] = width(self._key_types)
        self._ends[group] = self._ends[group].plus(need.type)
        for view in part.views:
            self._rooms[view] -= 1
        self._ordinal += 1
        name = fitted(need.key or OVERFLOW_COLUMN, need.key, self._taken)
        self._taken.add(folded(name))
        column = Column(self._ordinal, part.number, need.key, name, need.type, need.source)
        self._entity.add(column)
        self._made.columns.append(column)

    def _takes_more(self, part: Part) -> bool:
        return all(self._rooms[view] > 0 for view in part.views)

    def _whole_view(self) -> str:
        """The last of the views that show all groups: those before it are full."""
        parts = self._entity.parts
        return parts[max(parts)].view if parts else self._entity.view

    def _new_part(self, group: str) -> Part:
        entity, number = self._entity, max(self._entity.parts, default=0) + 1
        view = self._with_room(self._whole_view(), entity.view, {part.view for part in entity.parts.values()})
        mine = [part for _, part in sorted(entity.parts.items()) if part.group == group]
        base, group_view = entity.view, None
        if group != DEFAULT:
            views = [part.group_view for part in mine if part.group_view is not None]
            base = views[0] if views else self._name(group_name(entity.view, group), group, TABLE_BYTES)
            group_view = self._with_room(views[-1] if views else base, base, set(views))
        name = self._name(part_name(base, len(mine) + 1), str(number))
        part = Part(entity.identity, number, self._mapping.schema, name, view, group, group_view)
        entity.parts[number] = part
        self._made.new_parts.append(part)
        return part

    def _with_room(self, view: str, first: str, there: Collection[str]) -> str:
        """This view, or, where it is full, a further one, which is named after the `first`."""
        if self._rooms.setdefault(view, self._empty) == 0:
            number = len(there) + 1
            view = self._name(f"{first}_{number}", f"view {first} {number}")
            self._rooms[view] = self._empty
        return view

    def _name(self, name: str, of: str, limit: int = NAME_BYTES) -> str:
        """The name, or one like it that nobody has; nobody gets it again."""
        found = fitted(name, f"{self._mapping.connector} {self._entity.identity} {of}", self._names, limit)
        self._names.add(folded(found))
        return found
