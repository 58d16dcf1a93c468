"""Time zones by the rules of one package for all processes. Pure.

The machine's own files are never asked: capture, sink, backfill and verify may run on different ones, and an update
of one of them would move instants that are written already. Times are microseconds, local ones since 1970-01-01 00:00
of the clock on the wall. What lies outside the years 1 to 9999 is an OverflowError.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from hashlib import sha256
from importlib import metadata, resources
from typing import Final
from zoneinfo import ZoneInfo

_NAME: Final = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1)
_MICROSECOND: Final = timedelta(microseconds=1)
_LOOK: Final = 3 * 86_400_000_000
"""Clocks that are changed twice in so many microseconds, and back, are not seen by `changes`: there are none."""


class UnknownZone(ValueError):
    """The package has no time zone of that name."""


@cache
def rules() -> str:
    """Whose rules these are: the package and its version."""
    return f"tzdata {metadata.version('tzdata')}"


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    """The rules of a zone. Raises UnknownZone."""
    try:
        if _NAME.fullmatch(name) is None:
            raise ValueError(name)
        with resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as file:
            return ZoneInfo.from_file(file, key=name)
    except (OSError, ValueError):
        raise UnknownZone(f"{rules()} has no time zone {name!r}") from None


def offset(moment: int, name: str) -> int:
    """How far the clocks are ahead of UTC at a moment."""
    utc = (_EPOCH + timedelta(microseconds=moment)).replace(tzinfo=UTC)
    return _microseconds(utc.astimezone(zone(name)).utcoffset())


def clock(moment: int, name: str) -> int:
    """What the clocks show at a moment."""
    return moment + offset(moment, name)


def offsets(local: int, name: str) -> tuple[int, int]:
    """By how much clocks that show a local time may be ahead, before and after a change: mostly the same."""
    naive = _EPOCH + timedelta(microseconds=local)
    before, after = (naive.replace(tzinfo=zone(name), fold=fold).utcoffset() for fold in (0, 1))
    return _microseconds(before), _microseconds(after)


def instant(local: int, name: str) -> int:
    """The moment that a local time means, as PostgreSQL takes it: of two the later one, which is standard time; one
    that is skipped is told by the rules from before."""
    return local - min(offsets(local, name))


def is_skipped(local: int, name: str) -> bool:
    """Do the clocks never show it, since they are put forward?"""
    before, after = offsets(local, name)
    return before < after and clock(local - before, name) != local


def first_shown(local: int, name: str) -> int:
    """The first moment at which the clocks show a local time, or are put forward over it."""
    early, late = sorted(local - each for each in offsets(local, name))
    if clock(early, name) >= local:
        return early
    while late - early > 1:
        middle = (early + late) // 2
        early, late = (early, middle) if clock(middle, name) >= local else (middle, late)
    return late


def local_from(moment: int, name: str) -> int:
    """The first local time that means a moment or a later one (see `instant`)."""
    late = clock(moment, name)
    ahead = instant(late, name) - moment
    if ahead <= 0:
        return late
    early = late - ahead  # the clocks show it twice, and it means the second time: so do all since the first such one
    while late - early > 1:
        middle = (early + late) // 2
        early, late = (early, middle) if instant(middle, name) >= moment else (middle, late)
    return late


def _microseconds(span: timedelta | None) -> int:
    return 0 if span is None else span // _MICROSECOND


@lru_cache(maxsize=64)
def changes(name: str) -> tuple[tuple[int, int], ...]:
    """When the clocks are changed, from 1800 to 2100, and to which offset: at the begin, too. In order."""
    moment, end = (_days(datetime(year, 1, 1)) for year in (1800, 2100))
    found = [(moment, offset(moment, name))]
    while moment < end:
        later = moment + _LOOK
        if offset(later, name) != found[-1][1]:
            changed = _change(moment, later, name)
            found.append((changed, offset(changed, name)))
            later = changed
        moment = later
    return tuple(found)


def fingerprint(name: str) -> str:
    """What a zone's rules come to: another one with other rules, whatever their files look like."""
    return sha256(repr(changes(name)).encode()).hexdigest()[:16]


def _change(early: int, late: int, name: str) -> int:
    """The first moment in (early, late] with another offset than at `early`."""
    before = offset(early, name)
    while late - early > 1:
        middle = (early + late) // 2
        early, late = (middle, late) if offset(middle, name) == before else (early, middle)
    return late


def _days(day: datetime) -> int:
    return (day - _EPOCH) // _MICROSECOND
