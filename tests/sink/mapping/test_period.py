"""Periods: which day belongs to which partition, what it is called, and which ranges no partition covers."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.source.time_encoding import parsed
from sink.mapping.names import partition_name
from sink.mapping.period import (
    EARLY,
    FIRST,
    LAST,
    LATE,
    Span,
    bound_text,
    day_of,
    following,
    gaps,
    period_of,
    span_of,
    with_years,
)

UNITS = ("year", "month", "week", "day")
ZONED = "timestamp with time zone"


@pytest.mark.parametrize(
    ("time", "day"),
    [
        ("2024-02-29 23:59:59.999999+00", "2024-02-29"),
        ("2024-02-29 23:59:59", "2024-02-29"),
        ("2024-02-29", "2024-02-29"),
        ("infinity", "infinity"),
        ("-infinity", "-infinity"),
        ("0044-03-15 12:00:00+00 BC", "-infinity"),
        ("0044-03-15 BC", "-infinity"),
        ("10000-01-01", "infinity"),
        ("294276-12-31 23:59:59+00", "infinity"),
        ("soon", None),
    ],
)
def test_a_time_has_the_day_that_the_server_prints(time, day):
    assert day_of(time) == day


@pytest.mark.parametrize(
    ("unit", "day", "name", "lower", "upper"),
    [
        ("year", "2024-07-01", "2024", "2024-01-01", "2025-01-01"),
        ("month", "2024-12-31", "2024_12", "2024-12-01", "2025-01-01"),
        ("week", "2024-12-31", "2025_w01", "2024-12-30", "2025-01-06"),
        ("day", "2024-02-28", "2024_02_28", "2024-02-28", "2024-02-29"),
        ("year", "9999-07-01", "9999", "9999-01-01", "10000-01-01"),
        ("month", "9999-12-31", "9999_12", "9999-12-01", "10000-01-01"),
        ("week", "9999-12-31", "9999_w52", "9999-12-27", "10000-01-01"),
        ("week", "0001-01-01", "0001_w01", "0001-01-01", "0001-01-08"),
    ],
)
def test_a_day_has_a_period(unit, day, name, lower, upper):
    period = period_of(day, unit)
    assert period.name == name
    assert [bound_text(moment, "date") for moment in period.span] == [lower, upper]


def test_what_is_no_day_has_no_period():
    assert period_of("2024-02-30", "day") is None


@pytest.mark.parametrize("unit", UNITS)
@given(st.dates())
def test_periods_lie_end_to_end_and_every_day_is_in_its_own(unit, day):
    period = period_of(day.isoformat(), unit)
    moment = parsed(day.isoformat())
    assert period.span.lower <= moment < period.span.upper
    after = following(period, unit)
    if after is None:
        assert period.span.upper == LATE.span.lower
    else:
        assert after.span.lower == period.span.upper
        assert after.name > period.name
    if day > date.min + timedelta(days=7) and (low := bound_text(period.span.lower, "date")) != date.min.isoformat():
        before = period_of((date.fromisoformat(low) - timedelta(1)).isoformat(), unit)
        assert before.span.upper == period.span.lower


def test_the_ends_are_open():
    assert (EARLY.span.lower, LATE.span.upper) == (FIRST, LAST)
    assert [bound_text(moment, ZONED) for moment in (*EARLY.span, *LATE.span)] == [
        "MINVALUE",
        "0001-01-01 00:00:00+00",
        "10000-01-01 00:00:00+00",
        "MAXVALUE",
    ]


@pytest.mark.parametrize("unit", UNITS)
@given(st.dates())
def test_the_years_of_a_period_have_all_of_it(unit, day):
    period = period_of(day.isoformat(), unit)
    years = with_years(period)
    assert years.span.lower <= period.span.lower < period.span.upper <= years.span.upper
    assert years.name <= f"{day.year:04}"


def test_bounds_are_read_as_the_catalog_prints_them():
    text = "FOR VALUES FROM ('2024-05-01 00:00:00+00') TO ('infinity')"
    assert span_of(text) == Span(parsed("2024-05-01"), 2**63)
    assert span_of("FOR VALUES FROM (MINVALUE) TO ('0044-03-15 BC')") == Span(FIRST, parsed("0044-03-15 BC"))


def test_gaps_are_what_nothing_covers():
    there = [Span(10, 20), Span(30, 40)]
    assert gaps(Span(12, 20), there) == []
    assert gaps(Span(15, 35), there) == [Span(20, 30)]
    assert gaps(Span(0, 50), there) == [Span(0, 10), Span(20, 30), Span(40, 50)]
    assert gaps(Span(22, 24), there, Span(FIRST, LAST)) == [Span(20, 30)]
    assert gaps(Span(45, 50), there, Span(FIRST, LAST)) == [Span(40, LAST)]
    assert gaps(Span(22, 24), there, Span(21, 35)) == [Span(21, 30)]


@given(
    st.lists(st.integers(0, 60), unique=True, max_size=12), st.integers(0, 50), st.integers(1, 10), st.integers(0, 60)
)
def test_gaps_and_what_is_there_cover_a_range_once(cuts, lower, size, further):
    edges = sorted(cuts)[: len(cuts) // 2 * 2]
    there = [Span(*pair) for pair in zip(edges[::2], edges[1::2], strict=True)]
    filled = [*there, *gaps(Span(lower, lower + size), there, Span(lower - further, lower + size + further))]
    for moment in range(lower, lower + size):
        assert sum(span.lower <= moment < span.upper for span in filled) == 1


@pytest.mark.parametrize("part", ["ship-1__1", "엔" * 21])
def test_a_partition_is_named_after_its_part_and_its_period_whole(part):
    name = partition_name(part, "2024_05_31")
    assert name.endswith("__2024_05_31") and name.startswith(part[:5])
    assert len(name.encode()) <= 63
