"""Names of columns and tables, and parts by bytes."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sink.mapping.names import fitted, folded, misplaced, part_name, reserved, table_name
from sink.mapping.wide import Entity, Need
from sink.mapping.width import MAX_COLUMNS, ROW_BYTES, width
from sink.wide.planned import plan


def planned_names(mapping, keys):
    (made,) = plan(mapping, {}, [Need(("ship-1",), key, "double_v", "double precision") for key in keys], [])
    return [column.name for column in made.columns]


def test_a_key_is_its_column_name_verbatim(mapping):
    key = 'Engine "1"/Temp; DROP — 엔진 🚢'
    assert planned_names(mapping, [key]) == [key]


def test_keys_that_are_equal_in_their_first_63_bytes_get_two_names(mapping):
    first, second = planned_names(mapping, ["x" * 70 + "a", "x" * 70 + "b"])
    assert first != second
    assert len(first) == len(second) == 63


def test_a_long_name_is_cut_between_characters():
    name = fitted("엔" * 40, "엔" * 40, set())
    assert len(name.encode()) <= 63
    assert name.rpartition("_")[0] == "엔" * 18  # 54 bytes


@pytest.mark.parametrize("key", ["created_time", "_lsn", "CTID", "xmin", "tableoid", "_LSN"])
def test_a_reserved_name_gets_a_suffix(mapping, key):
    (name,) = planned_names(mapping, [key])
    assert folded(name) not in reserved(mapping.key_columns)
    assert name.startswith(f"{key}_")


def test_keys_that_differ_by_case_or_unicode_form_get_two_names_that_do_not(mapping):
    names = planned_names(mapping, ["Temp", "TEMP", "caf\u00e9", "cafe\u0301"])
    assert len({unicodedata.normalize("NFC", name.casefold()) for name in names}) == 4


def test_a_key_that_looks_like_the_suffixed_name_of_another_gets_a_third(mapping):
    (suffixed,) = planned_names(mapping, ["xmin"])
    assert len(set(planned_names(mapping, [suffixed, "xmin"]))) == 2


@pytest.mark.parametrize(
    ("key", "reason"),
    [(None, "null_key"), ("", "empty_key"), ("a\0b", "unplaceable_key"), ("a\nb", "unplaceable_key")],
)
def test_a_key_that_no_column_can_be_named_after_says_why(key, reason):
    found = misplaced(key)
    assert found is not None
    assert found[0] == reason


@given(st.lists(st.text(min_size=1, max_size=30).filter(lambda key: misplaced(key) is None), unique=True, max_size=30))
def test_no_two_keys_ever_share_a_column(keys):
    taken = reserved(["t"])
    for key in keys:
        name = fitted(key, key, taken)
        assert folded(name) not in taken
        assert 0 < len(name.encode()) <= 63
        taken.add(folded(name))


def test_entities_that_come_to_one_table_name_get_two(mapping):
    needs = [Need((entity,), "a", "double_v", "double precision") for entity in ("Ship", "ship")]
    views = [made.entity.view for made in plan(mapping, {}, needs, [])]
    assert len({folded(view) for view in views}) == 2


def test_a_table_does_not_take_the_name_of_one_that_is_there(mapping):
    (made,) = plan(mapping, {}, [Need(("ship-1",), "a", "double_v", "double precision")], ["ship-1", "other"])
    assert made.entity.view.startswith("ship-1_")


def test_the_template_takes_the_entity_s_values():
    assert table_name("wide {entity}", ["a", None, "b"]) == "wide a__b"
    assert part_name("ship-1", 2) == "ship-1__2"


def test_1037_floats_make_two_parts(mapping):
    (made,) = plan(mapping, {}, [Need(("s",), f"k{n}", "double_v", "double precision") for n in range(1037)], [])
    assert sorted(made.entity.parts) == [1, 2]
    assert [column.ordinal for column in made.columns] == list(range(1, 1038))


def test_new_columns_go_to_the_last_part(mapping):
    (before,) = plan(mapping, {}, [Need(("s",), f"k{n}", "double_v", "double precision") for n in range(1037)], [])
    entities: dict[str, Entity] = {before.entity.identity: before.entity}
    (after,) = plan(mapping, entities, [Need(("s",), "new", "double_v", "double precision")], [])
    assert [column.part for column in after.columns] == [2]
    assert after.new_parts == []


def test_a_row_of_booleans_is_limited_by_the_number_of_columns(mapping):
    (made,) = plan(mapping, {}, [Need(("s",), f"k{n}", "bool_v", "boolean") for n in range(3000)], [])
    widest = max(len(made.entity.of_part(number)) for number in made.entity.parts)
    assert widest + 2 <= MAX_COLUMNS - 50, "the time and _lsn are columns, too, and so are those that somebody drops"


@given(st.lists(st.sampled_from(["boolean", "bigint", "text", "integer", "numeric(10,2)", "other.type"]), max_size=60))
def test_a_row_with_fewer_columns_is_never_wider(types):
    for n in range(len(types)):
        assert width([*types[:n], *types[n + 1 :]]).row_bytes <= width(types).row_bytes


def test_alignment_counts():
    assert width(["boolean", "bigint"]).row_bytes == width(["boolean"] * 7 + ["bigint"]).row_bytes
    assert not width(["bigint"] * (ROW_BYTES // 8)).fits


def test_more_columns_than_a_view_can_show_get_a_view_of_their_own(mapping):
    (made,) = plan(mapping, {}, [Need(("s",), f"k{n}", "double_v", "double precision") for n in range(4000)], [])
    shown = {view: made.entity.shown(view) for view in made.views}
    assert [len(columns) for _, columns in shown.values()] == [1598, 1598, 804]
    assert sum(len(parts) for parts, _ in shown.values()) == len(made.entity.parts)
    (after,) = plan(
        mapping, {made.entity.identity: made.entity}, [Need(("s",), "k", "double_v", "double precision")], []
    )
    assert (after.views, after.new_parts) == (made.views[2:], [])
