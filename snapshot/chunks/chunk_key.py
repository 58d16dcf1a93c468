"""The axis of a narrow table: its first column of time, or another one, as whole numbers; chunks are ranges of it.

Where raw times are rounded to wide ones, bounds lie on the borders of what is rounded together: all readings that meet
in a cell are in one chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from math import inf, nextafter
from typing import Final, Protocol

from cdc.clock import zones
from cdc.clock.time_text import TimeText
from cdc.source.raw_bound import EARLIEST, LATEST
from cdc.source.time_encoding import NANOSECONDS, TimeRule
from sink.mapping.rule import Rule
from snapshot.chunks.scale import INFINITIES, MICROSECONDS_PER_HOUR, TimeScale

_LIMITS: Final = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63, "numeric": 2**80, "double precision": 2**80}
_WHOLE: Final = ("smallint", "integer", "bigint")
NUMERIC_ENDS: Final = ("-1e40", "1e40")
_HALF: Final = Decimal("0.5")
_SECOND: Final = 1_000_000


class Scale(Protocol):
    """How the values of a column lie on an axis of whole numbers."""

    @property
    def step(self) -> int:
        """The smallest distance between two bounds."""

    @property
    def within(self) -> tuple[str, str] | None:
        """Texts between which all values lie that have a place, if the type has others: infinity, or odd texts."""

    def position(self, text: str) -> int:
        """Where a finite value lies, given as the server prints it."""

    def text(self, position: int) -> str:
        """The first value at or above a position, as the server reads it."""

    def span(self, hours: float) -> int:
        """The length of so many hours."""


def scale(rule: Rule) -> Scale | None:
    """The scale of a table's axis; None where ranges of it cannot be made."""
    kind = rule.axis_type
    if kind is None:
        return None
    if rule.time.either:
        return MomentScale(rule.time)
    if rule.axis not in rule.table.time:
        return WholeScale(1, _LIMITS[kind], TimeRule(), timely=False) if kind in _WHOLE else None
    if rule.time.form == "epoch_float":
        return FloatScale(rule.time, exact=kind.startswith("numeric"))
    if rule.time.written is None and rule.time.form != "native":
        return _counted(rule, kind.partition("(")[0])
    inner = TimeScale.of(kind) if rule.time.written is None else TextScale(rule.time.written)
    return Bordered(inner, rule.time, inner.within) if rule.time.bucket else inner


