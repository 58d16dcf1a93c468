"""Periods: the ranges of time that the partitions of a wide table are for. Pure.

There is no DEFAULT partition: to make one beside it would lock and read all of it, and fail where it has rows of the
range. Every reading's time has a period instead, whose partition is made before the reading comes: one for all
before the year 1 with -infinity, one for all from the year 10000 on with infinity, and between the two those of a
calendar in UTC.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, timedelta
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from cdc.source.time_encoding import parsed, printed

Unit = Literal["year", "month", "week", "day"]

_DAY: Final = 86_400_000_000
_EPOCH: Final = date(1970, 1, 1).toordinal()
_BOUNDS: Final = re.compile(r"FOR VALUES FROM \((.+)\) TO \((.+)\)")
_SENTINELS: Final = {"MINVALUE": -(2**64), "-infinity": -(2**63), "infinity": 2**63, "MAXVALUE": 2**64}
_NAMED: Final = {moment: text for text, moment in _SENTINELS.items()}
FIRST: Final = _SENTINELS["MINVALUE"]
LAST: Final = _SENTINELS["MAXVALUE"]


class Span(NamedTuple):
    """A half-open range of moments, in microseconds since 1970-01-01 UTC; FIRST and LAST are its open ends."""

    lower: int
    upper: int


class Period(NamedTuple):
    """A range of time and what its partition is named after."""

    name: str
    span: Span


_YEAR_1: Final = (date.min.toordinal() - _EPOCH) * _DAY
_YEAR_10000: Final = (date.max.toordinal() + 1 - _EPOCH) * _DAY
EARLY: Final = Period("early", Span(FIRST, _YEAR_1))
LATE: Final = Period("late", Span(_YEAR_10000, LAST))


def day_of(time: str) -> str | None:
    """The day of a time as the server prints it in UTC: all that its period depends on. None: it is no time.

    All days before the year 1 are one, and so are all from the year 10000 on.
    """
    if time.endswith("BC") or time == "-infinity":
        return "-infinity"
    if time == "infinity" or (time[4:5].isdigit() and time[5:6] in "0123456789-"):
        return "infinity"
    return time[:10] if len(time) >= 10 else None


@lru_cache(maxsize=65_536)
def period_of(day: str, unit: Unit) -> Period | None:
    """The period of a `day_of`; None where it is none."""
    if day in ("infinity", "-infinity"):
        return LATE if day == "infinity" else EARLY
    try:
        found = date.fromisoformat(day)
    except ValueError:
        return None
    match unit:
        case "year":
            return _period(f"{found.year:04}", found.replace(month=1, day=1), _first_of(found.year + 1, 1))
        case "month":
            following = _first_of(found.year + found.month // 12, found.month % 12 + 1)
            return _period(f"{found.year:04}_{found.month:02}", found.replace(day=1), following)
        case "week":
            monday = found - timedelta(days=found.weekday())  # 0001-01-01 is one
            year, week, _ = found.isocalendar()
            return _period(f"{year:04}_w{week:02}", monday, _after(monday, 7))
        case "day":
            return _period(f"{found.year:04}_{found.month:02}_{found.day:02}", found, _after(found, 1))


def following(period: Period, unit: Unit) -> Period | None:
    """The next period; None after the last of the calendar."""
    if period in (EARLY, LATE) or period.span.upper == _YEAR_10000:
        return None
    return period_of(date.fromordinal(period.span.upper // _DAY + _EPOCH).isoformat(), unit)


def with_years(period: Period) -> Period:
    """The years in which a period lies, as one; the ends have none."""
    if period in (EARLY, LATE):
        return period
    days = (date.fromordinal(moment // _DAY + _EPOCH) for moment in (period.span.lower, period.span.upper - 1))
    first, last = (_period(f"{day.year:04}", day.replace(month=1, day=1), _first_of(day.year + 1, 1)) for day in days)
    return Period(first.name, Span(first.span.lower, last.span.upper))


def gaps(span: Span, there: Iterable[Span], reach: Span | None = None) -> list[Span]:
    """What of a range no partition covers that is there; of each gap as much as lies in `reach`, a wider one."""
    reach = span if reach is None else reach
    found, begin = [], FIRST
    for each in [*sorted(there), Span(LAST, LAST)]:
        gap = Span(begin, each.lower)
        within = Span(max(gap.lower, span.lower), min(gap.upper, span.upper))
        if within.lower < within.upper:
            found.append(Span(max(gap.lower, reach.lower), min(gap.upper, reach.upper)))
        begin = max(begin, each.upper)
    return found


def span_of(bounds: str) -> Span:
    """The range of a partition as pg_get_expr prints it in UTC; ValueError for another kind of partition."""
    match = _BOUNDS.fullmatch(bounds)
    if match is None:
        raise ValueError(f"not the bounds of a range of time: {bounds}")
    return Span(_bound(match[1]), _bound(match[2]))


def bound_text(moment: int, type_text: str) -> str:
    """A bound as text: MINVALUE, MAXVALUE, or a time of this type in UTC."""
    if moment in _NAMED:
        return _NAMED[moment]
    text = printed(moment, zoned=type_text.endswith("with time zone"))
    return text.split(" ")[0] if type_text == "date" else text


def _bound(text: str) -> int:
    bare = text.strip("'")
    return _SENTINELS[bare] if bare in _SENTINELS else parsed(bare)


def _period(name: str, lower: date, upper: int) -> Period:
    return Period(name, Span(_moment(lower), upper))


def _moment(day: date) -> int:
    return (day.toordinal() - _EPOCH) * _DAY


def _after(day: date, days: int) -> int:
    return min(_moment(day) + days * _DAY, _YEAR_10000)


def _first_of(year: int, month: int) -> int:
    return _YEAR_10000 if year > date.max.year else _moment(date(year, month, 1))
