"""Ranges that are still to be filled in: verify leaves them out, since all that is missing there is no difference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from sink.mapping.mapping import Mapping
from snapshot.chunks.chunk_key import Scale, scale
from snapshot.chunks.plan import Chunk

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Span: TypeAlias = "tuple[float, float]"


class Open(NamedTuple):
    """The chunks that are still to be merged: their spans on the axis, and how many there are of how many."""

    spans: tuple[Span, ...]
    chunks: int
    of: int

    def left_out(self, mapping: Mapping, ranges: Sequence[Chunk]) -> tuple[list[Chunk], list[Chunk]]:
        """The ranges that can be compared, and those that meet a chunk that is still to be merged."""
        if not self.chunks:
            return list(ranges), []
        axis = scale(mapping.rule)
        meets = [axis is None or self._meets(_span(axis, each.lower, each.upper)) for each in ranges]
        pairs = list(zip(ranges, meets, strict=True))
        return [each for each, met in pairs if not met], [each for each, met in pairs if met]

    def _meets(self, span: Span) -> bool:
        return any(lower < span[1] and span[0] < upper for lower, upper in self.spans)


def unfinished(target: Session, mapping: Mapping) -> Open:
    """What the ledger says now."""
    axis = scale(mapping.rule)
    bounds = target.execute(_OPEN, [mapping.connector]).fetchall()
    row = target.execute(_ALL, [mapping.connector]).fetchone()
    spans = () if axis is None else _joined(_span(axis, *each) for each in bounds)
    return Open(spans, len(bounds), 0 if row is None else row[0])


def _span(axis: Scale, lower: str | None, upper: str | None) -> Span:
    return -inf if lower is None else axis.position(lower), inf if upper is None else axis.position(upper)


def _joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same without what overlaps, in order: there are few of them, however many chunks there are."""
    found: list[Span] = []
    for lower, upper in sorted(spans):
        if found and lower <= found[-1][1]:
            found[-1] = found[-1][0], max(upper, found[-1][1])
        else:
            found.append((lower, upper))
    return tuple(found)


_OPEN: Final = (
    "SELECT lower_bound, upper_bound FROM widebeam.chunks WHERE connector = %s AND state IN ('planned', 'failed')"
)
_ALL: Final = "SELECT count(*) FROM widebeam.chunks WHERE connector = %s"
