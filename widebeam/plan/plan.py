"""The plan: tables, columns, names, widths, chunks, and how it differs from what there is. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from sink.mapping.mapping import Mapping as Connector
from sink.mapping.names import NAME_BYTES, TABLE_BYTES, folded, reserved, table_name
from sink.mapping.wide import ALL, OVERFLOW, Column, Entity, Need, identity
from sink.mapping.width import ROW_BYTES, width
from sink.wide import column_limits
from sink.wide.planned import Planned, plan
from widebeam.plan.cost import Work, cost
from widebeam.plan.difference import Difference, difference
from widebeam.plan.evidence import Evidence, Pair


@dataclass(frozen=True, slots=True)
class Table:
    """One part of an entity's wide tables. `row_bytes` is the most that a row of it takes.

    `group` is the group of keys that it is for, which `group_view` shows; empty and None where no group takes them.
    """

    entity: str
    view: str
    group: str
    group_view: str | None
    name: str
    columns: int
    new_columns: int
    row_bytes: int
    fillfactor: int
    made: bool
    instead_of: str | None = None
    """The name that the view would have, if something else in the schema had not got it already."""


class ColumnPlan(NamedTuple):
    """A column and its evidence: how many readings of each type were looked at."""

    entity: str
    table: str
    key: str
    column: str
    type: str
    readings: dict[str, int]


@dataclass(frozen=True, slots=True)
class Renamed:
    """A key whose column has another name, and why."""

    entity: str
    key: str
    column: str
    why: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """A key with readings of several types: its column's, and those that do not fit it."""

    entity: str
    key: str
    type: str
    others: list[str]


@dataclass(frozen=True, slots=True)
class Source:
    """A narrow table: how its keys were found, estimated rows, chunks of the backfill."""

    table: str
    how: str
    whole: bool
    rows: int
    chunks: int
    scanned: float = 0.0
    """Rows that all chunks together look at in vain, since no index leads to theirs."""
    index: str | None = None
    """The statement that makes an index for that, and what it costs; None where there is one, or it would not pay."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a run would make, and what it would take. Sizes in bytes, all estimates."""

    connector: str
    partition_by: str | None
    """The unit of time by which every wide table is partitioned."""
    sources: list[Source]
    entities: int
    keys: int
    tables: list[Table]
    columns: list[ColumnPlan]
    types: dict[str, int]
    readings: int
    """How many readings the types are judged by."""
    renamed: list[Renamed]
    conflicts: list[Conflict]
    refused: dict[str, list[str]]
    unplaced: dict[str, tuple[int, str]]
    wide_rows: int
    disk_bytes: int
    seconds: float
    difference: Difference
    """From what is made already."""

    @property
    def changed(self) -> list[str]:
        """The difference in lines."""
        return self.difference.lines

    @property
    def rows(self) -> int:
        """Estimated narrow rows."""
        return sum(source.rows for source in self.sources)

    @property
    def chunks(self) -> int:
        """Chunks of the backfill."""
        return sum(source.chunks for source in self.sources)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        columns = [column._asdict() for column in self.columns]
        return {
            **asdict(self),
            "columns": columns,
            "changed": self.changed,
            "rows": self.rows,
            "chunks": self.chunks,
            "row_bytes_limit": ROW_BYTES,
        }


@dataclass(frozen=True, slots=True)
class Drawn:
    """A plan with what it is made of: the entities as they will be, and the needs that lead there."""

    plan: Plan
    planned: list[Planned]
    needs: list[Need]


