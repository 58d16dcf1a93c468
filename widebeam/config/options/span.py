"""Spans of time as they are written in a connector's file."""

from __future__ import annotations

import re
from typing import Final

_SPAN: Final = re.compile(r"(\d{1,9}) ?(us|ms|s|min|h|d)")
_UNITS: Final = {"us": 1, "ms": 1_000, "s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6, "d": 86_400 * 10**6}


def microseconds(span: str) -> int:
    """A span of time ("15 s", "500 ms", "1 min", "1 h", "1 d") in microseconds; ValueError if it is none."""
    match = _SPAN.fullmatch(span)
    if match is None or int(match[1]) == 0:
        raise ValueError('expected a span of time: "15 s", "500 ms", "1 min", "1 h" or "1 d"')
    return int(match[1]) * _UNITS[match[2]]
