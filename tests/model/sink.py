"""A partition's sinks: batches that are read, then committed, maybe by a sink that is no longer the owner.

Which records are applied is decided by the real rules (sink.fold.progress).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from cdc.event import Value
from cdc.lsn import Lsn
from cdc.record.record import Barrier, Changes, Op, Record, Truncated
from sink.fold.progress import Admission, Landmark, Progress
from sink.fold.rewind import Place, rewound
from tests.model.rules import Rule
from tests.model.source import Cell
from tests.model.target import Target


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that a sink has polled, and the progress that it knew then."""

    known: Progress
    records: list[Record]


def admit(progress: Progress, record: Record, rules: frozenset[Rule]) -> tuple[Admission, bool]:
    """Progress after this record, and whether to apply it. A rule that is off never finds anything to object to."""
    if Rule.SKIP not in rules:
        progress = progress._replace(high=Lsn(0))
    if Rule.GENERATION not in rules:
        stamp = record.stamp._replace(generation=progress.generation, sequence=progress.next_sequence)
        record = record._replace(stamp=stamp)
    admission = Admission(progress)
    applicable = admission.admit(progress.next_offset, record)
    return admission, applicable


@dataclass(slots=True)
class Partition:
    """One partition's log and progress, the batches in flight, and what its readers have seen."""

    target: Target
    log: list[Record]
    progress: Progress = field(default_factory=lambda: Progress(0))
    in_flight: list[Batch] = field(default_factory=list)
    landmarks: dict[int, Landmark] = field(default_factory=dict)
    written: dict[Cell, int] = field(default_factory=dict)
    saw_the_past: bool = False
    furthest: int = 0  # the highest position that was ever applied

    @property
    def done(self) -> bool:
        """Everything in the log is applied."""
        return self.progress.next_offset >= len(self.log)

    def poll(self, random: Random) -> None:
        """A sink takes the next records; a sink before it may still hold the same ones (a zombie)."""
        known = self.progress
        self.in_flight.append(Batch(known, self.log[known.next_offset : known.next_offset + random.randint(1, 3)]))

    def commit(self, random: Random) -> None:
        """One sink in flight commits its batch, or finds that it is no longer the owner, or crashes before."""
        if not self.in_flight:
            return
        batch = self.in_flight.pop(random.randrange(len(self.in_flight)))
        current = (self.progress.epoch, self.progress.next_offset)
        if Rule.FENCE in self.target.rules and (batch.known.epoch, batch.known.next_offset) != current:
            return
        if random.random() < 0.1:
            return
        progress = batch.known
        for record in batch.records:
            admission, admitted = admit(progress, record, self.target.rules)
            progress = admission.now
            for mark in admission.landmarks:
                self._write_down(mark)
            if admitted:
                self._apply(record)
        self.progress = progress

    def replay(self, random: Random) -> None:
        """Go back to any offset: a new epoch, and the skip rule starts anew."""
        if self.progress.next_offset:
            offset = random.randrange(self.progress.next_offset)
            places = (Place(number, self.log[number].stamp) for number in range(offset, len(self.log)))
            self.progress = rewound(self.progress, offset, list(self.landmarks.values()), places)
            self.written.clear()

    def _write_down(self, mark: Landmark) -> None:
        """As widebeam.generations keeps them: the first beginning, the first gap."""
        known = self.landmarks.get(mark.generation)
        if known is None:
            began = mark.broke_offset if mark.began_offset is None else mark.began_offset
            self.landmarks[mark.generation] = mark._replace(began_offset=began)
        elif known.broke_offset is None:
            self.landmarks[mark.generation] = known._replace(broke_offset=mark.broke_offset)

    def _apply(self, record: Record) -> None:
        position = record.stamp.position
        self.furthest = max(self.furthest, position)
        match record:
            case Truncated():
                self.target.truncate(position)
            case Changes(_, _, wide, _, rows):
                cells = [(str(key), _text(op, value)) for op, key, value in rows]
                self._note(str(wide["ship"]), str(wide["time"]), cells, position)
                self.target.change((str(wide["ship"]), str(wide["time"])), cells, position)
            case Barrier():
                raise AssertionError("nobody emits one here")

    def _note(self, ship: str, time: str, cells: list[tuple[str, str | None]], position: int) -> None:
        """Remember which change readers saw last in each cell."""
        for key, _ in cells:
            cell = Cell(ship, time, key)
            self.saw_the_past |= position < self.written.get(cell, 0)
            self.written[cell] = position


def _text(op: Value, value: Value) -> str | None:
    """What a row sets its cell to; None clears it."""
    return None if op in (Op.DELETE, Op.MOVE) or value is None else str(value)
