"""The plan of a backfill: ranges of time that together cover all of it. Pure: numbers in, numbers and texts out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from snapshot.chunks.chunk_key import Scale


class Stretch(NamedTuple):
    """A half-open range of the time axis (microseconds) and how many rows the source's planner expects in it."""

    lower: int
    upper: int
    rows: int

    @property
    def empty(self) -> bool:
        """As empty as an estimate can say: PostgreSQL's planner never expects less than one row."""
        return self.rows <= 1


class Chunk(NamedTuple):
    """A half-open range of a table's axis (time, mostly), the unit of backfill: `lower <= time < upper`.

    Bounds are texts of the axis's type; None is an open end. `estimated` is in narrow rows; `source` is the table.
    `reads` is not empty where the chunk is written over what is there (snapshot/attached.py): the table that it is read
    from, a partition that was attached, or `source` itself.
    """

    number: int
    lower: str | None
    upper: str | None
    estimated: int
    source: str = ""
    reads: str = ""


def plan(stretches: Iterable[Stretch], scale: Scale, chunk_rows: int, chunk_span: int) -> list[Chunk]:
    """Chunks of about `chunk_rows` rows and at most `chunk_span` microseconds each, numbered from 1 in order of time.

    The stretches lie end to end. Only a range that is estimated to be empty may be longer than `chunk_span`, so that
    one stray reading in the year 1970 does not cost twenty thousand chunks. The first chunk is open below, the last
    one above; without any stretch there is a single chunk, open at both ends.
    """
    pieces = list(_joined(_cut(stretches, scale.step, chunk_rows, chunk_span), chunk_rows, chunk_span))
    inner = [scale.text(each.lower) for each in pieces[1:]]
    bounds = pairwise([None, *inner, None])
    rows = [each.rows for each in pieces] or [0]
    return [
        Chunk(number, lower, upper, estimated)
        for number, ((lower, upper), estimated) in enumerate(zip(bounds, rows, strict=True), start=1)
    ]


def _cut(stretches: Iterable[Stretch], step: int, chunk_rows: int, chunk_span: int) -> Iterator[Stretch]:
    """Cut what is too long or holds too much into even pieces, on whole steps."""
    for stretch in stretches:
        span = stretch.upper - stretch.lower
        wish = 1 if stretch.empty else max(-(-stretch.rows // chunk_rows), -(-span // chunk_span))
        count = max(1, min(wish, span // step))
        edges = [stretch.lower + span * n // count // step * step for n in range(count)] + [stretch.upper]
        for n, (lower, upper) in enumerate(pairwise(edges)):
            yield Stretch(lower, upper, stretch.rows * (n + 1) // count - stretch.rows * n // count)


def _joined(pieces: Iterable[Stretch], chunk_rows: int, chunk_span: int) -> Iterator[Stretch]:
    """Join neighbours for as long as they stay small enough together."""
    current: Stretch | None = None
    for piece in pieces:
        if current is None:
            current = piece
        elif _fit(current, piece, chunk_rows, chunk_span):
            current = Stretch(current.lower, piece.upper, max(current.rows, piece.rows, current.rows + piece.rows - 1))
        else:
            yield current
            current = piece
    if current is not None:
        yield current


def _fit(one: Stretch, other: Stretch, chunk_rows: int, chunk_span: int) -> bool:
    if one.empty and other.empty:
        return True
    return other.upper - one.lower <= chunk_span and one.rows + other.rows <= chunk_rows
