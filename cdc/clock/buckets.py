"""Buckets of time: multiples of a span, or days and hours of a time zone, as its clocks show them. Pure.

Moments are microseconds since 1970-01-01 UTC. Where a zone is named, a bucket is what PostgreSQL's date_trunc makes
one: days and hours are told by the clock on the wall, so that a day may have 23 or 25 hours, and an hour that comes
twice is two buckets (a longer span that contains it is one). Without a zone a reading goes to the nearest multiple.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from cdc.clock import zones

_HOUR: Final = 3_600_000_000


def rounded(value: int, size: int) -> int:
    """The nearest multiple, halves upwards."""
    return (value + size // 2) // size * size


@lru_cache(maxsize=65_536)
def begin(moment: int, size: int, zone: str) -> int:
    """The begin of the bucket of a zone, which is its name. Raises OverflowError."""
    ahead = zones.offset(moment, zone)
    floor = (moment + ahead) // size * size
    return floor - ahead if size <= _HOUR else zones.instant(floor, zone)


@lru_cache(maxsize=4_096)
def borders(moment: int, size: int, zone: str | None) -> tuple[int, int]:
    """A half-open range of moments that holds the bucket of a moment, and parts no other one either. OverflowError.

    Mostly the bucket itself. Where clocks go back over midnight into the day before, days are no ranges: then it is
    two of them together.
    """
    if zone is None:
        lower = rounded(moment, size) - size // 2
        return lower, lower + size
    return _short(moment, size, zone) if size <= _HOUR else _long(moment, size, zone)


def _short(moment: int, size: int, zone: str) -> tuple[int, int]:
    """Of an hour at most: as long as the clock shows it under one offset, or under two if the begin is the same.

    (In Newfoundland clocks went back at a minute past midnight: the first minute of a half hour is of one offset.)
    """
    own = begin(moment, size, zone)
    lower, upper = _under_one_offset(moment, size, zone)
    while begin(lower - 1, size, zone) == own:
        lower, _ = _under_one_offset(lower - 1, size, zone)
    while begin(upper, size, zone) == own:
        _, upper = _under_one_offset(upper, size, zone)
    return lower, upper


def _under_one_offset(moment: int, size: int, zone: str) -> tuple[int, int]:
    ahead = zones.offset(moment, zone)
    lower = (moment + ahead) // size * size - ahead
    upper = lower + size
    if zones.offset(lower, zone) != ahead:
        lower = _first(lower, moment, lambda each: zones.offset(each, zone) == ahead)
    if zones.offset(upper - 1, zone) != ahead:
        upper = _first(moment, upper - 1, lambda each: zones.offset(each, zone) != ahead)
    return lower, upper


def _long(moment: int, size: int, zone: str) -> tuple[int, int]:
    lower = zones.clock(moment, zone) // size * size
    upper = lower + size
    while _is_left_again(lower, zone):
        lower -= size
    while _is_left_again(upper, zone):
        upper += size
    return zones.first_shown(lower, zone), zones.first_shown(upper, zone)


def _is_left_again(local: int, zone: str) -> bool:
    """Do the clocks go back over a local time to before it?"""
    return all(before > after for before, after in (zones.offsets(each, zone) for each in (local, local - 1)))


def _first(early: int, late: int, holds: Callable[[int], bool]) -> int:
    """The first moment in (early, late] at which it holds, as it does at `late`."""
    while late - early > 1:
        middle = (early + late) // 2
        early, late = (early, middle) if holds(middle) else (middle, late)
    return late
