"""Which of several rows holds a cell, and where the others can lie."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, permutations

import pytest

from cdc.clock.time_text import TimeText
from cdc.source.narrow import NarrowTable
from cdc.source.time_encoding import TimeRule
from sink.mapping.dictionary import Dictionary
from sink.mapping.interpret import Interpreter
from sink.mapping.rule import DictionaryRule, Rule
from sink.mapping.several import Meeting, SourceRow, comparable, rank
from sink.mapping.source_range import SourceRange

RULE = Rule(
    NarrowTable("public", "obs", ("person",), ("at",), ("concept",), ("v",), ("n",)),
    {"person": "integer", "at": "timestamp without time zone", "concept": "text", "v": "text", "n": "bigint"},
    ("person",),
    ("concept",),
    several="last",
    order_by=("n",),
)

TEXTS = TimeRule("text", bucket=15_000_000, written=TimeText.of("YYYY-MM-DDTHH:MM:SS[.f]Z"))


def row(value, n, at="2024-01-01 00:00:00", key="heartbeat"):
    return SourceRow("public.obs", ("1", at), (key, value, n))


def held(rows, rule=RULE):
    meeting, interpreter = Meeting([rule]), Interpreter(rule)
    for each in rows:
        found = interpreter.read(each.head, each.row)
        assert isinstance(found, list)
        meeting.take(each, found)
    return [reading.value for _, reading in meeting.held.values()]


@pytest.mark.parametrize(("several", "holder"), [("first", "a"), ("last", "c")])
def test_in_whatever_order_rows_come_the_same_one_holds(several, holder):
    rows = [row("a", "9"), row("b", "10"), row("c", None)]  # by number, not by text; NULL is after all
    assert {tuple(held(each, replace(RULE, several=several))) for each in permutations(rows)} == {(holder,)}


def test_rows_that_nothing_tells_apart_are_told_apart_always_alike():
    rows = [row("a", "1"), row("b", "1"), row("c", "1")]
    assert len({tuple(held(each)) for each in permutations(rows)}) == 1


def test_a_last_row_without_a_value_holds_its_cell_empty():
    assert held([row("a", "1"), row(None, "2")]) == [None]


@pytest.mark.parametrize(
    ("kind", "ordered"),
    [
        ("numeric(10,2)", ["-Infinity", "-1.50", "0.00", "9.99", "10.00", "Infinity", "NaN", None]),
        ("timestamp with time zone", ["-infinity", "0044-03-15 00:00:00+00 BC", "2024-01-01 00:00:00+00", "infinity"]),
        ("text", ["", "10", "9", "a", "\u00e9", None]),
        ("boolean", ["f", "t", None]),
    ],
)
def test_values_are_compared_as_the_server_compares_them(kind, ordered):
    assert all(comparable(one, kind) < comparable(other, kind) for one, other in pairwise(ordered))


def test_of_texts_with_a_fraction_or_none_the_last_is_the_later_moment():
    rule = replace(RULE, time=TEXTS, types={**RULE.types, "at": "text"})
    early, late = (row("a", "1", at=f"2024-01-01T00:00:10{end}Z") for end in ("", ".5"))
    assert rank(rule, early) < rank(rule, late)


def reach(**changes):
    dictionary = Dictionary({"1": ("a", "x"), "2": ("a", "y"), "3": ("b", "x")})
    return SourceRange(Interpreter(replace(RULE, **changes), dictionary))


NAMED = DictionaryRule("concept", "SELECT id, name, unit FROM names", ("name", "unit"))


def test_rows_of_a_cell_are_looked_for_by_all_ids_of_its_name_whatever_else_the_dictionary_says_of_them():
    found = reach(dictionary=NAMED, key=("name",))
    assert [each.column for each in found.tests] == ["person", "at", "concept"]
    places = found.places(row("a", "1", key="2"))
    assert places == [("1", "2024-01-01 00:00:00", "1"), ("1", "2024-01-01 00:00:00", "2")]


@pytest.mark.parametrize(
    ("rule", "kind", "raw", "inside"),
    [
        (TimeRule(bucket=15_000_000), "timestamp without time zone", "2024-01-01 00:00:10", "2024-01-01 00:00:22.4999"),
        (TimeRule("epoch_s", bucket=15_000_000), "bigint", "1704067210", "1704067222"),
        (TimeRule("epoch_ms", bucket=15_000_000), "bigint", "1704067210000", "1704067207500"),
        (TimeRule("epoch_float"), "double precision", "1704067210.25", "1704067210.2500002"),
        (TimeRule("epoch_ns"), "bigint", "1704067210000000001", "1704067210000000999"),
        (TEXTS, "text", "2024-01-01T00:00:10.25Z", "2024-01-01T00:00:22.4999Z"),
    ],
)  # fmt: skip
def test_rows_of_a_bucket_are_looked_for_in_all_of_it(rule, kind, raw, inside):
    assert rule.wide((raw,)) == rule.wide((inside,))
    found = reach(time=rule, types={**RULE.types, "at": kind})
    assert found.tests[0].ranged
    ((lower, upper, *rest),) = found.places(row("a", "1", at=raw))
    assert comparable(lower, kind) < comparable(inside, kind) < comparable(upper, kind)
    assert rest == ["1", "heartbeat"]
