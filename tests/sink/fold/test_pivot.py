"""Folding: any cut into batches means the same as one change after the other."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.event import UNCHANGED
from cdc.lsn import Lsn
from cdc.record.record import Changes, Stamp
from sink.fold.column_route import Routes
from sink.fold.pivot import Fold
from sink.fold.spread import spread
from sink.mapping.rule import Rule
from sink.merge.tombstones import cleared
from sink.wide.planned import plan

FORMATS = {"Decimal": 1, "Integer": 2, "String": 3, "Boolean": 4}
KEYS = ["a", "b", "c"]


def narrow(op, key, chosen="Decimal", value=None):
    row = [op, key, None, None, None, None, chosen]
    if chosen in FORMATS:
        row[FORMATS[chosen] + 1] = value
    return row


def record(rows, position=8, ship="ship-1", time="t1", **changes):
    columns = ["data_channel_id", "double_v", "long_v", "str_v", "bool_v", "value_format"]
    made = Changes(
        Stamp("ships", 1, 0, Lsn(position), 1, 0),
        "tenant.tbl_data_timeseries",
        {"ship_id": ship, "created_time": time},
        columns,
        rows,
    )
    return made._replace(**changes)


def folded(mapping, records, entities=None, refused=None, *, escape=False):
    """Fold, make what is needed, and fold again, as the sink does."""
    entities = {} if entities is None else entities
    routes = Routes(mapping, entities, 1)
    while True:
        fold = Fold(mapping, routes, refused)
        for n, each in enumerate(records):
            fold.add(each, f"0:{n}", escape=escape)
        if not fold.needs:
            return fold
        entities.update({made.entity.identity: made.entity for made in plan(mapping, entities, fold.needs, [])})


def cells(fold, entities, entity='["ship-1"]', wide=("t1",)):
    row = fold.tables[entity][wide]
    return {entities[entity].ordinals[ordinal].key: value for ordinal, value in row.cells.items()}


def test_the_discriminator_chooses_value_and_type(mapping):
    entities = {}
    rows = [narrow("i", "a", "Decimal", "1.5"), narrow("i", "b", "String", "x"), narrow("i", "c", "Boolean", "t")]
    fold = folded(mapping, [record(rows)], entities)
    assert cells(fold, entities) == {"a": "1.5", "b": "x", "c": "t"}
    assert [column.type for column in entities['["ship-1"]'].columns.values()] == [
        "double precision",
        "text",
        "boolean",
    ]


def test_without_a_discriminator_the_one_value_that_is_there_counts_and_two_go_into_quarantine(mapping):
    plain = replace(mapping, rules=(Rule.of(mapping.table, mapping.types),))
    entities = {}
    fold = folded(
        plain,
        [
            record(
                [
                    ["i", "a", None, "7", None, None, None],
                    ["i", "b", None, None, "y", None, None],
                    ["u", "b", None, "7", "y", None, None],
                ]
            )
        ],
        entities,
    )
    assert cells(fold, entities) == {"a": "7", "b": None}
    assert [quarantine_entry.reason for quarantine_entry in fold.quarantine_entries] == ["two_values"]


def test_the_last_change_of_a_cell_wins_and_its_position_is_the_row_s(mapping):
    entities = {}
    records = [record([narrow("i", "a", "Decimal", "1")]), record([narrow("u", "a", "Decimal", "2")], position=16)]
    fold = folded(mapping, records, entities)
    assert cells(fold, entities) == {"a": "2"}
    assert fold.tables['["ship-1"]']["t1",].position == 16


def test_a_deleted_cell_that_is_set_again_is_set(mapping):
    entities = {}
    rows = [narrow("i", "a", "Decimal", "1"), narrow("d", "a"), narrow("i", "a", "Decimal", "2")]
    fold = folded(mapping, [record(rows)], entities)
    assert cells(fold, entities) == {"a": "2"}


def test_null_clears_and_unchanged_keeps(mapping):
    entities = {}
    folded(mapping, [record([narrow("i", "a", "String", "x"), narrow("i", "b", "String", "x")])], entities)
    fold = folded(
        mapping, [record([narrow("u", "a", "String", None), narrow("u", "b", "String", UNCHANGED)])], entities
    )
    assert cells(fold, entities) == {"a": None}


def test_deletes_can_be_ignored(mapping):
    entities = {}
    ignoring = replace(mapping, on_delete="ignore")
    folded(ignoring, [record([narrow("i", "a", "Decimal", "1")])], entities)
    fold = folded(ignoring, [record([narrow("d", "a")])], entities)
    assert cells(fold, entities) == {}


def test_a_place_that_a_reading_moved_away_from_is_cleared_even_where_deletes_are_ignored(mapping):
    entities = {}
    ignoring = replace(mapping, on_delete="ignore")
    folded(ignoring, [record([narrow("i", "a", "Decimal", "1")])], entities)
    fold = folded(ignoring, [record([narrow("m", "a", "Decimal", "1")])], entities)
    assert cells(fold, entities) == {"a": None}


def test_a_cleared_key_without_a_column_is_remembered_for_the_chunks(mapping):
    fold = folded(mapping, [record([narrow("d", "never seen")])])
    assert fold.tables['["ship-1"]']["t1",].bare == {"never seen"}


def test_a_reading_of_another_type_is_quarantined_whole_and_its_cell_cleared(mapping):
    entities = {}
    folded(mapping, [record([narrow("i", "a", "Decimal", "1")])], entities)
    fold = folded(mapping, [record([narrow("u", "a", "String", "x")])], entities)
    (quarantine_entry,) = fold.quarantine_entries
    assert (quarantine_entry.reason, quarantine_entry.origin, quarantine_entry.position) == (
        "type_conflict",
        "0:0:0",
        8,
    )
    assert orjson.loads(quarantine_entry.raw)["row"] == narrow("u", "a", "String", "x")
    assert cells(fold, entities) == {"a": None}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (narrow("i", "", "Decimal", "1"), "empty_key"),
        (narrow("i", None, "Decimal", "1"), "null_key"),
        (narrow("i", "a\x01", "Decimal", "1"), "unplaceable_key"),
        (["i", "a", "1", None, None, None, "Complex"], "unknown_discriminator"),
        (["i", "a", "1", None, None, None, None], "unknown_discriminator"),
    ],
)
def test_what_cannot_be_placed_is_quarantined_and_the_rest_goes_on(mapping, row, reason):
    entities = {}
    fold = folded(mapping, [record([row, narrow("i", "b", "Decimal", "2")])], entities)
    assert [quarantine_entry.reason for quarantine_entry in fold.quarantine_entries] == [reason]
    assert cells(fold, entities)["b"] == "2"


def test_an_unknown_discriminator_without_any_value_only_clears(mapping):
    fold = folded(mapping, [record([["u", "a", None, None, None, None, "Complex"]])])
    assert fold.quarantine_entries == []
    assert fold.tables['["ship-1"]']["t1",].bare == {"a"}


def test_a_refused_key_is_quarantined_with_the_reason(mapping):
    refused = {('["ship-1"]', "a"): ("unknown_key", "no column for it")}
    fold = folded(mapping, [record([narrow("i", "a", "Decimal", "1")])], refused=refused)
    assert [(quarantine_entry.reason, quarantine_entry.detail) for quarantine_entry in fold.quarantine_entries] == [
        ("unknown_key", "no column for it")
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"table": "tenant.other"}, "foreign_record"),
        ({"columns": ["data_channel_id", "x", "long_v", "str_v", "bool_v", "value_format"]}, "foreign_record"),
        ({"wide": {"ship_id": "s"}}, "foreign_record"),
        ({"wide": {"ship_id": "s", "created_time": "t", "more": "x"}}, "foreign_record"),
        ({"wide": {"ship_id": "s", "created_time": None}}, "null_wide_key"),
    ],
)
def test_a_record_that_does_not_fit_the_mapping_is_quarantined_row_by_row(mapping, changes, reason):
    rows = [narrow("i", "a", "Decimal", "1"), narrow("i", "b", "Decimal", "2")]
    fold = folded(mapping, [record(rows, **changes)])
    assert [(quarantine_entry.origin, quarantine_entry.reason) for quarantine_entry in fold.quarantine_entries] == [
        ("0:0:0", reason),
        ("0:0:1", reason),
    ]
    assert fold.tables == {}


def test_carried_columns_in_another_order_are_found_by_name(mapping):
    entities = {}
    columns = ["value_format", "bool_v", "str_v", "long_v", "double_v", "data_channel_id"]
    fold = folded(mapping, [record([["i", "Integer", None, None, "9", None, "a"]], columns=columns)], entities)
    assert cells(fold, entities) == {"a": "9"}


def test_values_are_escaped_for_copy_only_where_they_may_need_it(mapping):
    entities = {}
    fold = folded(mapping, [record([narrow("i", "a", "String", "\t\\\n")])], entities, escape=True)
    assert cells(fold, entities) == {"a": r"\t\\\n"}


def test_one_table_for_all_folds_by_entity_and_time(single):
    entities = {}
    rows = [narrow("i", "a", "Decimal", "1")]
    fold = folded(single, [record(rows), record(rows, ship="ship-2")], entities)
    assert set(fold.tables["[]"]) == {("ship-1", "t1"), ("ship-2", "t1")}


def test_sparse_rows_are_spread_over_one_set_of_columns_with_nulls_between(mapping):
    entities = {}
    records = [
        record([narrow("i", "a", "Decimal", "1"), narrow("i", "b", "Decimal", "2")], time="t1"),
        record([narrow("i", "b", "Decimal", "3"), narrow("i", "a", "Decimal", "4")], time="t2"),
        record([narrow("i", "c", "Decimal", "5"), narrow("i", "a", "Decimal", "6")], time="t3"),
        record([narrow("i", "b", "Decimal", "7")], time="t\t4"),
    ]
    fold = folded(mapping, records, entities)
    (rows,) = spread(entities['["ship-1"]'], fold.tables['["ship-1"]'])
    (copy,) = rows.copies
    assert [column.key for column in copy.columns] == ["a", "b", "c"]
    assert sorted(copy.lines) == [
        "t1\t0/8\t1\t2\t\\N\n", "t2\t0/8\t4\t3\t\\N\n", "t3\t0/8\t6\t\\N\t5\n", "t\\t4\t0/8\t\\N\t7\t\\N\n",
    ]  # fmt: skip


def test_very_sparse_rows_are_not_written_as_rows_times_columns(mapping):
    entities = {}
    records = [record([narrow("i", f"k{n % 250}", "Decimal", "1")], time=f"t{n}") for n in range(5000)]
    fold = folded(mapping, records, entities)
    (rows,) = spread(entities['["ship-1"]'], fold.tables['["ship-1"]'])
    assert sum(len(copy.lines) for copy in rows.copies) == 5000
    assert sum(line.count(r"\N") for copy in rows.copies for line in copy.lines) < 20 * 5000
    assert len(rows.copies) < 40


values = st.one_of(st.none(), st.just(UNCHANGED), st.sampled_from(["1", "2", "3"]))
changes = st.tuples(
    st.sampled_from("iud"), st.sampled_from(KEYS), st.sampled_from(["Decimal", "String", "Odd"]), values,
    st.sampled_from(["t1", "t2"]),
)  # fmt: skip


def one_by_one(mapping, state, entities, change, position):
    """The naive model: what one change does to {time: {key: text}}; a key's type is that of its first value."""
    op, key, chosen, value, time = change
    row = state.setdefault(time, {})
    source = (mapping.rule.choices or {}).get(chosen)
    known = entities.get(key)
    if op == "d" or source is None or value is None:
        row.pop(key, None)
    elif value is UNCHANGED:
        if known is not None and known != source:
            row.pop(key, None)
    elif known is not None and known != source:
        row.pop(key, None)
    else:
        entities[key] = source
        row[key] = value


