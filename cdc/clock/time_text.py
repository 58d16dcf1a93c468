"""Times that a text column holds, all written in one way: `YYYY-MM-DDTHH:MM:SS.fffZ`. Pure, and strict.

Each moment is written so in exactly one way: rows that a unique key tells apart by the text are told apart by the
moment, too. What is written otherwise has no place, and goes into the quarantine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Final

EXAMPLE: Final = "YYYY-MM-DDTHH:MM:SS.fffZ"

_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_EPOCH: Final = date(1970, 1, 1).toordinal()
_FIRST: Final = (1 - _EPOCH) * _DAY
_LAST: Final = (date.max.toordinal() + 1 - _EPOCH) * _DAY - 1
_ZONE: Final = r"(?P<zone>Z| ?UTC|[+-](?:0\d|1[0-5])(?::?[0-5]\d)?)"
_LAYOUT: Final = re.compile(
    r"YYYY-MM-DD(?:[T ]HH:MM(?::SS(?:\.(?P<always>f{1,9})|\[\.(?P<sometimes>f{1,9})\])?)?" + _ZONE + "?)?", re.ASCII
)
_END: Final = re.compile(_ZONE + "$", re.ASCII)
_LIKE: Final = re.compile(r"(\d{4})-?(\d\d)?-?(\d\d)?", re.ASCII)
_PARTS: Final = {
    "YYYY": r"(?P<year>\d{4})",
    "MM-": r"(?P<month>\d\d)-",
    "DD": r"(?P<day>\d\d)",
    "HH": r"(?P<hour>[01]\d|2[0-3])",
    ":MM": r":(?P<minute>[0-5]\d)",
    ":SS": r":(?P<second>[0-5]\d)",
}


class NotWrittenSo(ValueError):
    """A text that is none of a layout's."""


@dataclass(frozen=True, slots=True)
class TimeText:
    """A way to write times. After the seconds come `.fff`, always so many digits; or `[.ffffff]`, so many or, where
    all of them are 0, none; or `[.f]`, as many as are needed. Then what always stands for the zone: `Z`, ` UTC`, an
    offset, or nothing.
    """

    layout: str
    pattern: re.Pattern[str]
    digits: int
    fixed: bool
    """All texts have one length, so that by any collation they lie in the order of their moments."""
    zoned: bool
    offset: int
    """What the zone is ahead of UTC, in microseconds."""

    @classmethod
    def of(cls, layout: str) -> TimeText | None:
        """The way to write that a layout shows; None if it shows none."""
        return _of(layout)

    @property
    def fine(self) -> bool:
        """A text can have parts of a microsecond."""
        return self.digits > 6 or (self.digits == 1 and not self.fixed)

    @property
    def step(self) -> int:
        """The smallest distance of two texts, in microseconds; 1 where they can be finer."""
        if ":SS" in self.layout:
            return 1 if not self.fixed else 10 ** max(6 - self.digits, 0)
        return 60 * _SECOND if "HH" in self.layout else _DAY

    def nanoseconds(self, text: str) -> int:
        """What a text says, in nanoseconds since 1970-01-01 (of UTC, or by clocks nobody tells of). NotWrittenSo."""
        match = self.pattern.fullmatch(text)
        if match is None:
            raise NotWrittenSo(f"{text[:100]!r} is not written as {self.layout}")
        found = {name: int(value) for name, value in match.groupdict("0").items() if name != "fraction"}
        try:
            days = date(found["year"], found["month"], found["day"]).toordinal() - _EPOCH
        except ValueError:
            raise NotWrittenSo(f"there is no day {text[:10]}") from None
        minutes = (days * 24 + found.get("hour", 0)) * 60 + found.get("minute", 0)
        fraction = match["fraction"] if self.digits else None
        whole = (minutes * 60 + found.get("second", 0)) * _SECOND - self.offset
        return whole * 1000 + int((fraction or "").ljust(9, "0"))

    def about(self, text: str) -> int:
        """Where a text lies that may be written otherwise, in microseconds: by the day that it begins with."""
        try:
            return self.nanoseconds(text) // 1000
        except NotWrittenSo:
            match = _LIKE.match(text)
            year, month, day = (int(each or 1) for each in (match.groups() if match else ("1970", "", "")))
            begin = date(max(year, 1), min(max(month, 1), 12), min(max(day, 1), 28))
            return (begin.toordinal() - _EPOCH) * _DAY - self.offset

    def text(self, moment: int) -> str:
        """A moment in microseconds as it is written; what is finer than can be written is cut off."""
        days, rest = divmod(min(max(moment + self.offset, _FIRST), _LAST), _DAY)
        seconds, fraction = divmod(rest, _SECOND)
        made = self.layout.replace("YYYY-MM-DD", date.fromordinal(days + _EPOCH).isoformat())
        made = made.replace("HH:MM", f"{seconds // 3600:02}:{seconds // 60 % 60:02}").replace(
            ":SS", f":{seconds % 60:02}"
        )
        digits = f"{fraction:06}000"
        shown = digits.rstrip("0") if self.digits == 1 and not self.fixed else digits[: self.digits]
        if not self.fixed and not shown.strip("0"):
            return re.sub(r"\[\.f+\]", "", made)
        return re.sub(r"\[?\.f+\]?", f".{shown}", made)


