"""Moments: how the time columns of a narrow table become the time of a wide row. Pure, and exact: whole numbers only.

A moment is counted in microseconds since 1970-01-01 UTC. Infinity and BC are PostgreSQL's, and stay what they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from functools import lru_cache
from typing import Final, Literal, TypeAlias, get_args

from cdc.clock import buckets, zones
from cdc.clock.time_text import NotWrittenSo, TimeText

TimeForm = Literal["native", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns", "epoch_float", "s_ns", "text"]
FORMS: Final = tuple(form for form in get_args(TimeForm) if form != "text")  # that have a name
Raw: TypeAlias = "tuple[str | None, ...]"
"""The values of a row's time columns."""

_SECOND: Final = 1_000_000
_BILLION: Final = 1_000_000_000  # nanoseconds in a second
_DAY: Final = 86_400 * _SECOND
_BIGINT: Final = 2**63
NANOSECONDS: Final = {"epoch_s": _BILLION, "s_ns": _BILLION, "epoch_ms": 1_000_000, "epoch_us": 1_000, "epoch_ns": 1}
"""How long the unit of a form of whole numbers is; of s_ns that of its first column."""
_CYCLE: Final = 146_097  # days of 400 years, after which the calendar repeats itself
_EPOCH: Final = date(1970, 1, 1).toordinal()
_PRINTED: Final = re.compile(
    r"(\d{4,})-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:\+00)?)?( BC)?", re.ASCII
)
_WHOLE: Final = re.compile(r"-?\d+", re.ASCII)
_FIRST: Final = -210_866_803_200 * _SECOND  # 4714-11-24 BC, PostgreSQL's first timestamp
_END: Final = 9_224_318_016_000 * _SECOND  # 294277-01-01, just after its last
_HALF: Final = Decimal("0.5")
_LONGEST: Final = 40  # digits of a number that is a time
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
    nearest multiple of so many microseconds since 1970-01-01 UTC, halves upwards; 0: as it is. With a `bucket_zone` it
    is what the reading lies in, by the clocks there (cdc/clock/buckets.py). `zoned` says that a native column is a
    timestamptz. `written` is how a text column has its times. A time with parts of a microsecond, which no timestamp
    has, `rounds`, or has no place. With `either` the time is in the first of several columns that is not NULL, and each
    of them is read by the rule in its place.
    """

    form: TimeForm = "native"
    zone: str | None = None
    bucket: int = 0
    zoned: bool = False
    bucket_zone: str | None = None
    written: TimeText | None = None
    rounds: bool = True
    either: tuple[TimeRule, ...] = ()

    @property
    def verbatim(self) -> bool:
        """The wide time is the raw one, text by text."""
        return self.form == "native" and self.zone is None and not self.bucket and not self.either

    @property
    def merges(self) -> bool:
        """Several raw times can become one wide time."""
        fine = self.form in ("epoch_float", "epoch_ns") or (self.written is not None and self.written.fine)
        return self.bucket > 0 or (self.rounds and fine) or self.either != ()

    @property
    def gives_zoned(self) -> bool:
        """The wide time, where it is not the raw one, is a timestamptz."""
        if self.zone is not None or self.zoned:
            return True
        return self.form != "native" if self.written is None else self.written.zoned

    def told(self, raw: Raw) -> bool:
        """Do raw time values say a time at all?"""
        return any(each is not None for each in raw) if self.either else None not in raw

    def wide(self, raw: Raw) -> tuple[str, ...]:
        """The wide time of raw time values that are told, as the server prints it in UTC. Raises Untimely."""
        return raw if self.verbatim or not raw else _wide(self, raw)  # type: ignore[return-value]

    def moment(self, raw: Raw) -> int | None:
        """The moment of raw time values, before it is rounded to a bucket; None for infinity. Raises Untimely.

        (Of s_ns the whole microsecond below.)
        """
        return _moment(self, raw)

    def place(self, raw: Raw) -> str:
        """The moment as a bigint of microseconds, infinity as its ends; empty where there is none to be told.

        So rows lie among ranges of moments, where their time may be in one of several columns.
        """
        try:
            moment = _moment(self, raw) if self.told(raw) else None
        except Untimely:
            return ""
        if moment is None:
            return "" if not self.told(raw) else str(-_BIGINT if _first(raw).startswith("-") else _BIGINT - 1)
        return str(min(max(moment, -_BIGINT), _BIGINT - 1))

    def shown(self, moment: int) -> str:
        """A moment as the wide column has it, where raw times are not taken as they are."""
        return printed(moment, zoned=self.gives_zoned)

    @property
    def zones(self) -> frozenset[str]:
        """The time zones whose rules decide about the wide time."""
        return frozenset(each for each in (self.zone, self.bucket_zone) if each is not None)

    @property
    def parted(self) -> bool:
        """Seconds and nanoseconds in two columns are rounded together: no range of the first one holds all that meet.

        So ranges are of the seconds of the wide time (see `seconds`); `first` tells where in the columns one begins.
        """
        return self.form == "s_ns" and self.bucket > 0 and self.bucket_zone is None

    def borders(self, moment: int) -> tuple[int, int]:
        """A half-open range of moments that parts no bucket, around a moment: its bucket, mostly."""
        try:
            return buckets.borders(moment, self.bucket, self.bucket_zone) if self.bucket else (moment, moment + 1)
        except OverflowError:
            return moment, moment + 1  # in no year of 1 to 9999 there are buckets of a zone

    def bound(self, moment: int) -> int:
        """The first raw value of a native column, as microseconds of its own, that means a moment or a later one."""
        try:
            return moment if self.zone is None else zones.local_from(moment, self.zone)
        except OverflowError:
            return moment  # in no year of 1 to 9999, no local time means anything

    def seconds(self, raw: Raw) -> int:
        """Of seconds and nanoseconds: the seconds of the wide time. Raises Untimely."""
        return _nanoseconds(self, raw) // _BILLION

    def first(self, seconds: int) -> int:
        """The first raw time, in nanoseconds, whose wide time has these seconds or later ones."""
        size = max(self.bucket * 1000, 1)
        return -(-seconds * _BILLION // size) * size - size // 2


@lru_cache(maxsize=65_536)
def _wide(rule: TimeRule, raw: Raw) -> tuple[str, ...]:
    if rule.form == "s_ns":
        return _with_nanoseconds(rule, raw)
    moment, text = _moment(rule, raw), _first(raw)
    if moment is None:
        return (text,)
    moment = _in_bucket(rule, moment, text)
    if not _FIRST <= moment < _END:
        raise Untimely("time_out_of_range", f"the time {text!r} is none that a timestamp can hold")
    return (rule.shown(moment),)


def _first(raw: Raw) -> str:
    """The first that is not NULL."""
    return next(each for each in raw if each is not None)


def _in_bucket(rule: TimeRule, moment: int, text: str) -> int:
    if not rule.bucket:
        return moment
    if rule.bucket_zone is None:
        return buckets.rounded(moment, rule.bucket)
    try:
        return buckets.begin(moment, rule.bucket, rule.bucket_zone)
    except OverflowError:
        raise _out_of_years(text) from None


def _with_nanoseconds(rule: TimeRule, raw: Raw) -> tuple[str, ...]:
    """Seconds as a timestamptz, and the nanoseconds beside them; as they are, where they are not rounded."""
    total = _nanoseconds(rule, raw)
    seconds = total // _BILLION if rule.bucket else _whole(_first(raw))
    if not _FIRST <= seconds * _SECOND < _END:
        raise Untimely("time_out_of_range", f"the time {raw[0]!r} is none that a timestamp can hold")
    return printed(seconds * _SECOND, zoned=True), str(total - seconds * _BILLION)


def _nanoseconds(rule: TimeRule, raw: Raw) -> int:
    """The wide time of seconds and nanoseconds, in nanoseconds."""
    seconds, nanoseconds = (each or "" for each in raw)
    total = _whole(seconds) * _BILLION + _whole(nanoseconds)
    if rule.bucket_zone is not None:
        return _in_bucket(rule, total // 1000, seconds) * 1000
    return buckets.rounded(total, rule.bucket * 1000) if rule.bucket else total


def _moment(rule: TimeRule, raw: Raw) -> int | None:
    if rule.either:
        rule, raw = next((each, (text,)) for each, text in zip(rule.either, raw, strict=True) if text is not None)
    text = raw[0] or ""
    match rule.form:
        case "native":
            if text in _INFINITE:
                return None
            moment = parsed(text)
            return moment if rule.zone is None else _in_zone(moment, rule.zone, text)
        case "epoch_float":
            return _decimal(text, rounds=rule.rounds)
        case "s_ns":
            return (_whole(text) * _BILLION + _whole(raw[1] or "")) // 1000
        case "text":
            moment = _microseconds(rule, _written(rule, text), text)
            return moment if rule.zone is None else _in_zone(moment, rule.zone, text)
        case form:
            return _microseconds(rule, _whole(text) * NANOSECONDS[form], text)


def _written(rule: TimeRule, text: str) -> int:
    if rule.written is None:
        raise AssertionError("times of form text are written somehow")
    try:
        return rule.written.nanoseconds(text)
    except NotWrittenSo as error:
        raise Untimely("bad_time", str(error)) from None


def _microseconds(rule: TimeRule, nanoseconds: int, text: str) -> int:
    if nanoseconds % 1000 and not rule.rounds:
        raise _too_fine(text)
    return nanoseconds // 1000


def _too_fine(text: str) -> Untimely:
    detail = (
        f"{text!r} has parts of a microsecond, and a timestamp has none: `several` says what holds if it is rounded"
    )
    return Untimely("time_too_fine", detail)


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


def _whole(text: str) -> int:
    if _WHOLE.fullmatch(text) is not None:
        return int(text)
    try:
        number = Decimal(text)
        if number.is_finite() and number.adjusted() < _LONGEST and number == number.to_integral_value():
            return int(number)  # as a numeric of two decimals or a double precision prints it
    except InvalidOperation:
        pass
    raise Untimely("bad_time", f"{text[:100]!r} is no whole number")


def _decimal(text: str, *, rounds: bool) -> int:
    """Seconds with a fraction, rounded to the microsecond by their decimal digits: no float is calculated with."""
    try:
        moment = Decimal(text) * _SECOND
        found = int((moment + _HALF).to_integral_value(ROUND_FLOOR))
        if found == moment or rounds:
            return found
    except (InvalidOperation, ValueError, OverflowError):
        raise Untimely("bad_time", f"{text[:100]!r} is no time in seconds") from None
    raise _too_fine(text)


def _in_zone(local: int, zone: str, text: str) -> int:
    """A local time in UTC. One that comes twice, in autumn, is taken as standard time, as PostgreSQL does."""
    try:
        if zones.is_skipped(local, zone):
            raise Untimely("no_such_time", f"the clocks of {zone} never show {text}: they are put forward then")
        return zones.instant(local, zone)
    except OverflowError:
        raise _out_of_years(text) from None


def _out_of_years(text: str) -> Untimely:
    return Untimely("time_out_of_range", f"the time {text!r} is in no year of 1 to 9999")