@settings(max_examples=150, deadline=None)
@given(st.lists(changes, max_size=25), st.lists(st.integers(1, 6), min_size=1, max_size=25))
def test_folding_in_batches_of_any_cut_is_applying_the_changes_one_by_one(mapping, all_changes, cuts):
    expected, types, entities, state = {}, {}, {}, {}
    position = 0
    rest = list(all_changes)
    for cut in (*cuts, len(rest) or 1):
        batch, rest = rest[:cut], rest[cut:]
        records = []
        for change in batch:
            position += 8
            one_by_one(mapping, expected, types, change, position)
            op, key, chosen, value, time = change
            records.append(record([narrow(op, key, chosen, value)], position=position, time=time))
        fold = folded(mapping, records, entities)
        for name, rows in fold.tables.items():
            for (time,), row in rows.items():
                wide = state.setdefault(time, {})
                for ordinal, value in row.cells.items():
                    wide[entities[name].ordinals[ordinal].key] = value
    got = {(time, key): value for time, row in state.items() for key, value in row.items() if value is not None}
    assert got == {(time, key): value for time, row in expected.items() for key, value in row.items()}


def test_what_the_target_refuses_clears_its_cells_and_what_stands_beside_it_counts(mapping):
    entities = {}
    folded(mapping, [record([narrow("i", key, value="1") for key in "abc"])], entities)
    fold = Fold(mapping, Routes(mapping, entities, 1))
    rows = [narrow("u", "a", value="odd"), narrow("d", "b"), narrow("i", "c", value="3")]
    fold.withhold(record(rows), "0:1", {0, 1}, "bad_value", "refused")
    assert cells(fold, entities) == {"a": None, "b": None, "c": "3"}
    assert [(entry.origin, entry.reason) for entry in fold.quarantine_entries] == [("0:1:0", "bad_value")]


