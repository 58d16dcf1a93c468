"""A walk along the index of a narrow table's axis: where its rows really begin and end, and how many there are.

What the planner believes is a line between some hundred values that it has seen. One odd time, years away from all
others, makes that line run through empty centuries, and takes the rows beside it away from where they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import sql

from sink.mapping.rule import Rule
from snapshot.chunks.between import between
from snapshot.chunks.chunk_key import Scale
from snapshot.chunks.plan import Stretch

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_AT_ONCE: Final = 500  # questions sent before the first answer is read
_MOST_LOOKS: Final = 20_000  # ranges whose ends are looked up: two descents of the index for each
_SURE: Final = 25
"""Of a range with more than such a part of all rows, the planner is right but for the buckets at its ends, 1 % each."""
_MOST_COUNTED: Final = 20_000_000  # rows, some ten seconds

_LEADING: Final = """
SELECT FROM pg_index JOIN pg_attribute AS a ON (a.attrelid, a.attnum) = (indrelid, indkey[0])
JOIN pg_class AS c ON c.oid = indrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE nspname = %s AND c.relname = %s AND attname = %s AND indisvalid AND indpred IS NULL LIMIT 1
"""


FANOUT: Final = 8
"""Into how many parts a range is divided to look closer."""


class Most(NamedTuple):
    """How many rows a range may have, and how long it may be with any."""

    rows: int
    span: int

    def less_than(self, stretch: Stretch) -> bool:
        """Is there more in a range?"""
        return stretch.rows > self.rows or (stretch.upper - stretch.lower > self.span and not stretch.empty)

    def parts(self, stretch: Stretch, step: int) -> Iterator[tuple[int, int]]:
        """Divide a range that has more into at most 8 ranges of whole steps, as long as may be if that is all."""
        unit = step if stretch.rows > self.rows else max(step, self.span)
        size = -(-(stretch.upper - stretch.lower) // (unit * FANOUT)) * unit
        for start in range(stretch.lower, stretch.upper, size):
            yield start, min(start + size, stretch.upper)


def led(source: Connection, rule: Rule) -> bool:
    """Whether an index of the narrow table begins with its axis, in the order of time, which texts need not have."""
    if rule.time.either or (rule.axis_type or "text").startswith(("text", "character")):
        return False
    return source.execute(_LEADING, [rule.table.schema, rule.table.name, rule.axis]).fetchone() is not None


class Walk:
    """Looks at ranges of one table by its index; each edge lies on a whole step from `origin`."""

    def __init__(self, source: Connection, rule: Rule, scale: Scale, origin: int, total: int) -> None:
        self._source, self._rule, self._scale, self._origin = source, rule, scale, origin
        self._table = sql.Identifier(rule.table.schema, rule.table.name)
        self._time = sql.Identifier(rule.axis or "")
        self._sure = total // _SURE
        self._looks, self._counted = 0, 0

    def settled(self, stretches: Sequence[Stretch], most: Most) -> list[Stretch]:
        """The stretches without what is empty at their ends; rows are counted where the planner cannot have known.

        It cannot where rows are in what it takes for empty, or lie in less than half of the range; but of many rows.
        """
        done, open_ = list[Stretch](), list(stretches)
        while open_:
            room = max(0, _MOST_LOOKS - self._looks)
            self._looks += len(open_)
            done += open_[room:]
            found = [part for each in self._tight(open_[:room]) for part in self._known(*each, most.rows)]
            closer = {each for each in found if each.upper - each.lower > most.span and not each.empty}
            done += set(found) - closer
            open_ = [Stretch(*part, 0) for each in closer for part in most.parts(each, self._scale.step)]
        return sorted(done)

    def _tight(self, stretches: Sequence[Stretch]) -> Iterator[tuple[Stretch, bool]]:
        """The stretches, what is empty apart; and whether the rest is most of each."""
        for each, hull in zip(stretches, self._hulls(stretches), strict=True):
            if hull is None:
                yield each._replace(rows=0), True
                continue
            if hull[0] > each.lower:
                yield Stretch(each.lower, hull[0], 0), True
            wide = hull[1] - hull[0] > (each.upper - each.lower) // 2 or each.rows > self._sure
            yield Stretch(*hull, each.rows), wide and not each.empty
            if hull[1] < each.upper:
                yield Stretch(hull[1], each.upper, 0), True

    def _known(self, stretch: Stretch, told: bool, most: int) -> Iterator[Stretch]:
        """A range in pieces of about `most` rows, counted unless they are known, or enough was counted."""
        lower, upper, left = stretch
        while not told and lower < upper and self._counted < _MOST_COUNTED:
            count, last = self._next(lower, upper, most)
            self._counted += count
            edge = upper if count < most or last is None else max(self._place(last), lower + self._scale.step)
            edge = self._or_end(edge, upper)
            yield Stretch(lower, edge, count)
            lower, left = edge, max(left - count, 2)
        if lower < upper:
            yield Stretch(lower, upper, left)

    def _next(self, lower: int, upper: int, most: int) -> tuple[int, str | None]:
        """How many of the next rows there are, `most` at most, and the last one's place."""
        query = sql.SQL(
            "SELECT count(*), max(place)::text FROM (SELECT {time} AS place FROM {table} WHERE {within}"
            " ORDER BY {time} LIMIT {most}) AS nearest"
        ).format(time=self._time, table=self._table, within=self._within(lower, upper), most=sql.Literal(most))
        row = self._source.execute(query).fetchone()
        return (0, None) if row is None else row

    def _hulls(self, stretches: Sequence[Stretch]) -> Iterator[tuple[int, int] | None]:
        """Where rows begin and end in each range; None in one without any."""
        ends = sql.SQL("SELECT min({time})::text, max({time})::text FROM {table} WHERE {within}")
        every = (
            ends.format(time=self._time, table=self._table, within=self._within(each.lower, each.upper))
            for each in stretches
        )
        for each, (first, last) in zip(stretches, _answers(self._source, every), strict=True):
            if first is None or last is None:
                yield None
            else:
                lower = max(each.lower, self._place(first))
                yield lower, self._or_end(max(self._place(last), lower) + self._scale.step, each.upper)

    def _or_end(self, edge: int, upper: int) -> int:
        """An edge, unless what is beyond it is less than a step."""
        return edge if upper - edge >= self._scale.step else upper

    def _within(self, lower: int, upper: int) -> sql.Composable:
        return between(self._rule, self._scale.text(lower), self._scale.text(upper))

    def _place(self, text: str) -> int:
        step = self._scale.step
        return self._origin + (self._scale.position(text) - self._origin) // step * step


def _answers(source: Connection, queries: Iterable[sql.Composed]) -> Iterator[tuple[str | None, str | None]]:
    """One row of each; many questions are on the way at once."""
    left = iter(queries)
    while some := list(islice(left, _AT_ONCE)):
        with source.pipeline():
            asked = [source.execute(query) for query in some]
        yield from (cursor.fetchone() or (None, None) for cursor in asked)
