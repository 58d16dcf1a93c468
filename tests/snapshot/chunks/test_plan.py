from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snapshot.chunks.plan import Chunk, Stretch, plan
from snapshot.chunks.scale import MICROSECONDS_PER_HOUR, TimeScale, UnknownTimeType

DAY = 24 * MICROSECONDS_PER_HOUR
TIMESTAMP = TimeScale.of("timestamp without time zone")
ZONED = TimeScale.of("timestamp(3) with time zone")
DATE = TimeScale.of("date")


def day(number: int, rows: int) -> Stretch:
    return Stretch(number * DAY, (number + 1) * DAY, rows)


def test_a_table_without_rows_is_one_chunk_open_at_both_ends() -> None:
    assert plan([], TIMESTAMP, 1000, DAY) == [Chunk(1, None, None, 0)]


def test_days_with_few_rows_stay_days() -> None:
    chunks = plan([day(0, 10), day(1, 20), day(2, 30)], TIMESTAMP, 1000, DAY)
    assert chunks == [
        Chunk(1, None, "1970-01-02 00:00:00", 10),
        Chunk(2, "1970-01-02 00:00:00", "1970-01-03 00:00:00", 20),
        Chunk(3, "1970-01-03 00:00:00", None, 30),
    ]


def test_a_day_with_many_rows_is_cut_by_rows() -> None:
    chunks = plan([day(0, 4000)], ZONED, 1000, DAY)
    assert [each.upper for each in chunks] == [
        "1970-01-01 06:00:00+00",
        "1970-01-01 12:00:00+00",
        "1970-01-01 18:00:00+00",
        None,
    ]
    assert [each.estimated for each in chunks] == [1000] * 4


def test_a_long_empty_stretch_is_one_chunk() -> None:
    stray, gap = day(0, 2), Stretch(DAY, 10_000 * DAY, 1)
    chunks = plan([stray, gap, day(10_000, 500)], DATE, 1000, DAY)
    assert [each.upper for each in chunks] == ["1970-01-02", "1997-05-19", None]


def test_a_date_column_is_never_cut_within_a_day() -> None:
    assert len(plan([day(0, 10**9)], DATE, 1000, DAY)) == 1


def test_short_neighbours_are_joined_as_long_as_they_fit() -> None:
    hours = [Stretch(n * MICROSECONDS_PER_HOUR, (n + 1) * MICROSECONDS_PER_HOUR, 300) for n in range(6)]
    assert [each.estimated for each in plan(hours, TIMESTAMP, 1000, DAY)] == [898, 898]


@st.composite
def stretches(draw: st.DrawFn) -> list[Stretch]:
    lengths = draw(st.lists(st.integers(1_000_000, 40 * DAY), max_size=12))
    edges = [draw(st.integers(-(10**16), 10**17))]
    for length in lengths:
        edges.append(edges[-1] + length)
    return [Stretch(lower, upper, draw(st.integers(1, 10**7))) for lower, upper in pairwise(edges)]


@settings(max_examples=200, deadline=None)
@given(stretches(), st.integers(1, 10**6), st.integers(MICROSECONDS_PER_HOUR, 2 * DAY))
def test_chunks_lie_end_to_end_and_keep_their_size(given_stretches: list[Stretch], rows: int, span: int) -> None:
    chunks = plan(given_stretches, TIMESTAMP, max(rows, 20_000), span)
    assert (chunks[0].lower, chunks[-1].upper) == (None, None)
    assert [each.number for each in chunks] == list(range(1, len(chunks) + 1))
    for one, other in pairwise(chunks):
        assert one.upper is not None and one.upper == other.lower
    for each in chunks[1:-1]:
        assert each.lower is not None and each.upper is not None
        length = TIMESTAMP.position(each.upper) - TIMESTAMP.position(each.lower)
        assert 0 < length <= span + 1 or each.estimated <= 1
    assert all(each.estimated <= max(rows, 20_000) for each in chunks)


@settings(max_examples=200, deadline=None)
@given(st.integers(-(6 * 10**16), 2 * 10**17), st.sampled_from([TIMESTAMP, ZONED]))
def test_a_position_reads_back_from_its_text(position: int, scale: TimeScale) -> None:
    assert scale.position(scale.text(position)) == position


@pytest.mark.parametrize(
    ("text", "back"),
    [
        ("0044-03-15 12:00:00 BC", "0001-01-01 00:00:00"),
        ("12024-01-01 00:00:00", "9999-12-31 23:59:59.999999"),
        ("2024-02-29 23:59:59.5", "2024-02-29 23:59:59.500000"),
    ],
)
def test_times_outside_of_four_digit_years_lie_at_the_ends(text: str, back: str) -> None:
    assert TIMESTAMP.text(TIMESTAMP.position(text)) == back


@pytest.mark.parametrize("type_name", ["bigint", "text", "time without time zone", "timestamp"])
def test_other_types_of_time_are_named(type_name: str) -> None:
    with pytest.raises(UnknownTimeType, match=type_name):
        TimeScale.of(type_name)
