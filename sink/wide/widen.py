"""Widening: which columns get a wider type because a reading does not fit them, and which cannot. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Dict
from typing import NamedTuple

from sink.fold.set_or_clear import NOT_WIDENED, Refusal
from sink.mapping.kinds import TEXT, holds, joined
from sink.mapping.mapping import Mapping
from sink.mapping.names import fitted, folded, misplaced, reserved
from sink.mapping.rule import NUMBER
from sink.mapping.wide import ALL, Column, Entity, Need, Refused, identity
from sink.mapping.width import width


class Widening(NamedTuple):
    """A column as it was, and as it is to be: of another type, or of another key and name."""

    entity: Entity
    before: Column
    after: Column


def widenings(mapping: Mapping, entities: Dict[str, Entity], needs: Iterable[Need]) -> tuple[list[Widening], Refused]:
    """What to do for these keys, which have a column that does not hold their readings."""
    found: dict[tuple[str, str], Widening] = {}
    refused: Refused = {}
    for need in needs:
        name = ALL if mapping.layout == "single" else identity(need.values)
        entity = entities[name]
        before = entity.columns[need.key]
        column = found[name, need.key].after if (name, need.key) in found else before
        if holds(column.type, need.type):
            continue
        after = column._replace(type=joined(column.type, need.type), widened=before.widened + 1)
        others = {each.after for each in found.values() if each.entity is entity}
        why = _obstacle(mapping, entity, after, column, others)
        if why is None:
            found[name, need.key] = Widening(entity, before, after)
        else:
            refused[name, need.key] = not_widened(entity, column, need.type, why)
    return list(found.values()), refused


def not_widened(entity: Entity, column: Column, wanted: str, why: str) -> Refusal:
    """Why a reading waits in the quarantine; `status` says so as long as it does."""
    part = entity.parts[column.part]
    place = f'the column "{column.name}" of "{part.schema}"."{part.table}"'
    return NOT_WIDENED, f"{place} is a {column.type}, and readings of {column.key!r} are {wanted}: {why}"


def _obstacle(mapping: Mapping, entity: Entity, after: Column, before: Column, others: set[Column]) -> str | None:
    """Why a column cannot become this."""
    if before.type == NUMBER and after.type == TEXT and mapping.rule.numbers and not mapping.rule.canonical:
        # Whatever column made it: numbers out of texts may have come since, and 1.50 is a 1.5 by now.
        return f"numbers out of {', '.join(sorted(mapping.rule.numbers))} do not keep the text that they were"
    changed = {each.ordinal: each.type for each in (*others, after)}
    types = [changed.get(each.ordinal, each.type) for each in entity.of_part(after.part)]
    if not width([*mapping.key_types.values(), "pg_lsn", *types]).fits:
        return f"as a {after.type} it would make the rows of its table longer than a page"
    return None


def renamings(mapping: Mapping, entity: Entity, keys: Dict[str, str]) -> list[Widening]:
    """The columns of an entity that get another key (old -> new) and a name for it.

    One stays where the new key has a column already that does not move away itself.
    """
    moves = {old: new for old, new in keys.items() if old in entity.columns and misplaced(new) is None}
    while blocked := {old for old, new in moves.items() if new in entity.columns and new not in moves}:
        moves = {old: new for old, new in moves.items() if old not in blocked}
    taken = reserved(mapping.key_columns)
    taken |= {folded(each.name) for each in entity.columns.values() if each.key not in moves}
    found = []
    for old, new in sorted(moves.items()):
        before = entity.columns[old]
        name = fitted(new, new, taken)
        taken.add(folded(name))
        found.append(Widening(entity, before, before._replace(key=new, name=name, widened=before.widened + 1)))
    return found