def _counted(rule: Rule, bare: str) -> Scale | None:
    if bare not in _LIMITS:
        return None
    ends = None if bare in _WHOLE else NUMERIC_ENDS
    if rule.time.form == "epoch_ns":
        return WholeScale(1, _LIMITS[bare], rule.time, within=ends, parts=1000)
    return WholeScale(NANOSECONDS[rule.time.form] // 1000, _LIMITS[bare], rule.time, within=ends)


@dataclass(frozen=True, slots=True)
class Bordered:
    """A native time in buckets, on the axis of moments: a local time is told by its zone."""

    inner: Scale
    rule: TimeRule
    within: tuple[str, str] | None

    @property
    def step(self) -> int:
        """A bucket, as long as it may get where clocks are put back."""
        return max(self.inner.step, self.rule.bucket * (1 if self.rule.bucket_zone is None else 2))

    def position(self, text: str) -> int:
        """Microseconds."""
        local = min(max(self.inner.position(text), EARLIEST), LATEST)
        return local if self.rule.zone is None else zones.instant(local, self.rule.zone)

    def text(self, position: int) -> str:
        """The first value at or above the border of the bucket."""
        border = self.rule.borders(min(max(position, EARLIEST), LATEST))[0]
        return self.inner.text(-(-self.rule.bound(border) // self.inner.step) * self.inner.step)

    def span(self, hours: float) -> int:
        """Microseconds."""
        return self.inner.span(hours)


@dataclass(frozen=True, slots=True)
class WholeScale:
    """A number of `unit` microseconds, or of one by `parts` (or, where it is not `timely`, of what nobody knows)."""

    unit: int
    limit: int
    rule: TimeRule
    timely: bool = True
    within: tuple[str, str] | None = None
    parts: int = 1

    @property
    def step(self) -> int:
        """A unit, or a bucket, as long as it may get where clocks are put back."""
        return max(self.unit, self.rule.bucket * (1 if self.rule.bucket_zone is None else 2))

    def position(self, text: str) -> int:
        """Microseconds, or the number itself."""
        return int(Decimal(text) * self.unit) // self.parts

    def text(self, position: int) -> str:
        """The first number at or above the border."""
        border = self.rule.borders(position)[0] if self.rule.bucket and not self.rule.parted else position
        return str(min(max(-(-border * self.parts // self.unit), -self.limit), self.limit - 1))

    def span(self, hours: float) -> int:
        """Microseconds; as long as can be where the number is no time."""
        return int(hours * MICROSECONDS_PER_HOUR) if self.timely else 2**64


@dataclass(frozen=True, slots=True)
class FloatScale:
    """Seconds with a fraction, in a double precision or, `exact`, in a numeric."""

    rule: TimeRule
    exact: bool

    @property
    def within(self) -> tuple[str, str] | None:
        """A double precision has infinities; a numeric cannot be asked for its own before PostgreSQL 14."""
        return NUMERIC_ENDS if self.exact else INFINITIES

    @property
    def step(self) -> int:
        """A second, or a bucket, as long as it may get where clocks are put back."""
        return max(_SECOND, self.rule.bucket * (1 if self.rule.bucket_zone is None else 2))

    def position(self, text: str) -> int:
        """Microseconds."""
        return int((Decimal(text) * _SECOND + _HALF).to_integral_value(ROUND_FLOOR))

    def text(self, position: int) -> str:
        """The first value that is rounded to the border or above."""
        border = (Decimal(self.rule.borders(position)[0]) - _HALF) / _SECOND
        if self.exact:
            return str(border)
        value = float(border)
        while Decimal(repr(value)) < border:
            value = nextafter(value, inf)
        return repr(value)

    def span(self, hours: float) -> int:
        """Microseconds."""
        return int(hours * MICROSECONDS_PER_HOUR)


@dataclass(frozen=True, slots=True)
class TextScale:
    """Times written in texts of one length. What is written otherwise lies somewhere, and fills no cell."""

    written: TimeText
    within: tuple[str, str] | None = ("0001", "9999-99")

    @property
    def step(self) -> int:
        """What the last digit stands for."""
        return self.written.step

    def position(self, text: str) -> int:
        """Microseconds, as they are written: local ones, where there is no zone in the text."""
        return self.written.about(text) // self.step * self.step

    def text(self, position: int) -> str:
        """The text of a position, rounded up to what can be written."""
        return self.written.text(-(-position // self.step) * self.step)

    def span(self, hours: float) -> int:
        """Microseconds."""
        return int(hours * MICROSECONDS_PER_HOUR)


@dataclass(frozen=True, slots=True)
class MomentScale:
    """The moments of rows whose time is in one of several columns, as microseconds; snapshot/chunks/between.py says
    what a range of them is of each column."""

    rule: TimeRule
    within: tuple[str, str] | None = None

    @property
    def step(self) -> int:
        """A microsecond, or a bucket, as long as it may get where clocks are put back."""
        return max(1, self.rule.bucket * (1 if self.rule.bucket_zone is None else 2))

    def position(self, text: str) -> int:
        """The number itself."""
        return int(text)

    def text(self, position: int) -> str:
        """The border of the bucket, in years in which there are borders."""
        return str(self.rule.borders(min(max(position, EARLIEST), LATEST))[0])

    def span(self, hours: float) -> int:
        """Microseconds."""
        return int(hours * MICROSECONDS_PER_HOUR)
