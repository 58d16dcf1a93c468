"""A row of a narrow table becomes its readings, by the words of the mapping language."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdc.event import UNCHANGED
from cdc.source.narrow import NarrowTable
from cdc.source.time_encoding import TimeRule
from sink.mapping.dictionary import Dictionary, Renamed
from sink.mapping.interpret import Interpreter, Reading, Unplaced, is_number
from sink.mapping.rule import DictionaryRule, Rule

THINGS = Rule(
    NarrowTable("public", "ts_kv", ("entity_id",), ("ts",), ("key",), ("bool_v", "str_v", "long_v")),
    {"entity_id": "uuid", "ts": "bigint", "key": "integer", "bool_v": "boolean", "str_v": "text", "long_v": "bigint"},
    ("entity_id",),
    ("key",),
    TimeRule("epoch_ms"),
    dictionary=DictionaryRule("key", "SELECT key_id, key FROM key_dictionary", ("key",)),
)
HEAD = ("e", "1700000000000")
MOMENT = ("2023-11-14 22:13:20+00",)


def things(**changes):
    return Interpreter(replace(THINGS, **changes), Dictionary({"7": ("temperature",)}))


def test_an_id_becomes_its_name_and_an_epoch_a_time():
    assert things().read(HEAD, ["7", None, None, "5"]) == [
        Reading(("e",), MOMENT, "temperature", "long_v", "bigint", "5")
    ]


def test_an_unknown_id_has_no_place_and_is_asked_for():
    interpreter = things()
    found = interpreter.read(HEAD, ["8", None, None, "5"])
    assert isinstance(found, Unplaced)
    assert found.reason == "unknown_id"
    assert interpreter.dictionary.missing == {"8"}
    assert interpreter.dictionary.take([("8", ("pressure",)), ("7", ("heat",))]) == [
        Renamed("7", ("temperature",), ("heat",))
    ]
    assert interpreter.dictionary.missing == set()
    (reading,) = interpreter.read(HEAD, ["8", None, None, "5"])
    assert reading.key == "pressure"


def test_several_ids_of_one_name_are_one_column():
    dictionary = Dictionary({"1": ("a",), "2": ("a",), "3": ("b",)})
    assert dictionary.ids(("a",)) == ("1", "2")


def test_a_row_that_is_gone_is_its_cell_without_a_value():
    (reading,) = things().read(HEAD, ["7", None, None, None], gone=True)
    assert (reading.key, reading.value) == ("temperature", None)


def test_a_filtered_row_counts_as_if_it_were_not_there():
    table = replace(THINGS.table, extra=("voided",))
    interpreter = things(table=table, where={"voided": frozenset(["0", "f"])})
    assert [each.value for each in interpreter.read(HEAD, ["7", None, None, "5", "0"])] == ["5"]
    assert [each.value for each in interpreter.read(HEAD, ["7", None, None, "5", "1"])] == [None]
    assert [each.value for each in interpreter.read(HEAD, ["7", None, None, "5", None])] == [None]
    assert interpreter.read(HEAD, ["7", None, None, "5", UNCHANGED]).reason == "unknown_filter"


def test_a_filter_can_ask_for_null_and_what_it_leaves_out_needs_no_place():
    table = replace(THINGS.table, extra=("voided",))
    live = things(table=table, where={"voided": frozenset(["f", "IS NULL"])})
    read = [live.read(HEAD, ["7", None, None, "5", voided]) for voided in (None, "f", "t")]
    assert [reading.value for (reading,) in read] == ["5", "5", None]
    named = things(table=table, where={"key": frozenset(["IS NOT NULL"])})
    assert [each.value for each in named.read(HEAD, ["7", None, None, "5", None])] == ["5"]
    assert named.read(HEAD, [None, None, None, "5", None]) == []
    assert named.read((None, "nonsense"), [None, None, None, "5", None]) == []
    assert isinstance(things(table=table).read(HEAD, [None, None, None, "5", None]), Unplaced)
    assert isinstance(named.read((HEAD[0], "nonsense"), ["7", None, None, "5", None]), Unplaced)


def test_sentinels_count_as_null():
    interpreter = things(nulls=frozenset(["unavailable"]))
    assert [each.value for each in interpreter.read(HEAD, ["7", None, "unavailable", None])] == [None]
    assert [each.value for each in interpreter.read(HEAD, ["7", None, "unavailable", "3"])] == ["3"]


def test_texts_that_are_numbers_become_numbers_that_a_text_column_takes_too():
    interpreter = things(numbers=frozenset(["str_v"]))
    (number,) = interpreter.read(HEAD, ["7", None, "21.50", None])
    assert number.type == "double precision"
    assert number.fits("double precision") and number.fits("text")
    (text,) = interpreter.read(HEAD, ["7", None, "on", None])
    assert text.type == "text"
    assert not text.fits("double precision")


@pytest.mark.parametrize(
    ("text", "number"),
    [("0.1", True), ("-5", True), ("1e3", True), ("9007199254740993", False), ("1e999", False), ("NaN", False),
     ("2.2000000476837158", True), ("2.6000001430511475", True), ("2.2000000476837159", False), ("1.50", True),
     ("0.1000000000000000055511151231257827021181583404541015625", True), ("0.10000000000000000555", False),
     ("", False), (" 1", False), ("0x10", False), ("1_0", False), ("٣", False)],
)  # fmt: skip
def test_a_number_is_what_a_double_holds_without_losing_a_digit(text, number):
    assert is_number(text) is number


def test_each_measure_is_a_reading_of_its_own():
    interpreter = things(measures=True)
    assert [(each.key, each.value) for each in interpreter.read(HEAD, ["7", "t", None, "5"])] == [
        ("temperature.bool_v", "t"),
        ("temperature.str_v", None),
        ("temperature.long_v", "5"),
    ]


def test_the_key_comes_from_the_table_s_name():
    rule = Rule(
        NarrowTable("public", "item0012", (), ("time",), (), ("value",)),
        {"time": "timestamp without time zone", "value": "double precision"},
        (),
        ("table",),
        table_value="12",
    )
    assert Interpreter(rule).read(("2024-01-01 00:00:00",), ["1.5"]) == [
        Reading((), ("2024-01-01 00:00:00",), "12", "value", "double precision", "1.5")
    ]


def prometheus(**changes):
    table = NarrowTable("public", "samples", (), ("time",), ("labels",), ("value",))
    types = {"time": "timestamp with time zone", "labels": "jsonb", "value": "double precision"}
    return Interpreter(Rule(table, types, (), ("__name__", "host"), labels="labels", **changes))


def test_a_key_is_composed_of_fields_of_a_jsonb_column():
    interpreter = prometheus(fields=frozenset(["__name__", "host"]))
    row = ['{"host": "a", "__name__": "up", "le": 0.50}', "1"]
    (reading,) = interpreter.read(("t",), row)
    assert reading.key == "up/a"
    assert interpreter.read(("t",), ['{"host": "a"}', "1"]).reason == "null_key"
    assert interpreter.read(("t",), ["[1]", "1"]) == Unplaced("bad_labels", "'[1]' is no JSON object")


def test_all_labels_are_sorted_and_numbers_stay_as_they_are_written():
    interpreter = prometheus(all_labels=True)
    (reading,) = interpreter.read(("t",), ['{"host": "a", "__name__": "up", "le": 0.50, "x": null, "y": true}', "1"])
    assert reading.key == "__name__=up,host=a,le=0.50,y=true"


def test_series_whose_labels_hold_what_joins_them_are_not_the_same():
    interpreter = prometheus(all_labels=True)
    rows = [
        '{"a": "1,b=2"}',
        '{"a": "1", "b": "2"}',
        '{"a": "1\\\\", "b": "2"}',
        '{"a": "1\\\\,b=2"}',
        '{"a=1,b": "2"}',
    ]
    keys = [interpreter.read(("t",), [row, "1"])[0].key for row in rows]
    assert keys == [r"a=1\,b=2", "a=1,b=2", r"a=1\\,b=2", r"a=1\\\,b=2", r"a\=1\,b=2"]


def test_without_time_the_wide_key_is_the_entity():
    table = NarrowTable("public", "eav", ("entity_id", "store_id"), (), ("attribute_id",), ("value",))
    types = {"entity_id": "integer", "store_id": "smallint", "attribute_id": "smallint", "value": "text"}
    (reading,) = Interpreter(Rule(table, types, table.entity, table.key)).read(("1", "0"), ["73", "x"])
    assert (reading.entity, reading.time, reading.key) == (("1", "0"), (), "73")


def test_only_single_real_columns_as_they_are_make_a_rule_plain():
    table = NarrowTable("t", "r", ("ship",), ("at",), ("channel",), ("v",))
    plain = Rule.of(table, {"ship": "text", "at": "timestamp without time zone", "channel": "text", "v": "integer"})
    assert plain.plain
    assert not replace(plain, several="last").plain
    assert not replace(plain, time=TimeRule(bucket=1)).plain
    assert not replace(plain, nulls=frozenset(["x"])).plain
    assert not replace(plain, key=("channel", "ship")).plain
    assert plain.time_types == {"at": "timestamp without time zone"}
    assert replace(plain, time=TimeRule("epoch_s")).time_types == {"at": "timestamp with time zone"}


PARTS = st.lists(st.text(alphabet="a-\\~/", max_size=4), min_size=2, max_size=2)


@example(["a/", "a"], ["a", "/a"], "/")
@given(PARTS, PARTS, st.sampled_from(["/", "-", "--", "-/", "\\", "/\\", "aa", "~"]))
def test_no_two_keys_of_several_parts_are_one_column(one, other, separator):
    rule = replace(THINGS, key_separator=separator)
    assert (rule.joined(one) == rule.joined(other)) == (one == other)


def test_parts_that_can_be_told_apart_are_joined_as_they_are():
    rule = replace(THINGS, key_separator="-")
    assert rule.joined(["a", "b c", "ü/\\"]) == "a-b c-ü/\\"
    assert rule.joined(["a-b"]) == "a-b"
    assert [rule.joined(parts) for parts in (["a-b", "c"], ["a", "b-c"])] == ["a\\-b-c", "a-b\\-c"]


def test_a_connector_from_before_that_keeps_its_columns_names():
    assert replace(THINGS, escapes=False).joined(["a/b", "c"]) == "a/b/c"


def test_the_spaces_that_fill_up_a_character_n_are_no_part_of_a_name():
    table = NarrowTable("public", "r", ("e",), ("at",), ("k",), ("v",), ("kind", "good"))
    types = dict.fromkeys(("e", "k", "v", "kind", "good"), "character(4)") | {"at": "timestamp without time zone"}
    rule = Rule(
        table, types, ("e",), ("k",), where={"good": frozenset(["y"])}, discriminator="kind", choices={"v": "v"}
    )
    assert not rule.plain
    assert rule.entity_types == {"e": "text"}
    [reading] = Interpreter(rule).read(("a   ", "2024-01-01 00:00:00"), ["k   ", "1   ", "v   ", "y   "])
    assert (reading.entity, reading.key, reading.value) == (("a",), "k", "1   "), "a value stays as it is"
