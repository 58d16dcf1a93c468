"""A partition's sinks: batches that are read, then committed, maybe by a sink that is no longer the owner."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from tests.model.capture import Emptied, Record, Rows
from tests.model.rules import Rule
from tests.model.source import Cell
from tests.model.target import Target


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition is applied: one row of the target."""

    epoch: int = 0
    offset: int = 0
    high: int = 0
    generation: int = 0
    sequence: int = 0
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that a sink has polled, and the progress that it knew then."""

    known: Progress
    records: list[Record]


def admit(progress: Progress, record: Record, rules: frozenset[Rule]) -> tuple[Progress, bool]:
    """Progress after this record, and whether to apply it."""
    progress = replace(progress, offset=progress.offset + 1)
    if Rule.GENERATION in rules:
        if record.generation < progress.generation:
            return progress, False
        if record.generation > progress.generation:
            progress = replace(progress, generation=record.generation, sequence=0, broken=False)
        broken = progress.broken or record.sequence != progress.sequence
        progress = replace(progress, sequence=record.sequence + 1, broken=broken)
        if broken:
            return progress, False
    if record.position < progress.high and Rule.SKIP in rules:
        return progress, False
    return replace(progress, high=max(progress.high, record.position)), True


@dataclass(slots=True)
class Partition:
    """One partition's log and progress, the batches in flight, and what its readers have seen."""

    target: Target
    log: list[Record]
    progress: Progress = field(default_factory=Progress)
    in_flight: list[Batch] = field(default_factory=list)
    history: dict[int, Progress] = field(default_factory=dict)
    written: dict[Cell, int] = field(default_factory=dict)
    saw_the_past: bool = False

    @property
    def done(self) -> bool:
        """Everything in the log is applied."""
        return self.progress.offset >= len(self.log)

    def poll(self, random: Random) -> None:
        """A sink takes the next records; a sink before it may still hold the same ones (a zombie)."""
        known = self.progress
        self.in_flight.append(Batch(known, self.log[known.offset : known.offset + random.randint(1, 3)]))

    def commit(self, random: Random) -> None:
        """One sink in flight commits its batch, or finds that it is no longer the owner, or crashes before."""
        if not self.in_flight:
            return
        batch = self.in_flight.pop(random.randrange(len(self.in_flight)))
        current = (self.progress.epoch, self.progress.offset)
        if Rule.FENCE in self.target.rules and (batch.known.epoch, batch.known.offset) != current:
            return
        if random.random() < 0.1:
            return
        progress = batch.known
        for record in batch.records:
            self.history.setdefault(progress.offset, progress)
            progress, admitted = admit(progress, record, self.target.rules)
            if admitted:
                self._apply(record)
        self.progress = progress

    def replay(self, random: Random) -> None:
        """Go back to any offset: a new epoch, and the skip rule starts anew."""
        if self.progress.offset:
            past = self.history[random.randrange(self.progress.offset)]
            self.progress = replace(past, epoch=self.progress.epoch + 1, high=0)
            self.written.clear()

    def _apply(self, record: Record) -> None:
        match record.body:
            case Emptied():
                self.target.truncate(record.position)
            case Rows(wide, cells):
                for key, _ in cells:
                    cell = Cell(wide, key)
                    self.saw_the_past |= record.position < self.written.get(cell, 0)
                    self.written[cell] = record.position
                self.target.change(wide, cells, record.position)
