"""Chunks are ranges of whatever the axis is, and what meets in a wide row is in one of them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.source.narrow import NarrowTable
from cdc.source.time_encoding import TimeRule
from sink.mapping.rule import Rule
from snapshot.chunks.chunk_key import Scale, scale

TABLE = NarrowTable("t", "r", ("e",), ("at",), ("k",), ("v",))


def of(kind: str, rule: TimeRule) -> Scale:
    found = scale(Rule(TABLE, {"at": kind}, ("e",), ("k",), rule))
    assert found is not None
    return found


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([("epoch_s", 10**6), ("epoch_ms", 1000), ("epoch_us", 1)]),
    st.integers(-(10**9), 10**9),
    st.integers(0, 10**15),
    st.sampled_from([0, 1, 7, 15_000_000, 1_500_000]),
)
def test_a_bound_never_parts_what_is_rounded_together(
    form: tuple[str, int], distance: int, position: int, bucket: int
) -> None:
    rule = TimeRule(form[0], bucket=bucket)  # type: ignore[arg-type]
    bound = int(of("bigint", rule).text(position))
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


def test_buckets_of_a_native_time_are_not_parted() -> None:
    axis = of("timestamp without time zone", TimeRule(bucket=15_000_000))
    assert axis.text(axis.position("2024-01-01 00:00:10")) == "2024-01-01 00:00:07.500000"


def test_without_time_an_integer_of_the_entity_is_the_axis() -> None:
    table = NarrowTable("t", "r", ("e", "s"), (), ("k",), ("v",))
    axis = scale(Rule(table, {"e": "integer", "s": "smallint"}, ("e", "s"), ("k",)))
    assert axis is not None
    assert (axis.text(7), axis.text(2**40), axis.position("-3")) == ("7", str(2**31 - 1), -3)
    assert not axis.endless


@pytest.mark.parametrize("kind", ["text", "uuid", "jsonb"])
def test_what_has_no_order_that_we_know_is_one_chunk(kind: str) -> None:
    table = NarrowTable("t", "r", ("e",), (), ("k",), ("v",))
    assert scale(Rule(table, {"e": kind}, ("e",), ("k",))) is None