def draw(
    mapping: Connector,
    evidence: Evidence,
    there: Mapping[str, Entity],
    taken: Iterable[str],
    sources: Sequence[Source],
    workers: int,
    options: Sequence[str] = (),
) -> Drawn:
    """Lay the needs out beside what is `there`. `taken` are names in use in the wide tables' schema.

    `options` says which ones were others when the connector was made.
    """
    widen = mapping.type_conflict == "widen"
    needs, refused = evidence.needs(widen=widen), dict[str, list[str]]()
    missing = [need for need in needs if need.key not in _columns(there, mapping, need)]
    missing, beyond = column_limits.within(replace(mapping, columns_per_hour=len(missing)), there, missing, 0)
    for (_, key), (reason, _) in beyond.items():
        refused.setdefault(reason, []).append(key)
    planned = plan(mapping, there, missing, taken)
    entities = {**there, **{each.entity.identity: each.entity for each in planned}}
    new = {(each.entity.identity, column.key) for each in planned for column in each.columns}
    tables = [table for entity in entities.values() for table in _tables(mapping, entity, there, new)]
    takes = cost(mapping, evidence, entities, [Work(each.rows, each.chunks, each.scanned) for each in sources], workers)
    made = Plan(
        connector=mapping.connector,
        partition_by=mapping.partition_by,
        sources=list(sources),
        entities=len(evidence.entities) or len(entities),
        keys=len({need.key for need in needs}),
        tables=tables,
        columns=[each for entity in entities.values() for each in _with_evidence(evidence, entity)],
        readings=evidence.readings,
        types=dict(Counter(column.type for entity in entities.values() for column in entity.columns.values())),
        renamed=[each for entity in entities.values() for each in _renamed(mapping, entity)],
        conflicts=_conflicts(evidence, mapping),
        refused=refused,
        unplaced=evidence.unplaced,
        wide_rows=takes.wide_rows,
        disk_bytes=takes.disk_bytes,
        seconds=takes.seconds,
        difference=replace(difference(mapping, there, needs, missing), options=list(options)),
    )
    return Drawn(made, planned, needs)


def _identity(mapping: Connector, need: Need) -> str:
    return ALL if mapping.layout == "single" else identity(need.values)


def _columns(there: Mapping[str, Entity], mapping: Connector, need: Need) -> Mapping[str, Column]:
    found = there.get(_identity(mapping, need))
    return {} if found is None else found.columns


def _tables(
    mapping: Connector, entity: Entity, there: Mapping[str, Entity], new: set[tuple[str, str]]
) -> Iterable[Table]:
    before = there.get(entity.identity)
    for number, part in sorted(entity.parts.items()):
        columns = entity.of_part(number)
        wide = width([*mapping.key_types.values(), "pg_lsn", *(column.type for column in columns)])
        fresh = sum((entity.identity, column.key) in new for column in columns)
        made = before is not None and number in before.parts
        counts = len(columns), fresh, wide.row_bytes, mapping.full(column.type for column in columns), made
        instead = _wanted(mapping, entity) if number == 1 else None
        yield Table(entity.identity, part.view, part.group, part.group_view, part.table, *counts, instead)


def _wanted(mapping: Connector, entity: Entity) -> str | None:
    """The name that the entity's view would have by the template, where somebody else has it."""
    values = [] if entity.identity == ALL else json.loads(entity.identity)
    wanted = table_name(mapping.name, values)
    return None if wanted == entity.view or len(wanted.encode()) > TABLE_BYTES else wanted


def _with_evidence(evidence: Evidence, entity: Entity) -> Iterable[ColumnPlan]:
    values = () if entity.identity == ALL else tuple(json.loads(entity.identity))
    for column in entity.columns.values():
        kinds = evidence.pairs.get(Pair(values, column.key), Counter())
        seen = {kind.type: count for kind, count in kinds.most_common()}
        yield ColumnPlan(entity.identity, entity.parts[column.part].table, column.key, column.name, column.type, seen)


def _renamed(mapping: Connector, entity: Entity) -> Iterable[Renamed]:
    """Columns that are not called like their key."""
    kept = reserved(mapping.key_columns)
    for column in entity.columns.values():
        if column.key not in (column.name, OVERFLOW):
            if len(column.key.encode()) > NAME_BYTES:
                why = f"{len(column.key.encode())} bytes, and a name has {NAME_BYTES} at most"
            elif folded(column.key) in kept:
                why = "the name is taken by a column of the table itself"
            else:
                why = "another key has the same name, but for case or Unicode form"
            yield Renamed(entity.identity, column.key, column.name, why)


def _conflicts(evidence: Evidence, mapping: Connector) -> list[Conflict]:
    widen = mapping.type_conflict == "widen"
    chosen = {(need.values, need.key): need.type for need in evidence.needs(widen=widen)}
    return [
        Conflict(_named(mapping, pair), pair.key, chosen[pair.entity, pair.key], sorted({kind.type for kind in kinds}))
        for pair, kinds in sorted(evidence.conflicts(widen=widen).items())
    ]


def _named(mapping: Connector, pair: Pair) -> str:
    return ALL if mapping.layout == "single" else identity(pair.entity)
