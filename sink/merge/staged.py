"""Rows in staging tables, which are locked and then merged, table by table in the order of their names.

Rows of one table go in the order of the wide key, so that sinks and chunks do not deadlock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TypeAlias

from psycopg import sql

from cdc.lsn import Lsn
from sink.mapping.mapping import Mapping
from sink.mapping.names import LSN_COLUMN
from sink.merge.clears import Clears
from sink.merge.locked import Locked
from sink.merge.overflow import Overflow
from sink.merge.plans import Plans
from sink.merge.present import Present, present
from sink.merge.stage import EVERYWHERE, Range, Stage
from sink.merge.staging_slot import StagingSlot
from sink.merge.table_slots import Load, TableSlots
from sink.merge.values import Values
from sink.wide.registry import Registry

Ranges: TypeAlias = "Dict[StagingSlot, Range]"
"""Where in its staging table a slot's rows lie, if that is known."""


@dataclass(slots=True)
class StagedTable:
    """What is staged for one wide table. There is something in each of these."""

    slots: TableSlots
    values: set[Values] = field(default_factory=set)
    over: Overflow | None = None
    clears: Clears | None = None

    def take(self, load: Load) -> StagingSlot:
        """Note what is loaded, and where."""
        match load.owner:
            case Values() as values:
                self.values.add(values)
                return values.slot
            case Overflow() as over:
                self.over = over
                return over.slot
            case Clears() as clears:
                if self.clears is not None and self.clears.columns != clears.columns:
                    raise ValueError(f"what is cleared in {self.slots.part.table} comes in rows of two kinds")
                self.clears = clears
                return clears.slot

    @property
    def every(self) -> list[StagingSlot]:
        """The slots with rows."""
        return [each.slot for each in (*self.values, self.over, self.clears) if each is not None]


class Staged:
    """Rows that are staged in the open transaction. So far, nobody waits for it."""

    def __init__(self, registry: Registry, plans: Plans, staged: list[StagedTable]) -> None:
        self._registry, self._plans, self._staged = registry, plans, staged

    @property
    def tables(self) -> list[str]:
        """The wide tables that the rows are for, in the order of their locks."""
        return [each.slots.part.table for each in self._staged]

    def lock(self) -> LockedStage:
        """From here on columns stay as they are. Raises Retyped where they have not since they were read."""
        self._registry.hold(self._plans.connection)
        return LockedStage(self._plans, self._registry.mapping, self._staged)


class LockedStage(Locked):
    """Staged rows that can be merged.

    Their statements go one by one: in a pipeline, a process that is stopped between two of them would keep its locks,
    since the server's time limit for who idles in a transaction holds between two answers only.
    """

    def __init__(self, plans: Plans, mapping: Mapping, staged: list[StagedTable]) -> None:
        super().__init__(plans.connection, mapping)
        self._plans, self._staged = plans, staged

    def locate(self, positions: Dict[Lsn, Lsn]) -> None:
        """Give rows their `_lsn` that were staged before anybody knew how far the stream is: by what stands for it."""
        marks = [str(mark) for mark in positions], [str(position) for position in positions.values()]
        for stage in dict.fromkeys(slot.stage for each in self._staged for slot in each.every):
            self._connection.execute(
                sql.SQL(
                    "UPDATE {0} AS staged SET {1} = known.position"
                    " FROM unnest(%s::pg_lsn[], %s::pg_lsn[]) AS known (mark, position) WHERE staged.{1} = known.mark"
                ).format(stage.table, sql.Identifier(LSN_COLUMN)),
                marks,
            )

    def upsert(self) -> None:
        """As for all; rows that end empty are deleted."""
        ranges = self._ranges()
        leading: list[tuple[Clears | Overflow, Present]] = []
        for each in self._staged:
            self._merge(each, attrgetter("upsert"), ranges)
            if each.over is not None:
                each.over.set()
            leading += self._clear(each)
        for take, now in sorted(leading, key=lambda pair: -pair[1].part.number):
            take.settle(now)

    def _clear(self, staged: StagedTable) -> list[tuple[Clears | Overflow, Present]]:
        """Take cells away, and rows. Answers who does so at last: in a part that leads others, once theirs are gone."""
        takers = [each for each in (staged.clears, staged.over) if each is not None]
        for each in takers:
            each.lock()
        if not takers:
            return []
        now = present(self._connection, self._mapping, staged.slots.part)
        for each in takers:
            each.take(now)
        return [(each, now) for each in takers if now.led]

    def fill(self) -> None:
        """A chunk's rows (rule M): only cells that are NULL are filled, and a row keeps its `_lsn`.

        All that was staged for a part goes in one statement, in the order of the wide key: that is what keeps a chunk
        of any size from deadlocks with sinks.
        """
        ranges = self._ranges()
        for each in self._staged:
            self._merge(each, attrgetter("fill"), ranges)
            if each.over is not None:
                each.over.fill()

    def _ranges(self) -> Ranges:
        """Where the rows lie, and one plan for all such places; it is made at the first use, which takes longer than to
        merge a small batch."""
        stages: Iterable[Stage] = ()
        if len(self._staged) > 1:
            stages = {values.slot.stage for each in self._staged for values in each.values}
        found = {StagingSlot(stage, number): where for stage in stages for number, where in stage.ranges().items()}
        self._connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        return found

    def _merge(self, staged: StagedTable, statement: Callable[[Values], bytes], ranges: Ranges) -> None:
        for values in staged.slots.values:
            if values in staged.values:
                self._plans.run(values, statement(values), ranges.get(values.slot, EVERYWHERE))
