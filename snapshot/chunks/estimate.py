"""What the source's planner, statistics and index say about the narrow table, asked without reading it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from cdc.source.narrow import NarrowTable
from cdc.source.raw_bound import EARLIEST, LATEST
from cdc.source.time_encoding import TimeRule, Untimely
from sink.mapping.rule import Rule
from snapshot.chunks.between import between
from snapshot.chunks.chunk_key import NUMERIC_ENDS, Scale, scale
from snapshot.chunks.plan import Chunk, Stretch, plan
from snapshot.chunks.scale import INFINITIES
from snapshot.chunks.walk import FANOUT, Most, Walk, led

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_AT_ONCE: Final = 500  # questions sent before the first answer is read
_MOST: Final = 20_000  # ranges in all
_ENDLESS: Final = 2**200
"""Longer than any axis."""


def plan_chunks(source: Connection, rule: Rule, chunk_rows: int, chunk_hours: float | None) -> list[Chunk]:
    """Plan the backfill of a narrow table as it is now, from number 1 on: chunks of about so many rows.

    With `chunk_hours` they are no longer than that either. Asks the planner, and the axis's index where there is one:
    rows are only counted where the planner cannot know of them. A table without an axis that can be cut gets one chunk,
    which is open at both ends.
    """
    axis, name, total = scale(rule), rule.table.qualified, _total(source, rule.table)
    if axis is None:
        return [Chunk(1, None, None, total, name)]
    found = ends(source, rule, axis)
    span = _ENDLESS if chunk_hours is None else max(axis.step, axis.span(chunk_hours) // axis.step * axis.step)
    stretches = [] if found is None else _looked_at(source, rule, axis, found, Most(chunk_rows, span), total)
    filled = sum(each.upper - each.lower for each in stretches if not each.empty)
    chunks = plan(stretches, axis, chunk_rows, max(span, filled // _MOST))
    return [chunk._replace(source=name) for chunk in chunks]


def numbered(plans: Iterable[list[Chunk]], first: int = 1) -> list[Chunk]:
    """The chunks of several tables, numbered one after the other."""
    every = (chunk for chunks in plans for chunk in chunks)
    return [chunk._replace(number=number) for number, chunk in enumerate(every, first)]


def _looked_at(
    source: Connection, rule: Rule, scale: Scale, found: tuple[int, int], most: Most, total: int
) -> list[Stretch]:
    """What the planner says, set right by the index."""
    walk = Walk(source, rule, scale, found[0], total) if led(source, rule) else None
    (whole,) = _rows(source, rule, scale, [found])
    if whole.rows < total // 2:  # it has no statistics, or none of these rows
        unknown = Stretch(*found, total)
        return [unknown] if walk is None else walk.settled([unknown._replace(rows=0)], most)
    told = _weighed(estimates(source, rule, scale, found, most), total)
    return told if walk is None else walk.settled(told, most)


def _weighed(stretches: list[Stretch], total: int) -> list[Stretch]:
    """Without statistics the planner expects 1/200 of the table in any range at all: never more than all together."""
    expected = sum(each.rows for each in stretches)
    if expected <= total:
        return stretches
    return [each if each.empty else each._replace(rows=max(1, each.rows * total // expected)) for each in stretches]


def _total(source: Connection, table: NarrowTable) -> int:
    whole = sql.SQL("EXPLAIN (FORMAT JSON) SELECT 1 FROM {}")
    return _expected(source.execute(whole.format(sql.Identifier(table.schema, table.name))))


def estimates(source: Connection, rule: Rule, scale: Scale, ends: tuple[int, int], most: Most) -> list[Stretch]:
    """Rows that the planner expects in ranges that lie end to end between `ends` (positions on the axis).

    A range that is too heavy or, with rows in it, too long is looked at closer, as long as there are not too many.
    """
    open_ranges, done = [ends], list[Stretch]()
    while open_ranges:
        looked_at = _rows(source, rule, scale, open_ranges)
        heavy = [each for each in looked_at if most.less_than(each) and each.upper - each.lower > scale.step]
        if len(done) + len(looked_at) + len(heavy) * FANOUT > _MOST:
            return sorted([*done, *looked_at])
        done += set(looked_at).difference(heavy)
        open_ranges = [part for each in heavy for part in most.parts(each, scale.step)]
    return sorted(done)


def ends(source: Connection, rule: Rule, scale: Scale) -> tuple[int, int] | None:
    """The range that holds all finite values of the axis; None when there are none."""
    if rule.time.either:
        kinds = [(name, each, rule.types[name]) for name, each in zip(rule.table.time, rule.time.either, strict=True)]
        found = [
            moment
            for name, each, kind in kinds
            for text in _of_column(source, rule, name, _finite(kind))
            if (moment := _moment(each, text)) is not None
        ]
    else:
        found = [scale.position(text) for text in _of_column(source, rule, rule.axis or "", scale.within)]
    return (min(found), max(found) + scale.step) if found else None


def _of_column(source: Connection, rule: Rule, name: str, within: tuple[str, str] | None) -> list[str]:
    """The lowest and the highest value of a column between these; nothing where there is none."""
    column, table = sql.Identifier(name), sql.Identifier(rule.table.schema, rule.table.name)
    where: sql.Composable = sql.SQL("")
    if within is not None:
        where = sql.SQL("WHERE {0} > {1} AND {0} < {2}").format(column, *map(sql.Literal, within))
    query = sql.SQL("SELECT min({0})::text, max({0})::text FROM {1} {2}")
    row = source.execute(query.format(column, table, where)).fetchone()
    return [] if row is None or row[0] is None else list(row)


def _finite(kind: str) -> tuple[str, str] | None:
    """Between what the finite values of a type lie, if it has others."""
    if kind.startswith("numeric"):
        return NUMERIC_ENDS
    return INFINITIES if kind.startswith(("date", "timestamp", "double", "real")) else None


def _moment(rule: TimeRule, text: str) -> int | None:
    """The moment of a column's value, among those that have borders; None where it is none."""
    try:
        moment = rule.moment((text,))
    except Untimely:
        return None
    return None if moment is None else min(max(moment, EARLIEST), LATEST)


def _rows(source: Connection, rule: Rule, scale: Scale, ranges: Sequence[tuple[int, int]]) -> list[Stretch]:
    """Ask the planner how many rows each range holds; many questions are on the way at once."""
    found, left = list[Stretch](), iter(ranges)
    while some := list(islice(left, _AT_ONCE)):
        with source.pipeline():
            asked = [
                source.execute(
                    sql.SQL("EXPLAIN (FORMAT JSON) SELECT 1 FROM {} WHERE {}").format(
                        sql.Identifier(rule.table.schema, rule.table.name),
                        between(rule, scale.text(lower), scale.text(upper)),
                    )
                )
                for lower, upper in some
            ]
        found += [Stretch(*bounds, _expected(cursor)) for bounds, cursor in zip(some, asked, strict=True)]
    return found


def _expected(cursor: psycopg.Cursor[tuple[Any, ...]]) -> int:
    row = cursor.fetchone()
    if row is None:
        raise LookupError("EXPLAIN gave no plan")
    return int(row[0][0]["Plan"]["Plan Rows"])
