"""Moments: how the time columns of a narrow table become the time of a wide row. Pure, and exact: whole numbers only.

A moment is counted in microseconds since 1970-01-01 UTC. Infinity and BC are PostgreSQL's, and stay what they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo

TimeForm = Literal["native", "epoch_s", "epoch_ms", "epoch_us", "epoch_float", "s_ns"]

_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_UNIT: Final = {"epoch_s": _SECOND, "epoch_ms": 1_000, "epoch_us": 1}
_CYCLE: Final = 146_097  # days of 400 years, after which the calendar repeats itself
_EPOCH: Final = date(1970, 1, 1).toordinal()
_PRINTED: Final = re.compile(
    r"(\d{4,})-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:\+00)?)?( BC)?", re.ASCII
)
_WHOLE: Final = re.compile(r"-?\d+", re.ASCII)
_FIRST: Final = -210_866_803_200 * _SECOND  # 4714-11-24 BC, PostgreSQL's first timestamp
_END: Final = 9_224_318_016_000 * _SECOND  # 294277-01-01, just after its last
_HALF: Final = Decimal("0.5")
_INFINITE: Final = frozenset(("infinity", "-infinity"))


class Untimely(ValueError):
    """A time that no wide row can have: `reason` for the quarantine, and what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class TimeRule:
    """How raw time values become wide ones.

    `zone` is the time zone of a local `timestamp` column, whose wide column is a timestamptz. `bucket` rounds to the
    nearest multiple of so many microseconds since 1970-01-01 UTC, halves upwards; 0: as it is. `zoned` says that a
    native column is a timestamptz.
    """

    form: TimeForm = "native"
    zone: str | None = None
    bucket: int = 0
    zoned: bool = False

    @property
    def verbatim(self) -> bool:
        """The wide time is the raw one, text by text."""
        return self.form == "native" and self.zone is None and not self.bucket

    @property
    def merges(self) -> bool:
        """Several raw times can become one wide time."""
        return self.bucket > 0 or self.form == "epoch_float"

    def wide(self, raw: tuple[str, ...]) -> tuple[str, ...]:
        """The wide time of raw time values, as the server prints it in UTC. Raises Untimely."""
        return raw if self.verbatim or not raw else _wide(self, raw)

    def moment(self, raw: tuple[str, ...]) -> int | None:
        """The moment of raw time values, before it is rounded to a bucket; None for infinity. Raises Untimely.

        (Of s_ns the whole microsecond below.)
        """
        return _moment(self, raw)

    def borders(self, moment: int) -> tuple[int, int]:
        """The bucket that a moment falls into, as the half-open range of the moments in it."""
        size = self.bucket or 1
        lower = (moment + size // 2) // size * size - size // 2
        return lower, lower + size


@lru_cache(maxsize=65_536)
def _wide(rule: TimeRule, raw: tuple[str, ...]) -> tuple[str, ...]:
    if rule.form == "s_ns":
        return _with_nanoseconds(rule, raw)
    moment = _moment(rule, raw)
    if moment is None:
        return raw
    moment = _rounded(moment, rule.bucket)
    if not _FIRST <= moment < _END:
        raise Untimely("time_out_of_range", f"the time {raw[0]!r} is none that a timestamp can hold")
    zoned = rule.zoned or rule.zone is not None or rule.form != "native"
    return (printed(moment, zoned=zoned),)


def _with_nanoseconds(rule: TimeRule, raw: tuple[str, ...]) -> tuple[str, ...]:
    """Seconds as a timestamptz, and the nanoseconds beside them as they are."""
    total = _rounded(_whole(raw[0]) * 1_000_000_000 + _whole(raw[1]), rule.bucket * 1000)
    seconds = total // 1_000_000_000 if rule.bucket else _whole(raw[0])
    if not _FIRST <= seconds * _SECOND < _END:
        raise Untimely("time_out_of_range", f"the time {raw[0]!r} is none that a timestamp can hold")
    nanoseconds = total - seconds * 1_000_000_000
    return printed(seconds * _SECOND, zoned=True), str(nanoseconds)


def _moment(rule: TimeRule, raw: tuple[str, ...]) -> int | None:
    text = raw[0]
    match rule.form:
        case "native":
            if text in _INFINITE:
                return None
            moment = parsed(text)
            return moment if rule.zone is None else _in_zone(moment, rule.zone, text)
        case "epoch_float":
            return _decimal(text)
        case "s_ns":
            return (_whole(text) * 1_000_000_000 + _whole(raw[1])) // 1000
        case form:
            return _whole(text) * _UNIT[form]


def parsed(text: str) -> int:
    """The moment of a date, timestamp or timestamptz as the server prints it in UTC, infinity excepted."""
    match = _PRINTED.fullmatch(text)
    if match is None:
        raise Untimely("bad_time", f"{text!r} is no time")
    year, month, day, *clock = match.groups()[:6]
    hours, minutes, seconds = (int(each or 0) for each in clock)
    days = _days(1 - int(year) if match[8] else int(year), int(month), int(day))
    fraction = int((match[7] or "").ljust(6, "0"))
    return days * _DAY + ((hours * 60 + minutes) * 60 + seconds) * _SECOND + fraction


def printed(moment: int, *, zoned: bool) -> str:
    """A moment as the server prints it in UTC: as a timestamptz or as a timestamp."""
    days, rest = divmod(moment, _DAY)
    cycles, day = divmod(days + _EPOCH - 1, _CYCLE)
    found = date.fromordinal(day + 1)
    year = found.year + 400 * cycles
    seconds, fraction = divmod(rest, _SECOND)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    tail = f".{fraction:06}".rstrip("0") if fraction else ""
    era, shown = (" BC", 1 - year) if year < 1 else ("", year)
    return f"{shown:04}-{found.month:02}-{found.day:02} {clock}{tail}{'+00' if zoned else ''}{era}"


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01. Python's dates begin with the year 1, and the calendar repeats itself every 400."""
    cycles, within = divmod(year - 1, 400)
    try:
        return date(within + 1, month, day).toordinal() + cycles * _CYCLE - _EPOCH
    except ValueError:
        raise Untimely("bad_time", f"there is no day {year}-{month}-{day}") from None


def _rounded(value: int, size: int) -> int:
    return (value + size // 2) // size * size if size else value


def _whole(text: str) -> int:
    if _WHOLE.fullmatch(text) is None:
        raise Untimely("bad_time", f"{text[:100]!r} is no whole number")
    return int(text)


def _decimal(text: str) -> int:
    """Seconds with a fraction, rounded to the microsecond by their decimal digits: no float is calculated with."""
    try:
        moment = Decimal(text) * _SECOND + _HALF
        return int(moment.to_integral_value(ROUND_FLOOR))
    except (InvalidOperation, ValueError, OverflowError):
        raise Untimely("bad_time", f"{text[:100]!r} is no time in seconds") from None


def _in_zone(local: int, zone: str, text: str) -> int:
    """A local time in UTC. One that comes twice, in autumn, is taken as standard time, as PostgreSQL does."""
    try:
        naive = datetime(1970, 1, 1) + timedelta(microseconds=local)
    except OverflowError:
        raise Untimely("time_out_of_range", f"the time {text!r} is in no year of 1 to 9999") from None
    offsets = [naive.replace(tzinfo=ZoneInfo(zone), fold=fold).utcoffset() or timedelta() for fold in (0, 1)]
    offset = min(offsets)
    if offsets[0] < offsets[1] and _back(naive - offset, zone) != naive:
        raise Untimely("no_such_time", f"the clocks of {zone} never show {text}: they are put forward then")
    return local - offset // timedelta(microseconds=1)


def _back(utc: datetime, zone: str) -> datetime:
    return utc.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
