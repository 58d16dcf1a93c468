"""Native partitions of wide tables by time: made before the rows come, by short locks that no reader or writer meets.

What there is is read from the catalog, not written down: an owner may drop, detach, merge or add partitions, and the
next reading of a time without one makes it again.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Mapping as Dict
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from sink.fold.copytext import NULL
from sink.fold.rows import PartRows, WideKey
from sink.mapping.mapping import Mapping
from sink.mapping.names import fitted, folded, partition_name
from sink.mapping.period import (
    FIRST,
    LAST,
    LATE,
    Period,
    Span,
    Unit,
    bound_text,
    day_of,
    following,
    gaps,
    period_of,
    span_of,
    with_years,
)
from sink.mapping.wide import Entity, Part
from sink.mapping.width import fillfactor
from sink.wide import tables

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Days: TypeAlias = "dict[Part, set[str]]"
"""Part table -> days of which it gets rows."""

MOST: Final = 4_000
"""Partitions of one table: eleven years of days. Beyond them a new one is for all of its year that has none, and beyond
twice as many for all of the gap that it is in: times may be anything that somebody writes, and every query pays for
each partition."""

_LOG: Final = logging.getLogger(__name__)


def days_of(mapping: Mapping, batch: Iterable[PartRows]) -> Days:
    """The days of the rows that are set. (To clear a cell, no partition is needed.)"""
    at = _time_index(mapping)
    found: defaultdict[Part, set[str]] = defaultdict(set)
    for rows in batch:
        lines = [line for lines in rows.copies for line in lines.lines]
        lines += [line for line in rows.over_lines if line.rsplit("\t", 2)[1] != NULL]
        found[rows.part] |= _days(line.split("\t", at + 1)[at] for line in lines)
    return dict(found)


def days_in(mapping: Mapping, rows: Iterable[WideKey]) -> set[str]:
    """The days of wide rows by their keys; none where days do not matter: then there may be no time."""
    if mapping.partition_by is None:
        return set()
    at = _time_index(mapping)
    return _days(key[at] for key in rows)


def for_all_parts(entities: Dict[str, Entity], days: Dict[str, set[str]]) -> Days:
    """Days by the identity of their entity, as if all parts of it got rows of them."""
    found = [(entities[name], some) for name, some in days.items() if name in entities]
    return {part: some for entity, some in found for part in entity.parts.values()}


class Partitions:
    """What partitions the wide tables are known to have, and how the others are made."""

    def __init__(self, mapping: Mapping, unit: Unit) -> None:
        self._mapping, self._unit = mapping, unit
        self._type = next(iter(mapping.rule.time_types.values()))
        self._known: defaultdict[str, set[Period]] = defaultdict(set)

    def forget(self) -> None:
        """Somebody may have taken some away."""
        self._known.clear()

    def missing(self, connection: Connection, days: Days) -> dict[Part, set[Period]]:
        """Periods for which a table has no partition yet, tables in the order in which they are locked.

        Those that it is known to have, or is found to have now, are left out.
        """
        found = {}
        for part in sorted(days, key=lambda part: part.table):
            periods = self._periods(days[part]) - self._known[part.table]
            if not periods:
                continue
            there = _spans(connection, part)
            if there is not None and any(gaps(each.span, there) for each in self._wanted(periods, there)):
                found[part] = periods
            else:
                self._known[part.table] |= periods
            if there is None:
                _LOG.warning(
                    "%s has a DEFAULT partition, so none is made for %s: its rows go there",
                    part.table,
                    min(periods).name,
                )
        return found

    def make(self, connection: Connection, part: Part, periods: set[Period], taken: set[str]) -> None:
        """Make those that are not there, in the open transaction, in which nobody else makes any.

        `taken` are names in use in the schema; new ones are added.
        """
        # Before the catalog is read: what others make or take away meanwhile waits.
        connection.execute(sql.SQL("LOCK TABLE ONLY {} IN SHARE UPDATE EXCLUSIVE MODE").format(tables.relation(part)))
        there = _spans(connection, part)
        if there is None:
            return
        for period in self._wanted(periods, there):
            wider = _wider(period, len(there))
            for span in gaps(period.span, there, wider.span):
                if wider != period:
                    _LOG.warning(
                        "%s has %d partitions: a further one is for more than a %s", part.table, MOST, self._unit
                    )
                self._attach(connection, part, wider.name, span, taken)
                there.append(span)

    def made(self, part: Part, periods: set[Period]) -> None:
        """What was made is committed."""
        self._known[part.table] |= periods

    def _periods(self, days: Iterable[str]) -> set[Period]:
        return {period for day in days if (period := period_of(day, self._unit)) is not None}

    def _wanted(self, periods: set[Period], there: list[Span]) -> list[Period]:
        """These periods, and after the newest partition the next one, so that it is there when its time comes."""
        wanted = sorted(periods)
        spans = [*there, *(period.span for period in periods)]
        for period in periods:
            after = following(period, self._unit)
            if after is not None and not any(period.span.upper <= each.lower < LATE.span.lower for each in spans):
                wanted.append(after)
        return wanted

    def _attach(self, connection: Connection, part: Part, period: str, span: Span, taken: set[str]) -> None:
        """Made beside the table and then attached: PARTITION OF would lock the table against its readers."""
        name = partition_name(part.table, period)
        name = fitted(name, f"{part.table} {span}", taken)
        taken.add(folded(name))
        names = {"new": sql.Identifier(part.schema, name), "part": tables.relation(part)}
        connection.execute(
            sql.SQL("CREATE TABLE {new} (LIKE {part} INCLUDING ALL) WITH (fillfactor = {full})").format(
                full=sql.Literal(self._full(connection, part)), **names
            )
        )
        lower, upper = (_bound(bound_text(moment, self._type)) for moment in span)
        connection.execute(
            sql.SQL("ALTER TABLE {part} ATTACH PARTITION {new} FOR VALUES FROM ({lower}) TO ({upper})").format(
                lower=lower, upper=upper, **names
            )
        )

    def _full(self, connection: Connection, part: Part) -> int:
        """How full its pages are to be, by the columns that the table has now."""
        types = [text for (text,) in connection.execute(_TYPES, [part.schema, part.table])]
        return self._mapping.fillfactor or fillfactor(types)


def _wider(period: Period, there: int) -> Period:
    """What a partition is for where there are so many already."""
    if there < MOST:
        return period
    return with_years(period) if there < 2 * MOST else Period(period.name, Span(FIRST, LAST))


def _spans(connection: Connection, part: Part) -> list[Span] | None:
    """The ranges of a table's partitions. None: one of somebody's is for all times that no other is for.

    To make one beside a DEFAULT partition would lock and read all of that: it is left to who made it.
    """
    bounds = [text for (text,) in connection.execute(_BOUNDS, [part.schema, part.table])]
    return None if "DEFAULT" in bounds else [span_of(text) for text in bounds]


def _bound(text: str) -> sql.Composable:
    return sql.SQL(text) if text in ("MINVALUE", "MAXVALUE") else sql.Literal(text)


def _days(times: Iterable[str]) -> set[str]:
    return {day for time in set(times) if (day := day_of(time)) is not None}


def _time_index(mapping: Mapping) -> int:
    """Where the time stands in a wide table's key."""
    return 0 if mapping.layout == "per_entity" else len(mapping.entity)


_TYPES: Final = """
SELECT format_type(atttypid, atttypmod) FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
WHERE relnamespace = to_regnamespace(quote_ident(%s)) AND relname = %s AND attnum > 0 AND NOT attisdropped
"""
_BOUNDS: Final = """
SELECT pg_get_expr(child.relpartbound, child.oid)
FROM pg_class AS parent JOIN pg_inherits ON inhparent = parent.oid JOIN pg_class AS child ON child.oid = inhrelid
WHERE parent.relnamespace = to_regnamespace(quote_ident(%s)) AND parent.relname = %s
"""
