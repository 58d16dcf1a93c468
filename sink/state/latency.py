"""How long changes take from the source's commit until they can be read: a histogram with fixed buckets. Pure.

A bucket is a quarter longer than the one before it, so a percentile is right to within a quarter, in 72 numbers.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import accumulate
from typing import Final

BOUNDS: Final[tuple[float, ...]] = tuple(1.25**n for n in range(72))
"""The upper bound of each bucket in milliseconds, 1 ms to 2 hours; the last bucket holds all that is longer."""


def whole(counts: Sequence[int]) -> list[int]:
    """The histogram with all its buckets: one in which nothing was counted yet may be empty."""
    return [*counts, *[0] * (len(BOUNDS) - len(counts))]


def bucket(milliseconds: float) -> int:
    """Where in a whole histogram a change is counted that took so long."""
    return min(bisect_left(BOUNDS, milliseconds), len(BOUNDS) - 1)


def added(left: Sequence[int], right: Sequence[int]) -> list[int]:
    """Two histograms together: of several partitions, say."""
    return [
        (left[n] if n < len(left) else 0) + (right[n] if n < len(right) else 0)
        for n in range(max(len(left), len(right)))
    ]


def percentile(counts: Sequence[int], share: float) -> float | None:
    """The time in milliseconds within which `share` (0 to 1) of the changes could be read; None if there are none.

    Within a bucket the changes are taken to lie evenly.
    """
    total = sum(counts)
    if not total:
        return None
    wanted = share * total
    for n, reached in enumerate(accumulate(counts)):
        if counts[n] and reached >= wanted:
            lower = BOUNDS[n - 1] if n else 0.0
            return lower + (BOUNDS[n] - lower) * max(0.0, 1 - (reached - wanted) / counts[n])
    return BOUNDS[-1]


def percentiles(histograms: Iterable[Sequence[int]]) -> dict[str, float | None]:
    """p50, p95 and p99 in milliseconds over several partitions' histograms; None where nothing was measured."""
    counts: Sequence[int] = reduce(added, histograms, [])
    return {f"p{percent}": percentile(counts, percent / 100) for percent in (50, 95, 99)}
