"""Chunks are ranges of whatever the axis is, and what meets in a wide row is in one of them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.clock.time_text import TimeText
from cdc.source.narrow import NarrowTable
from cdc.source.time_encoding import TimeRule, Untimely, parsed, printed
from sink.mapping.mapping import Mapping
from sink.mapping.rule import Rule
from snapshot.chunks.chunk_key import Scale, scale
from widebeam.verify.range_reader import wide_bound

TABLE = NarrowTable("t", "r", ("e",), ("at",), ("k",), ("v",))


def of(kind: str, rule: TimeRule) -> Scale:
    found = scale(Rule(TABLE, {"at": kind}, ("e",), ("k",), rule))
    assert found is not None
    return found


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(
        [("epoch_s", "bigint"), ("epoch_ms", "numeric(20,0)"), ("epoch_us", "bigint"), ("epoch_ns", "bigint")]
    ),
    st.integers(-(10**9), 10**9),
    st.integers(0, 10**15),
    st.sampled_from([0, 1, 7, 15_000_000, 1_500_000]),
)
def test_a_bound_never_parts_what_is_rounded_together(
    form: tuple[str, str], distance: int, position: int, bucket: int
) -> None:
    rule = TimeRule(form[0], bucket=bucket)  # type: ignore[arg-type]
    bound = int(of(form[1], rule).text(position))
    raw = bound + distance
    together = rule.wide((str(raw),)) == rule.wide((str(bound),))
    assert not (together and raw < bound)
    assert rule.wide((str(bound - 1),)) != rule.wide((str(bound),))


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 4e9), st.sampled_from([0, 1, 15_000_000]))
def test_a_bound_of_float_seconds_parts_nothing_either(seconds: float, bucket: int) -> None:
    rule = TimeRule("epoch_float", bucket=bucket)
    axis = of("double precision", rule)
    position = axis.position(repr(seconds))
    bound = float(axis.text(position))
    for near in (seconds, bound):
        if near < bound:
            assert rule.wide((repr(near),)) < rule.wide((repr(bound),))
        else:
            assert rule.wide((repr(near),)) >= rule.wide((repr(bound),))
    exact = Decimal(of("numeric(20,9)", rule).text(position))
    assert rule.wide((str(exact),)) == rule.wide((repr(bound),))
    assert rule.wide((str(exact - Decimal("1e-9")),)) != rule.wide((str(exact),))


def test_a_time_that_is_too_fine_lies_somewhere_and_a_bound_has_a_place_in_the_wide_table() -> None:
    rule = Rule(TABLE, {"at": "double precision"}, ("e",), ("k",), TimeRule("epoch_float", rounds=False))
    axis = scale(rule)
    assert axis is not None
    assert axis.position("1700000000.1234567") == 1_700_000_000_123_457
    bound = wide_bound(Mapping("c", (rule,), "wide", "{entity}"), axis.text(1_700_000_000_123_457))
    assert bound == "2023-11-14 22:13:20.123457+00"


def test_buckets_of_a_native_time_are_not_parted() -> None:
    axis = of("timestamp without time zone", TimeRule(bucket=15_000_000))
    assert axis.text(axis.position("2024-01-01 00:00:10")) == "2024-01-01 00:00:07.500000"


def test_without_time_an_integer_of_the_entity_is_the_axis() -> None:
    table = NarrowTable("t", "r", ("e", "s"), (), ("k",), ("v",))
    axis = scale(Rule(table, {"e": "integer", "s": "smallint"}, ("e", "s"), ("k",)))
    assert axis is not None
    assert (axis.text(7), axis.text(2**40), axis.position("-3")) == ("7", str(2**31 - 1), -3)
    assert axis.within is None


@pytest.mark.parametrize("kind", ["text", "uuid", "jsonb"])
def test_what_has_no_order_that_we_know_is_one_chunk(kind: str) -> None:
    table = NarrowTable("t", "r", ("e",), (), ("k",), ("v",))
    assert scale(Rule(table, {"e": kind}, ("e",), ("k",))) is None


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(
        ["YYYY-MM-DDTHH:MM:SS.fffZ", "YYYY-MM-DD HH:MM:SS", "YYYY-MM-DDTHH:MM:SS.ffffff-03:30", "YYYY-MM-DD"]
    ),
    st.sampled_from([0, 1, 15_000_000, 86_400_000_000]),
    st.integers(0, 10**15),
    st.lists(st.integers(-200_000_000_000, 200_000_000_000), min_size=2),
)
def test_a_bound_of_texts_parts_no_bucket(layout: str, bucket: int, position: int, near: list[int]) -> None:
    written = TimeText.of(layout)
    assert written is not None
    rule = TimeRule("text", bucket=bucket, written=written)
    axis = of("text", rule)
    bound = axis.text(position)
    texts = {written.text((position + each) // written.step * written.step) for each in near} | {bound}
    below = [rule.wide((each,)) for each in texts if each < bound]
    assert not below or max(below) < min(rule.wide((each,)) for each in texts if each >= bound)
    assert axis.position(bound) <= axis.position(axis.text(position + axis.step))


def test_texts_of_several_lengths_are_one_chunk_and_odd_ones_lie_somewhere() -> None:
    rule = TimeRule("text", written=TimeText.of("YYYY-MM-DDTHH:MM:SS[.f]Z"))
    assert scale(Rule(TABLE, {"at": "text"}, ("e",), ("k",), rule)) is None
    axis = of("text", TimeRule("text", written=TimeText.of("YYYY-MM-DDTHH:MM:SSZ")))
    places = list(map(axis.position, ["2023", "2023-99-99 99", "2024-02-31T00:00:00Z", "2024-03-01T00:00:00Z"]))
    assert places == sorted(places)
    assert axis.position("none") == 0


LOCAL = [
    TimeRule(zone="Europe/Paris", bucket=86_400_000_000),
    TimeRule(zone="Asia/Kolkata", bucket=3_600_000_000),
    TimeRule(zone="Europe/Paris", bucket=86_400_000_000, bucket_zone="Europe/Paris"),
    TimeRule(zone="Australia/Lord_Howe", bucket=3_600_000_000, bucket_zone="Australia/Lord_Howe"),
    TimeRule(zone="Europe/Paris", bucket=3_600_000_000, bucket_zone="Asia/Kolkata"),
    TimeRule(zone="America/St_Johns", bucket=86_400_000_000, bucket_zone="America/St_Johns"),
    TimeRule(zone="Pacific/Apia", bucket=86_400_000_000, bucket_zone="Pacific/Apia"),
    TimeRule(zoned=True, bucket=86_400_000_000, bucket_zone="America/St_Johns"),
    TimeRule(bucket=3 * 86_400_000_000),
]
CHANGES = ["2024-03-31", "2024-10-27", "2010-11-07", "2011-12-30", "2024-04-07"]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(LOCAL),
    st.sampled_from(CHANGES),
    st.integers(-6000, 6000),
    st.lists(st.integers(-6000, 6000), min_size=2),
    st.booleans(),
)
def test_a_bound_of_local_time_parts_no_bucket(
    rule: TimeRule, day: str, where: int, minutes: list[int], dates: bool
) -> None:
    """Days of the calendar, too: their bounds are dates, and not the time of day of a border."""
    axis = of(
        "date" if dates and rule.zone is None else f"timestamp {'with' if rule.zoned else 'without'} time zone", rule
    )

    def local(minute: int) -> str:
        text = printed(parsed(day) + minute * 60_000_000, zoned=rule.zoned)
        return text[:10] if dates and rule.zone is None else text

    bound = axis.text(axis.position(local(where)))
    below, above = set[str](), set[str]()
    for raw in (*map(local, minutes), bound):
        try:
            (below if parsed(raw) < parsed(bound) else above).add(rule.wide((raw,))[0])
        except Untimely:  # the clocks never show it
            continue
    assert not below or max(below) < min(above)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([1, 100_000, 1_000_000, 1_500_000, 3_000_000]),
    st.integers(-10, 10),
    st.lists(st.tuples(st.integers(-10, 10), st.integers(0, 2_000_000_000)), min_size=2),
)
def test_seconds_and_nanoseconds_that_are_rounded_together_are_on_one_side(
    bucket: int, bound: int, times: list[tuple[int, int]]
) -> None:
    rule = TimeRule("s_ns", bucket=bucket)
    first = rule.first(bound)
    for second, nanosecond in times:
        above = second * 1_000_000_000 + nanosecond >= first
        assert above == (rule.seconds((str(second), str(nanosecond))) >= bound)
