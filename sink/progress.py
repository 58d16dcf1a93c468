"""How far a partition is applied, and which of the records that follow are to be applied. Pure.

Source of the rules: generation, sequence, skip; each is there because the log loses or repeats records otherwise
(tests/model shows a history for each).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from cdc.lsn import Lsn
from cdc.record import Barrier, Record


class Progress(NamedTuple):
    """One row of widebeam.progress: what the compare-and-set compares, and what the rules need.

    `broken` tells that the generation has a gap: nothing more of it is taken until the next one begins.
    """

    partition: int
    epoch: int = 0
    next_offset: int = 0
    high: Lsn = Lsn(0)
    generation: int = 0
    next_sequence: int = 0
    broken: bool = False
    barrier: Lsn = Lsn(0)


class Landmark(NamedTuple):
    """Where a generation began in a partition, and where it broke; None where it did not (as far as was seen)."""

    partition: int
    generation: int
    began_offset: int | None
    broke_offset: int | None


@dataclass(slots=True)
class Admission:
    """The records of one partition in one batch: `known` is where it starts, `now` where it has come to."""

    known: Progress
    now: Progress = field(init=False)
    landmarks: list[Landmark] = field(default_factory=list)
    skipped: int = 0
    rows: int = 0
    cells: int = 0
    commit_time: int | None = None

    def __post_init__(self) -> None:
        self.now = self.known

    def admit(self, offset: int, record: Record) -> bool:
        """Whether to apply the record at this offset. Records come in the order of their offsets."""
        applicable = self._in_sequence(offset, record) and record.stamp.position >= self.now.high
        if applicable:
            barrier = record.stamp.position if isinstance(record, Barrier) else self.now.barrier
            self.now = self.now._replace(high=record.stamp.position, barrier=max(barrier, self.now.barrier))
            self.commit_time = record.stamp.commit_time
        else:
            self.skipped += 1
        self.pass_over(offset)
        return applicable

    def pass_over(self, offset: int) -> None:
        """Leave behind what lies at this offset: applied, dropped, or no record of ours at all."""
        self.now = self.now._replace(next_offset=offset + 1)

    def _in_sequence(self, offset: int, record: Record) -> bool:
        """The generation's rule: an older one is a zombie's, and after a gap the next one brings everything again."""
        stamp, now = record.stamp, self.now
        if stamp.generation < now.generation:
            return False
        if stamp.generation > now.generation:
            now = now._replace(generation=stamp.generation, next_sequence=0, broken=False)
            self.landmarks.append(Landmark(now.partition, now.generation, offset, None))
        if not now.broken and stamp.sequence != now.next_sequence:
            now = now._replace(broken=True)
            self.landmarks.append(Landmark(now.partition, now.generation, None, offset))
        self.now = now._replace(next_sequence=stamp.sequence + 1)
        return not now.broken
