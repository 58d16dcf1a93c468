"""Backfill workers: a gate that opens once, chunks read at any moment after it and merged at any later one."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from tests.model.rules import Rule
from tests.model.source import Cell, History, Table
from tests.model.target import CHUNKS, Target, chunk_of


class Reading(NamedTuple):
    """A chunk in a worker's memory, with the tombstones as they were when it was read."""

    chunk: int
    cells: Table
    tombstones: set[Cell]


@dataclass(slots=True)
class Backfill:
    """All workers together: the chunks that they have read and not yet merged."""

    target: Target
    history: History
    safe_from: int | None = None
    readings: list[Reading] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """No chunk is open."""
        return "planned" not in self.target.chunks.values()

    def read(self, random: Random) -> None:
        """Read some open chunk in a snapshot of its own, once the gate has opened."""
        moment = random.randint(self.history.cutoff, self.history.end)
        if self.safe_from is None:
            self._try_gate(moment)
        chunk = random.choice(CHUNKS)
        if self.safe_from is not None and self.target.chunks[chunk] == "planned":
            table = self.history.snapshot(max(moment, self.safe_from))
            cells = {cell: value for cell, value in table.items() if chunk_of(cell.time) == chunk}
            self.readings.append(Reading(chunk, cells, set(self.target.tombstones)))

    def _try_gate(self, moment: int) -> None:
        """Gate G: none of the transactions that this snapshot lacks lies below the cutoff."""
        lacking = self.history.running(moment)
        if Rule.GATE not in self.target.rules or all(number >= self.history.cutoff for number in lacking):
            self.safe_from = moment

    def merge(self, random: Random) -> None:
        """A worker merges what it has read, unless it crashes, or the chunk is not open any more."""
        if not self.readings:
            return
        reading = self.readings.pop(random.randrange(len(self.readings)))
        if random.random() < 0.2 or self.target.chunks[reading.chunk] != "planned":
            return
        known = self.target.tombstones if Rule.LOCK in self.target.rules else reading.tombstones
        self.target.merge(reading.chunk, reading.cells, known)