@lru_cache(maxsize=64)
def _of(layout: str) -> TimeText | None:
    match = _LAYOUT.fullmatch(layout)
    if match is None:
        return None
    zone, always, sometimes = match["zone"] or "", match["always"], match["sometimes"]
    digits = len(always or sometimes or "")
    head = layout[: len(layout) - len(zone)].partition("[")[0].partition(".")[0]
    for part, pattern in _PARTS.items():
        head = head.replace(part, pattern, 1)
    return TimeText(
        layout,
        re.compile(head + _fraction(digits, sometimes=sometimes is not None) + re.escape(zone), re.ASCII),
        digits,
        sometimes is None,
        bool(zone),
        _offset(zone),
    )


def _fraction(digits: int, *, sometimes: bool) -> str:
    if not digits:
        return ""
    if not sometimes:
        return rf"\.(?P<fraction>\d{{{digits}}})"
    some = r"\d{0,8}[1-9]" if digits == 1 else rf"(?!0+(?!\d))\d{{{digits}}}"
    return rf"(?:\.(?P<fraction>{some}))?"


def _offset(zone: str) -> int:
    if zone[:1] not in ("+", "-"):
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[3:].strip(":") or 0)
    return (-minutes if zone[0] == "-" else minutes) * 60 * _SECOND


def layouts(text: str) -> list[str]:
    """The layouts by which this text may be written, the strictest first; none if it is no such time."""
    zone = match["zone"] if (match := _END.search(text, 16)) is not None else ""
    clock = text[10 : len(text) - len(zone)]
    minutes = f"YYYY-MM-DD{clock[:1]}HH:MM"
    always = len(clock) - len("THH:MM:SS.")
    fractions = ["", f".{'f' * always}" if 0 < always < 10 else "", *(f"[.{'f' * each}]" for each in (6, 3, 9, 1))]
    tried = ["YYYY-MM-DD", f"{minutes}{zone}", *(f"{minutes}:SS{each}{zone}" for each in fractions)]
    known = [(each, TimeText.of(each)) for each in dict.fromkeys(tried)]
    return [each for each, way in known if way is not None and is_written(text, way)]


def layout_of(examples: Iterable[str], values: Sequence[str], odd: float) -> str | None:
    """The layout, out of those of the examples, by which all values are written but for an odd share of them."""
    found = dict.fromkeys(layout for text in examples for layout in layouts(text))
    ways = {layout: way for layout in found if (way := TimeText.of(layout)) is not None}
    counts = {layout: sum(is_written(value, way) for value in values) for layout, way in ways.items()}
    best = max(counts, key=lambda layout: counts[layout], default=None)  # of equal ones the first, which is strictest
    return None if best is None or len(values) - counts[best] > odd * len(values) else best


def is_written(text: str, way: TimeText) -> bool:
    """Whether a text is written in this way."""
    try:
        way.nanoseconds(text)
    except NotWrittenSo:
        return False
    return True
