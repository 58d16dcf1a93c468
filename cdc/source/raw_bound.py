"""Where the values of a time column begin that mean a moment or a later one. Pure, and exact.

For rows whose time is in one of several columns: a range of moments is a range of each column, of its own type, so
that the column's index is of use and no value is cast.
"""

from __future__ import annotations

from decimal import Decimal
from math import inf, nextafter
from typing import Final, NamedTuple

from cdc.source.time_encoding import NANOSECONDS, TimeRule, printed

_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_HALF: Final = Decimal("0.5")
_WHOLE: Final = ("smallint", "integer", "bigint")

# A month inside of the years 1 to 9999, in which Python can tell what clocks show.
EARLIEST: Final = -62_133_000_000 * _SECOND
LATEST: Final = 253_399_700_000 * _SECOND


class RawBound(NamedTuple):
    """A text, and the type that it is read as: one that the column can be compared with by its index."""

    text: str
    type: str


def raw_bound(rule: TimeRule, kind: str, moment: int) -> RawBound:
    """The first value of a column of type `kind`, read by the rule of one column, that means a moment or a later one.

    Moments are microseconds since 1970-01-01 UTC; those far from our years are taken for EARLIEST or LATEST.
    """
    moment = min(max(moment, EARLIEST), LATEST)
    if rule.form == "native":
        local = rule.bound(moment)
        if kind == "date":
            return RawBound(printed(-(-local // _DAY) * _DAY, zoned=False).partition(" ")[0], kind)
        zoned = kind.endswith("with time zone")
        return RawBound(printed(local, zoned=zoned), f"timestamp {'with' if zoned else 'without'} time zone")
    if rule.form == "epoch_float":
        return _seconds(kind, moment)
    return RawBound(
        str(-(-moment * 1000 // NANOSECONDS[rule.form])), "bigint" if kind in _WHOLE else kind.partition("(")[0]
    )


def _seconds(kind: str, moment: int) -> RawBound:
    """Seconds with a fraction are rounded to the microsecond, halves upwards."""
    border = (Decimal(moment) - _HALF) / _SECOND
    if kind.startswith("numeric"):
        return RawBound(str(border), "numeric")
    value = float(border)
    while Decimal(repr(value)) < border:  # it is read as it is printed
        value = nextafter(value, inf)
    return RawBound(repr(value), "double precision")
