"""How a plan differs from what is made already. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sink.mapping.group import group_of
from sink.mapping.kinds import holds
from sink.mapping.mapping import Mapping as Connector
from sink.mapping.wide import ALL, OVERFLOW, Column, Entity, Need, identity

_EXAMPLES = 5


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A key of an entity (a JSON array; [] where one table holds all)."""

    entity: str
    key: str


@dataclass(frozen=True, slots=True, order=True)
class OtherType:
    """A column that is made, and the type that its readings have now."""

    entity: str
    key: str
    made: str
    now: str


@dataclass(frozen=True, slots=True)
class Difference:
    """By kind; all empty where nothing is made yet, or all is as planned."""

    options: list[str] = field(default_factory=list)
    """Options that were others when the connector was made: a run refuses them, with the way out."""
    new: list[Place] = field(default_factory=list)
    types: list[OtherType] = field(default_factory=list)
    groups: list[Place] = field(default_factory=list)
    """Columns that stay in the group in which they were made."""
    silent: list[Place] = field(default_factory=list)
    """Columns without a reading among those that were looked at: their keys are gone, or rare."""

    @property
    def lines(self) -> list[str]:
        """A line for each kind, with the first few as examples."""
        lines = list(self.options)
        if self.options:
            lines.append("what stands above is the plan of a connector that is made anew")
        if self.new:
            lines.append(f"{len(self.new)} columns are to be made: {_keys(self.new)}")
        if self.types:
            shown = [f"{each.key} is {each.made} and would be {each.now}" for each in self.types]
            lines.append(f"{len(self.types)} columns have another type than their readings now: {_some(shown)}")
        if self.groups:
            lines.append(
                f"{len(self.groups)} columns stay in the group in which they were made, since groups are for new keys:"
                f" {_keys(self.groups)}"
            )
        if self.silent:
            what = "columns have no readings among those that were looked at, and stay"
            lines.append(f"{len(self.silent)} {what}: {_keys(self.silent)}")
        return lines


def difference(
    mapping: Connector, there: Mapping[str, Entity], needs: Sequence[Need], missing: Sequence[Need]
) -> Difference:
    """Between what is `there` and what the readings need, of which `missing` is to be made."""
    if not there:
        return Difference()
    wanted = {Place(_identity(mapping, need), need.key) for need in needs}
    columns = [(entity, column) for entity in there.values() for column in entity.columns.values()]
    return Difference(
        new=sorted(Place(_identity(mapping, need), need.key) for need in missing),
        types=[
            OtherType(_identity(mapping, need), need.key, column.type, need.type)
            for need in needs
            if (column := _column(there, mapping, need)) is not None and not holds(column.type, need.type)
        ],
        groups=sorted(
            Place(entity.identity, column.key)
            for entity, column in columns
            if entity.parts[column.part].group != group_of(mapping.groups, column.key)
        ),
        silent=sorted(
            place
            for entity, column in columns
            if column.key != OVERFLOW and (place := Place(entity.identity, column.key)) not in wanted
        ),
    )


def _identity(mapping: Connector, need: Need) -> str:
    return ALL if mapping.layout == "single" else identity(need.values)


def _column(there: Mapping[str, Entity], mapping: Connector, need: Need) -> Column | None:
    found = there.get(_identity(mapping, need))
    return None if found is None else found.columns.get(need.key)


def _keys(places: Sequence[Place]) -> str:
    return _some(sorted({place.key for place in places}))


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:_EXAMPLES]) + (", ..." if len(items) > _EXAMPLES else "")
