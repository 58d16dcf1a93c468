"""Wide tables that are ready for rows: their staging tables are there. Rows are staged, and only then locked.

A staging table belongs to a session, and is kept: making and dropping one for each batch would bloat the catalog.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Dict
from typing import Final

from sink.fold.rows import PartRows
from sink.mapping.mapping import Mapping
from sink.mapping.wide import Part
from sink.merge.plans import Plans
from sink.merge.stage import Connection
from sink.merge.staged import LockedStage, Staged, StagedTable
from sink.merge.staging_slot import StagingSlot
from sink.merge.table_slots import TableSlots, Unprepared
from sink.wide.registry import Registry

_WRITE_AT_ONCE: Final = 256  # lines of COPY handed over together: some 100 kB of whole rows


class Prepared:
    """Wide tables with their slots, for the rows of one transaction."""

    def __init__(self, registry: Registry, plans: Plans, tables: Dict[str, TableSlots]) -> None:
        self._registry, self._plans, self._tables = registry, plans, tables

    def stage(self, batches: Iterable[Iterable[PartRows]]) -> Staged:
        """COPY rows into the staging tables, in the transaction that merges them, batch by batch as they come.

        That touches nothing that anybody else wants. A process that is stopped in the middle of a COPY stays there,
        whatever time limits the server has: so it holds nobody up by that. Raises Unprepared.
        """
        return Staged(self._registry, self._plans, _stage(self._plans.connection, self._tables, batches, set()))

    def hold(self) -> Held:
        """For who can only read under locks what is to be written: from here on columns stay as they are.

        Raises Retyped where they have not since they were read.
        """
        self._registry.hold(self._plans.connection)
        return Held(self._plans, self._registry.mapping, self._tables)


class Held:
    """A transaction that writes piece by piece, under locks from its start. Its caller keeps the sinks where they are,
    or has a time limit."""

    def __init__(self, plans: Plans, mapping: Mapping, tables: Dict[str, TableSlots]) -> None:
        self._plans, self._mapping, self._tables = plans, mapping, tables
        self._merged: set[StagingSlot] = set()

    def upsert(self, batch: Iterable[PartRows]) -> None:
        """Stage rows and merge them as the stream's. Raises Unprepared."""
        self._staged([batch]).upsert()

    def fill(self, batches: Iterable[Iterable[PartRows]]) -> None:
        """Stage all rows and merge them as a chunk's. Raises Unprepared."""
        self._staged(batches).fill()

    def _staged(self, batches: Iterable[Iterable[PartRows]]) -> LockedStage:
        staged = _stage(self._plans.connection, self._tables, batches, self._merged)
        self._merged.update(slot for each in staged for slot in each.every)
        return LockedStage(self._plans, self._mapping, staged)


def _stage(
    connection: Connection,
    tables: Dict[str, TableSlots],
    batches: Iterable[Iterable[PartRows]],
    merged: set[StagingSlot],
) -> list[StagedTable]:
    """What is staged, by table in the order of the locks.

    `merged` are slots with rows from before, of the same transaction: they are emptied when more come.
    """
    staged: dict[str, StagedTable] = {}
    for batch in batches:
        copies: dict[bytes, list[tuple[int, list[str]]]] = {}
        for rows in batch:
            into = staged.setdefault(rows.part.table, StagedTable(_slots(tables, rows.part)))
            for load in into.slots.loads(rows):
                slot = into.take(load)
                if slot in merged:
                    slot.empty()
                    merged.remove(slot)
                copies.setdefault(load.copy, []).append((slot.number, load.lines))
        for copy, parts in copies.items():
            write(connection, copy, parts)
    return [staged[table] for table in sorted(staged)]


def _slots(tables: Dict[str, TableSlots], part: Part) -> TableSlots:
    found = tables.get(part.table)
    if found is None:
        raise Unprepared(f"there is no slot for {part.table}")
    return found


def write(connection: Connection, copy: bytes, parts: Iterable[tuple[int, list[str]]]) -> None:
    """COPY lines, each behind the number of its slot."""
    with connection.cursor().copy(copy) as target:
        block, size = list[str](), 0
        for number, lines in parts:
            mark = f"{number}\t"
            for start in range(0, len(lines), _WRITE_AT_ONCE):
                some = lines[start : start + _WRITE_AT_ONCE]
                block.append(mark + mark.join(some))
                size += len(some)
                if size >= _WRITE_AT_ONCE:
                    target.write("".join(block))
                    block, size = [], 0
        target.write("".join(block))
