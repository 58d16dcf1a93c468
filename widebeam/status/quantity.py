"""Counts, sizes and durations for people. Pure."""

from __future__ import annotations


def count(number: float) -> str:
    """`950`, `12 k`, `1.2 M`."""
    for unit, scale in ((" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if number >= scale:
            return f"{number / scale:.{1 if number < 10 * scale else 0}f}{unit}"
    return f"{number:.0f}"


def size(number: int) -> str:
    """`512 B`, `3.1 MB`."""
    for unit, scale in (("GB", 2**30), ("MB", 2**20), ("kB", 2**10)):
        if number >= scale:
            return f"{number / scale:.1f} {unit}"
    return f"{number} B"


def duration(seconds: float) -> str:
    """`0.2 s`, `42 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
