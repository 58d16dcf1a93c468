"""How far a partition is applied, and which of the records that follow are to be applied. Pure.

Source of the rules: generation, sequence, skip; each is there because the log loses or repeats records otherwise
(tests/model shows a history for each).
"""

from __future__ import annotations

from typing import NamedTuple

from cdc.lsn import Lsn
from cdc.record.record import Barrier, Record, Stamp


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
    """Where a generation began in a partition, and where it broke; None where it did not (as far as was seen).

    `high` is the highest position that had been applied when it began.
    """

    partition: int
    generation: int
    began_offset: int | None
    broke_offset: int | None
    high: Lsn = Lsn(0)


class Admission:
    """The records of one partition in one batch: `known` is where it starts, `now` where it has come to."""

    def __init__(self, known: Progress) -> None:
        self.known = known
        self._offset, self._high, self._generation = known.next_offset, known.high, known.generation
        self._sequence, self._broken, self._barrier = known.next_sequence, known.broken, known.barrier
        self.landmarks: list[Landmark] = []
        self.skipped = self.rows = self.cells = 0
        self.commit_time: int | None = None

    @property
    def next_offset(self) -> int:
        """The offset of the record that comes next."""
        return self._offset

    @property
    def now(self) -> Progress:
        """How far the partition is with what was admitted."""
        partition, epoch = self.known.partition, self.known.epoch
        return Progress(
            partition, epoch, self._offset, self._high, self._generation, self._sequence, self._broken, self._barrier
        )

    def admit(self, offset: int, record: Record) -> bool:
        """Whether to apply the record at this offset. Records come in the order of their offsets."""
        self._offset = offset + 1
        position = record.stamp.position
        if not self._in_sequence(offset, record.stamp) or position < self._high:
            self.skipped += 1
            return False
        self._high = position
        self.commit_time = record.stamp.commit_time
        if isinstance(record, Barrier):
            self._barrier = position
        return True

    def pass_over(self, offset: int) -> None:
        """Leave behind what lies at this offset and is no record of ours."""
        self._offset = offset + 1

    def _in_sequence(self, offset: int, stamp: Stamp) -> bool:
        """The generation's rule: an older one is a zombie's, and after a gap the next one brings everything again."""
        if stamp.generation < self._generation:
            return False
        if stamp.generation > self._generation:
            self._generation, self._sequence, self._broken = stamp.generation, 0, False
            self.landmarks.append(Landmark(self.known.partition, stamp.generation, offset, None, self._high))
        if not self._broken and stamp.sequence != self._sequence:
            self._broken = True
            self.landmarks.append(Landmark(self.known.partition, stamp.generation, None, offset, self._high))
        self._sequence = stamp.sequence + 1
        return not self._broken
