"""The time axis as whole numbers, so that ranges of it can be planned by arithmetic whatever the column's type is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

MICROSECONDS_PER_HOUR: Final = 3_600_000_000
INFINITIES: Final = ("-infinity", "infinity")
_DAY: Final = 24 * MICROSECONDS_PER_HOUR
_EPOCH: Final = datetime(1970, 1, 1)  # all of this is UTC, and printed without a zone
_MICROSECOND: Final = timedelta(microseconds=1)
_FIRST: Final = (datetime.min - _EPOCH) // _MICROSECOND
_LAST: Final = (datetime.max - _EPOCH) // _MICROSECOND
_TIMESTAMP: Final = re.compile(r"timestamp(\(\d\))? (?P<zoned>with|without) time zone")


class UnknownTimeType(Exception):
    """The time column's type has no scale yet."""


@dataclass(frozen=True, slots=True)
class TimeScale:
    """How the values of one column type lie on the axis of microseconds since 1970-01-01 UTC.

    `step` is the smallest distance between two bounds. Bounds lie in the years 1 to 9999; what is outside (BC,
    infinity) belongs to the plan's open ends.
    """

    step: int
    zoned: bool
    within: tuple[str, str] | None = INFINITIES

    @classmethod
    def of(cls, type_name: str) -> TimeScale:
        """The scale of a type as format_type writes it; UnknownTimeType says which ones there are."""
        if type_name == "date":
            return cls(_DAY, zoned=False)
        match = _TIMESTAMP.fullmatch(type_name)
        if match is None:
            raise UnknownTimeType(
                f"a time column of type {type_name}: timestamp, timestamptz and date can be back-filled"
            )
        return cls(1, zoned=match["zoned"] == "with")

    def position(self, text: str) -> int:
        """Where a finite value lies, given as the server prints it in UTC: rounded down to `step`, within the axis."""
        if text.endswith(" BC"):
            return self._rounded(_FIRST)
        if text.index("-") > 4:  # a year of five digits
            return self._rounded(_LAST)
        return self._rounded((datetime.fromisoformat(text).replace(tzinfo=None) - _EPOCH) // _MICROSECOND)

    def text(self, position: int) -> str:
        """The value at a position, as the server reads it; positions outside the axis become its ends."""
        moment = _EPOCH + min(max(position, _FIRST), _LAST) * _MICROSECOND
        if self.step == _DAY:
            return moment.date().isoformat()
        return moment.isoformat(sep=" ") + ("+00" if self.zoned else "")

    def span(self, hours: float) -> int:
        """The length of so many hours."""
        return int(hours * MICROSECONDS_PER_HOUR)

    def _rounded(self, microseconds: int) -> int:
        return microseconds // self.step * self.step
