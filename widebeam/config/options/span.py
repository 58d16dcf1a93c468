"""Spans of time as they are written in a connector's file."""

from __future__ import annotations

import re
from typing import Final

from cdc.clock import zones

_SPAN: Final = re.compile(r"(\d{1,9}) ?(us|ms|s|min|h|hours?|d|days?)")
_UNITS: Final = {
    **{"us": 1, "ms": 1_000, "s": 10**6, "min": 60 * 10**6},
    **dict.fromkeys(("h", "hour", "hours"), 3600 * 10**6),
    **dict.fromkeys(("d", "day", "days"), 86_400 * 10**6),
}
_DAY: Final = _UNITS["d"]
_MINUTE: Final = _UNITS["min"]


def microseconds(span: str) -> int:
    """A span of time ("15 s", "500 ms", "1 min", "1 h", "1 d") in microseconds; ValueError if it is none."""
    match = _SPAN.fullmatch(span)
    if match is None or int(match[1]) == 0:
        raise ValueError('expected a span of time: "15 s", "500 ms", "1 min", "1 h" or "1 d"')
    return int(match[1]) * _UNITS[match[2]]


def bucket(written: str) -> tuple[int, str | None]:
    """A span, and the zone whose clocks tell it ("1 day @ Europe/Paris"); ValueError if it is none."""
    span, at, zone = (part.strip() for part in written.partition("@"))
    size = microseconds(span)
    if not at:
        return size, None
    try:
        zones.zone(zone)
    except zones.UnknownZone:
        raise ValueError(f'{zone!r} is no time zone: "1 day @ Europe/Oslo"') from None
    if size % _MINUTE or (size % _DAY and _DAY % size):
        raise ValueError(f"{span!r} of a zone has to be days, or go into a day: 15 min, 1 h, 6 h, 1 d")
    return size, zone
