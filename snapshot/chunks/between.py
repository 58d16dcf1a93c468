"""The rows between two bounds of the axis, as a condition of SQL: what a chunk reads, and what the planner is asked.

Where the time is in one of several columns, bounds are moments: a range of them is one of each column, among the rows
of which the columns before it are NULL. So each row is in one range, by the column that its time is in, and the index
of each column is of use.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from psycopg import sql

from cdc.source.raw_bound import raw_bound
from sink.mapping.rule import Rule
from sink.wide import tables
from sink.wide.cell import empty

_BILLION: Final = 1_000_000_000  # nanoseconds in a second
_AND: Final = sql.SQL(" AND ")
_OR: Final = sql.SQL(" OR ")


def between(rule: Rule, lower: str | None, upper: str | None) -> sql.Composable:
    """`lower` <= row < `upper`, where None is an open end. A row without a place is in the range that is open below."""
    found = _either(rule, lower, upper) if rule.time.either else _of_axis(rule, lower, upper)
    if lower is None and upper is not None:
        columns = rule.table.time if rule.time.either else (rule.axis or "",)
        nowhere = _AND.join(empty(sql.Identifier(each)) for each in columns)
        return sql.SQL("({} OR {})").format(found, nowhere)
    return found


def _of_axis(rule: Rule, lower: str | None, upper: str | None) -> sql.Composable:
    tests = [_compared(rule, sign, bound) for sign, bound in ((">=", lower), ("<", upper)) if bound is not None]
    return _AND.join(tests) if tests else sql.SQL("true")


def _either(rule: Rule, lower: str | None, upper: str | None) -> sql.Composable:
    if lower is None and upper is None:
        return sql.SQL("true")
    ranges = (_AND.join(_of_column(rule, which, lower, upper)) for which in range(len(rule.table.time)))
    return sql.SQL("({})").format(_OR.join(sql.SQL("({})").format(each) for each in ranges))


def _of_column(rule: Rule, which: int, lower: str | None, upper: str | None) -> Iterator[sql.Composable]:
    """The rows whose time is in this column, in the range."""
    name = rule.table.time[which]
    yield from (empty(sql.Identifier(each)) for each in rule.table.time[:which])
    for sign, bound in ((">=", lower), ("<", upper)):
        if bound is not None:
            raw = raw_bound(rule.time.either[which], rule.types[name], int(bound))
            yield sql.SQL("{} {} {}::{}").format(
                sql.Identifier(name), sql.SQL(sign), sql.Literal(raw.text), tables.type_name(raw.type)
            )


def _compared(rule: Rule, operator: str, bound: str) -> sql.Composable:
    """The condition that a row is on one side of a bound.

    Where seconds and nanoseconds are rounded together, neither alone can tell: both are compared, and the seconds
    once more so that their index is of use. (Of an integer, nanoseconds may be more than two seconds.)
    """
    time, sign = sql.Identifier(rule.axis or ""), sql.SQL(operator)
    if not rule.time.parted or rule.axis not in rule.table.time:
        return sql.SQL("{} {} {}").format(time, sign, sql.Literal(bound))
    first, nanoseconds = rule.time.first(int(bound)), sql.Identifier(rule.table.time[1])
    about = first // _BILLION + (3 if operator == "<" else -3)
    return sql.SQL("{0} {1} {2} AND {0}::numeric * {3} + coalesce({4}, 0) {1} {5}").format(
        time, sign, sql.Literal(about), sql.Literal(_BILLION), nanoseconds, sql.Literal(first)
    )
