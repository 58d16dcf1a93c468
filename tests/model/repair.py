"""Ranges that are compared and set after a gap: what the old stream left behind is stale, and the new one goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from tests.model.capture import POSITION_STEP
from tests.model.rules import Rule
from tests.model.sink import Partition
from tests.model.source import KEYS, SHIPS, TIMES, Cell, History, Table
from tests.model.target import CHUNKS, Target, WideRow, chunk_of


class Look(NamedTuple):
    """A range as it was read, and the position that its rows get."""

    chunk: int
    wanted: Table
    position: int


def leave_stale_cells(target: Target, random: Random) -> None:
    """What wide tables hold after a gap: anything. All ranges are to be repaired."""
    beyond = POSITION_STEP * 10**6
    for ship in SHIPS:
        for time in TIMES:
            cells = {key: "stale" for key in KEYS if random.random() < 0.4}
            if cells:
                lsn = target.cutoff_lsn if Rule.REBASE in target.rules else beyond
                target.rows[ship, time] = WideRow(lsn, dict(cells))
    target.repairs = set(CHUNKS)


@dataclass(slots=True)
class Repair:
    """All workers together."""

    target: Target
    history: History
    partitions: list[Partition]
    looks: list[Look] = field(default_factory=list)

    def look(self, random: Random) -> None:
        """Read a range. While the sinks are held, it is written before anything else happens."""
        if not self.target.repairs:
            return
        chunk = random.choice(sorted(self.target.repairs))
        held = Rule.HOLD in self.target.rules
        seen = max([self.history.cutoff, *(each.furthest // POSITION_STEP for each in self.partitions if held)])
        first = max([seen, *(each.visible for each in self.history.transactions[:seen])])
        table = self.history.snapshot(random.randint(first, self.history.end))
        wanted = {cell: value for cell, value in table.items() if value is not None and chunk_of(cell.time) == chunk}
        high = max(each.progress.high for each in self.partitions)
        self.looks.append(Look(chunk, wanted, max(high, self.target.cutoff_lsn)))
        if held:
            self.write(random)

    def write(self, random: Random) -> None:
        """Set a range as it was read, unless a truncate made it void."""
        if not self.looks:
            return
        chunk, wanted, position = self.looks.pop(random.randrange(len(self.looks)))
        if chunk not in self.target.repairs:
            return
        self.target.repairs.discard(chunk)
        there = {cell: value for cell, value in self.target.cells().items() if chunk_of(cell.time) == chunk}
        for cell in {cell for cell in {*wanted, *there} if wanted.get(cell) != there.get(cell)}:
            self._set(cell, wanted.get(cell), position)

    def _set(self, cell: Cell, value: str | None, position: int) -> None:
        self.target.change(cell.wide, [(cell.key, value)], position)
