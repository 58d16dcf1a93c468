"""The point to go back to, as it was asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cdc.lsn import Lsn
from cdc.record.record import Stamp

_OFFSETS: Final = 1 << 63
_DISORDER: Final = timedelta(seconds=1)
"""Transactions that commit at the same time can be in another order in the log than their clocks say."""


class BadPoint(Exception):
    """What was asked for is no point; `mistakes` says all that is wrong with it."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__(f"no point to replay from: {'; '.join(mistakes)}")
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Offsets:
    """An offset for each partition that goes back; the others stay where they are."""

    by_partition: dict[int, int]

    def __str__(self) -> str:
        return "offset " + ", ".join(f"{number}:{offset}" for number, offset in sorted(self.by_partition.items()))


@dataclass(frozen=True, slots=True)
class FromLsn:
    """The commit LSN of the first transaction to apply again, or one before it."""

    lsn: Lsn

    def __str__(self) -> str:
        return f"LSN {self.lsn}"

    def reached(self, stamp: Stamp) -> bool:
        """Whether this record, or one before it in its run of capture, is to be applied again."""
        return stamp.position >= self.lsn


@dataclass(frozen=True, slots=True)
class FromTime:
    """The commit time of the first transaction to apply again; the last second before it is applied again, too."""

    at: datetime

    def __str__(self) -> str:
        return f"time {self.at.isoformat()}"

    @property
    def earliest(self) -> datetime:
        """From when on records are wanted."""
        return self.at - _DISORDER

    def reached(self, stamp: Stamp) -> bool:
        """Whether this record, or one before it in its run of capture, is to be applied again."""
        return stamp.commit_time >= self.earliest.timestamp() * 1_000_000


Point = Offsets | FromLsn | FromTime


def parse(offsets: Iterable[str], lsn: str | None, time: str | None, partitions: int) -> Point:
    """The point that the options say. Raises BadPoint with everything that is wrong with them."""
    given = [text.strip() for option in offsets for text in option.split(",")]
    mistakes: list[str] = []
    if sum((bool(given), lsn is not None, time is not None)) != 1:
        mistakes.append("say exactly one of --from-offset, --from-lsn and --from-time")
    found: list[Point] = []
    if given:
        found.append(_offsets(given, partitions, mistakes))
    if lsn is not None:
        found += _lsn(lsn, mistakes)
    if time is not None:
        found += _time(time, mistakes)
    if mistakes:
        raise BadPoint(mistakes)
    return found[0]


def _offsets(given: list[str], partitions: int, mistakes: list[str]) -> Offsets:
    """`P:OFFSET` for one partition, or an offset alone for all of them."""
    found: dict[int, int] = {}
    for text in given:
        left, colon, right = text.partition(":")
        number, offset = (_number(left), _number(right)) if colon else (0, _number(left))
        if number is None or offset is None or offset >= _OFFSETS:
            mistakes.append(f"--from-offset {text!r} is neither PARTITION:OFFSET nor an offset for all partitions")
        elif not colon and len(given) > 1:
            mistakes.append(f"--from-offset {text!r} is for all partitions: it cannot stand beside others")
        elif number >= partitions:
            mistakes.append(f"--from-offset {text!r}: there is no partition {number}, but 0 to {partitions - 1}")
        elif number in found:
            mistakes.append(f"--from-offset {text!r}: partition {number} is named twice")
        else:
            found |= {number: offset} if colon else dict.fromkeys(range(partitions), offset)
    return Offsets(found)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _lsn(text: str, mistakes: list[str]) -> list[Point]:
    try:
        return [FromLsn(Lsn.parse(text))]
    except ValueError:
        mistakes.append(f"--from-lsn {text!r} is no LSN, as in 16/B374D848")
        return []


def _time(text: str, mistakes: list[str]) -> list[Point]:
    """An ISO time; without an offset it is UTC."""
    try:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        FromTime(at).earliest.timestamp()  # not out of range
        return [FromTime(at)]
    except (ValueError, OverflowError):
        mistakes.append(f"--from-time {text!r} is no time, as in 2026-01-31T12:00:00Z (UTC, if it says nothing else)")
        return []