LONG = "x" * 2_400


@pytest.mark.parametrize("overflow", [False, True])
def test_a_key_that_no_index_takes_is_quarantined_and_its_delete_is_nothing(mapping, overflow):
    mapping = replace(mapping, unknown_key="overflow" if overflow else "add_column")
    entities = {}
    rows = [narrow("i", LONG, value="1"), narrow("i", "a", value="2"), narrow("d", f"{LONG}y")]
    fold = folded(mapping, [record(rows)], entities)
    assert [(entry.origin, entry.reason) for entry in fold.quarantine_entries] == [("0:0:0", "too_long")]
    assert LONG not in entities['["ship-1"]'].columns
    assert cleared(mapping, entities, fold.tables) == []


@pytest.mark.parametrize("wide", [{"ship": LONG}, {"time": LONG}, {"ship": "\N{HANGUL SYLLABLE GA}" * 700}])
def test_a_wide_key_that_no_index_takes_is_quarantined_and_its_delete_is_nothing(mapping, wide):
    fold = folded(mapping, [record([narrow("i", "a", value="1"), narrow("d", "b")], **wide)])
    assert [(entry.origin, entry.reason) for entry in fold.quarantine_entries] == [("0:0:0", "too_long")]
    assert not fold.tables


@pytest.mark.parametrize(
    ("kind", "texts", "one"),
    [("numeric", ["1.0", "1.00", "1"], "1"), ("double precision", ["-0", "0"], "0"), ("text", ["1"], "1")],
)
def test_entities_that_are_equal_for_their_type_are_one_row(single, kind, texts, one):
    types = {**single.types, "ship_id": kind}
    mapping = replace(single, rules=(replace(single.rule, types=types),))
    entities = {}
    records = [record([narrow("i", KEYS[n], value=f"{n}")], 8 * n + 8, ship=ship) for n, ship in enumerate(texts)]
    fold = folded(mapping, [*records, record([narrow("d", "a")], 99, ship=texts[-1])], entities)
    assert list(fold.tables["[]"]) == [(one, "t1")]
    assert cells(fold, entities, "[]", (one, "t1"))["a"] is None


def test_an_entity_with_tables_of_its_own_is_its_text(mapping):
    mapping = replace(mapping, rules=(replace(mapping.rule, types={**mapping.types, "ship_id": "numeric"}),))
    fold = folded(mapping, [record([narrow("i", "a", value="1")], ship=ship) for ship in ("1.0", "1.00")])
    assert list(fold.tables) == ['["1.0"]', '["1.00"]']
