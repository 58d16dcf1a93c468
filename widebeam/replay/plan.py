"""From where to where each partition would be applied again, and why that may not be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple

from cdc.lsn import Lsn
from sink.fold.progress import Landmark, Progress
from sink.fold.rewind import Place, Stretch, rewound, stretches
from widebeam.replay.log import LogWindow
from widebeam.replay.point import FromLsn, FromTime, Offsets, Point

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ReplayRefused(Exception):
    """It cannot be gone back to that point; `reasons` says why, for each partition that stands in the way."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class Known(NamedTuple):
    """What the target says of a partition."""

    progress: Progress
    commit_time: datetime | None
    landmarks: list[Landmark]
    floor: int = 0


class Origin(NamedTuple):
    """Where a connector's log began: the slot's consistent point, and when that was."""

    cutoff: Lsn
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Step:
    """One partition: its records from `back.next_offset` on and before `upto` are applied again.

    `position` and `at` are those of the first of them, None if it is not ours. `earliest` is the oldest offset kept.
    """

    back: Progress
    upto: int
    earliest: int
    position: Lsn | None
    at: datetime | None

    @property
    def records(self) -> int:
        """How many offsets lie between."""
        return self.upto - self.back.next_offset

    def as_dict(self) -> dict[str, Any]:
        """For JSON and for the audit."""
        return {
            "partition": self.back.partition,
            "from": self.back.next_offset,
            "to": self.upto,
            "records": self.records,
            "earliest": self.earliest,
            "position": None if self.position is None else str(self.position),
            "at": None if self.at is None else self.at.isoformat(),
        }


def steps(log: LogWindow, known: list[Known], origin: Origin, point: Point) -> list[Step]:
    """The partitions that go back, the others left out. Raises ReplayRefused with all that stands in the way."""
    planner = _Planner(log, origin)
    found = [planner.step(each, point) for each in known]
    if not planner.refused and not isinstance(point, Offsets) and not any(found):
        newest = max((each.progress.high for each in known), default=Lsn(0))
        times = [each.commit_time for each in known if each.commit_time is not None]
        last = f", committed at {max(times).isoformat()}" if times else ""
        planner.refused.append(f"{point} is in the future: the newest change that was applied is {newest}{last}")
    if planner.refused:
        raise ReplayRefused(planner.refused)
    return [each for each in found if each is not None]


class _Planner:
    """Plans partition by partition; `refused` gathers why not."""

    def __init__(self, log: LogWindow, origin: Origin) -> None:
        self._log, self._origin = log, origin
        self.refused: list[str] = []

    def step(self, known: Known, point: Point) -> Step | None:
        """How this partition goes back; None if nothing of it is to be applied again, or it is refused."""
        now = known.progress
        first = max(self._log.bounds(now.partition)[0], known.floor)
        match point:
            case Offsets(by_partition):
                offset = by_partition.get(now.partition, now.next_offset)
                if not self._kept(known, first, offset):
                    return None
            case FromLsn() | FromTime():
                place = self._sought(known, first, point)
                if place is None:
                    return None
                offset = place.offset
        return None if offset == now.next_offset else self._step(known, first, offset)

    def _kept(self, known: Known, first: int, offset: int) -> bool:
        now = known.progress
        where = f"partition {now.partition}: offset {offset} is"
        if offset < known.floor:
            self.refused.append(
                f"{where} before something was mended that no record brings (a gap, rows that came without an event)"
                f", and would undo it: {first} is the earliest"
            )
            return False
        if offset < first and offset != now.next_offset:
            self.refused.append(f"{where} no longer in Kafka, whose retention has left {first} as the earliest")
            return False
        if offset > now.next_offset:
            self.refused.append(f"{where} in the future: the next one to be applied is {now.next_offset}")
            return False
        return True

    def _sought(self, known: Known, first: int, point: FromLsn | FromTime) -> Place | None:
        """The first record to be applied again; None if there is none, or some of them may be gone."""
        now, parts = known.progress, stretches(known.landmarks, first, known.progress.next_offset)
        oldest = self._oldest(now.partition, parts)
        if self._incomplete(known, first, oldest, point):
            return None
        found = (self._log.first_reached(now.partition, each, point.reached) for each in parts)
        return next((place for place in found if place is not None), None)

    def _oldest(self, partition: int, parts: list[Stretch]) -> Place | None:
        found = (self._log.first(partition, each) for each in parts)
        return next((place for place in found if place is not None), None)

    def _incomplete(self, known: Known, first: int, oldest: Place | None, point: FromLsn | FromTime) -> bool:
        """Whether records that the point asks for have left the log, or may have, or never were in it."""
        if first == 0:
            earliest = self._before_origin(point)
        elif oldest is None:
            earliest = "none, for nothing of it is left" if _may_be_gone(known, point) else None
        else:
            earliest = _before(oldest, point)
        if earliest is not None:
            place = f"partition {known.progress.partition}"
            self.refused.append(f"{place}: {point} is before what Kafka has kept; the earliest is {earliest}")
        return earliest is not None

    def _before_origin(self, point: FromLsn | FromTime) -> str | None:
        """The earliest point of a log that is whole, if the point is before it: that came by the backfill."""
        if isinstance(point, FromLsn):
            return f"LSN {self._origin.cutoff}" if point.lsn < self._origin.cutoff else None
        created = self._origin.created_at
        return f"time {created.isoformat()}" if point.at < created else None

    def _step(self, known: Known, first: int, offset: int) -> Step:
        now = known.progress
        found: Iterator[Place] = self._log.records(now.partition, offset, now.next_offset)
        head = next(found, None)
        back = rewound(now, offset, known.landmarks, found if head is None else chain([head], found))
        stamp = None if head is None else head.stamp
        return Step(
            back,
            now.next_offset,
            first,
            None if stamp is None else stamp.position,
            None if stamp is None else _time(stamp.commit_time),
        )


def _time(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _before(oldest: Place, point: FromLsn | FromTime) -> str | None:
    """The earliest point of a log that begins with `oldest`, if the point is before it.

    Of the transaction in which the log begins, earlier records may be gone: the point has to be behind it.
    """
    if not point.reached(oldest.stamp):
        return None
    if isinstance(point, FromLsn):
        return f"LSN {Lsn(oldest.stamp.position + 1)} (offset {oldest.offset})"
    at = _time(oldest.stamp.commit_time) + (point.at - point.earliest) + timedelta(microseconds=1)
    return f"time {at.isoformat()} (offset {oldest.offset})"


def _may_be_gone(known: Known, point: FromLsn | FromTime) -> bool:
    """Nothing that was applied is left in the log: whether any of it was behind the point."""
    if known.progress.next_offset == 0:
        return False
    if isinstance(point, FromLsn):
        return known.progress.high == 0 or known.progress.high >= point.lsn
    return known.commit_time is None or known.commit_time >= point.earliest
