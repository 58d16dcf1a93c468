"""The staging slots of one wide table, and those that a session's wide tables have: they are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import NamedTuple

from sink.fold.rows import Lines, PartRows
from sink.mapping.mapping import Mapping
from sink.mapping.wide import Column, Part
from sink.merge import clears, overflow
from sink.merge.clears import Clears
from sink.merge.overflow import Overflow
from sink.merge.plans import Plans
from sink.merge.stage import Connection, Stage, Stages
from sink.merge.staging_slot import StagingSlot
from sink.merge.values import Values, pieces, shape_of


class Unprepared(LookupError):
    """There are rows for a wide table, or a column of one, that came about after all was prepared for them."""


class Load(NamedTuple):
    """Lines for a slot, and the COPY that takes them, behind the slot's number."""

    owner: Values | Overflow | Clears
    copy: bytes
    lines: list[str]


@dataclass(frozen=True, slots=True)
class TableSlots:
    """Where rows of one wide table are staged: what is set in its `columns`, its overflow's members, what is cleared.

    (The last two only where a batch may have any.)
    """

    part: Part
    columns: list[Column]
    leads: bool
    values: list[Values]
    over: Overflow | None = None
    clears: StagingSlot | None = None

    def loads(self, rows: PartRows) -> Iterator[Load]:
        """What is to be staged of a batch for this table. Raises Unprepared."""
        for lines in rows.copies:
            for values, mine in zip(self.values, self._cut(lines), strict=True):
                if mine.lines:
                    yield Load(values, values.copy(mine.columns), mine.lines)
        if rows.over_lines:
            if self.over is None:
                raise Unprepared(f"there is no slot for the overflow of {self.part.table}")
            yield Load(self.over, self.over.slot.stage.copy_all, rows.over_lines)
        if rows.clear_lines:
            if self.clears is None:
                raise Unprepared(f"there is no slot for what is cleared in {self.part.table}")
            yield Load(Clears(self.part, self.clears, rows.clears), self.clears.stage.copy_all, rows.clear_lines)

    def _cut(self, lines: Lines) -> list[Lines]:
        """The lines, by the slots in which the columns lie."""
        found = [values.cut(lines) for values in self.values]
        if sum(len(each.columns) for each in found) != len(lines.columns):
            raise Unprepared(f"{self.part.table} has a new column")
        return found


class Slots:
    """The slots of all wide tables that a session has come by, until `forget`."""

    def __init__(self, connection: Connection, mapping: Mapping, plans: Plans) -> None:
        self._connection, self._mapping, self._plans = connection, mapping, plans
        self._stages = Stages(connection, mapping)
        self._overs: Stage | None = None
        self._clears: Stage | None = None
        self._numbers = count(1)
        self._tables: dict[str, TableSlots] = {}

    def forget(self) -> None:
        """Columns have other types or names."""
        self._tables.clear()

    def of(self, batch: Iterable[PartRows]) -> dict[str, TableSlots]:
        """The slots for these rows, by wide table. Outside a transaction: staging tables may have to be made."""
        self._stages.begin()
        found: dict[str, TableSlots] = {}
        for rows in batch:
            found[rows.part.table] = self._tables[rows.part.table] = self._with_room(rows)
        return found

    def _with_room(self, rows: PartRows) -> TableSlots:
        slots = self._for_values(rows)
        if rows.over is not None and slots.over is None:
            self._overs = self._overs or Stage(self._connection, self._mapping, overflow.SHAPE)
            slots = replace(slots, over=Overflow(rows.part, rows.over, self._slot(self._overs)))
        if (rows.clears or rows.clear_lines) and slots.clears is None:
            self._clears = self._clears or Stage(self._connection, self._mapping, clears.SHAPE)
            slots = replace(slots, clears=self._slot(self._clears))
        return slots

    def _for_values(self, rows: PartRows) -> TableSlots:
        """Those that are known, if nothing has changed."""
        known = self._tables.get(rows.part.table)
        if known is not None and known.columns == rows.columns and known.leads == rows.leads:
            stages = [self._stages.of(values.shape) for values in known.values]
            if all(values.slot.stage is stage for values, stage in zip(known.values, stages, strict=True)):
                return known
        for values in () if known is None else known.values:
            self._plans.forget(values)
        made = [self._new(rows, columns) for columns in pieces(self._mapping, rows.columns)]
        return TableSlots(rows.part, rows.columns, rows.leads, made)

    def _new(self, rows: PartRows, columns: Sequence[Column]) -> Values:
        return Values(rows.part, columns, self._slot(self._stages.of(shape_of(columns))), leads=rows.leads)

    def _slot(self, stage: Stage) -> StagingSlot:
        return StagingSlot(stage, next(self._numbers))
