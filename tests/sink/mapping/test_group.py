"""Groups of keys: which key goes where, and what their tables and views are called."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sink.mapping.group import DEFAULT, Group, group_of
from sink.mapping.names import folded
from sink.mapping.wide import OVERFLOW, Need
from sink.wide.planned import plan
from sink.wide.registry import Registry

ENGINE = Group("engine", pattern=re.compile(r"^(ME|AE)\d"))
NAVIGATION = Group("navigation", keys=frozenset(("Latitude", "ME1/Heading")))
GROUPS = (ENGINE, NAVIGATION)


def needs(*keys, entity="ship-1", type_text="double precision"):
    return [Need((entity,), key, "double_v", type_text) for key in keys]


def drawn(mapping, keys, entities=(), taken=()):
    """The entity's tables, with their keys; and the plan itself."""
    (made,) = plan(mapping, {each.identity: each for each in entities}, needs(*keys), taken)
    parts = made.entity.parts.values()
    return {part.table: [column.key for column in made.entity.of_part(part.number)] for part in parts}, made


@pytest.fixture
def grouped(mapping):
    return replace(mapping, groups=GROUPS)


@pytest.mark.parametrize(
    ("key", "group"),
    [
        ("ME1/Speed", "engine"),
        ("ME1/Heading", "engine"),  # the first that takes it
        ("Latitude", "navigation"),
        ("latitude", DEFAULT),
        ("Fuel/ME1", DEFAULT),
        (OVERFLOW, DEFAULT),
    ],
)
def test_a_key_goes_to_the_first_group_that_takes_it(key, group):
    assert group_of(GROUPS, key) == group


def test_no_pattern_takes_the_overflow():
    assert group_of([Group("all", pattern=re.compile(""))], OVERFLOW) == DEFAULT


def test_a_group_has_tables_and_a_view_of_its_own_and_the_whole_view_shows_all(grouped):
    tables, made = drawn(grouped, ["a", "ME1/Speed", "Latitude", "AE2/Load", "b"])
    assert tables == {
        "ship-1__1": ["a", "b"],
        "ship-1__engine__1": ["ME1/Speed", "AE2/Load"],
        "ship-1__navigation__1": ["Latitude"],
    }
    assert made.views == ["ship-1", "ship-1__engine", "ship-1__navigation"]
    shown = {view: [column.key for column in made.entity.shown(view)[1]] for view in made.views}
    assert shown["ship-1"] == ["a", "ME1/Speed", "Latitude", "AE2/Load", "b"]
    assert shown["ship-1__engine"] == ["ME1/Speed", "AE2/Load"]


def test_a_group_is_split_by_bytes_and_its_new_columns_go_to_its_own_last_part(grouped):
    tables, made = drawn(grouped, ["a", *(f"ME1/{n}" for n in range(1037))])
    assert list(tables) == ["ship-1__1", "ship-1__engine__1", "ship-1__engine__2"]
    after, then = drawn(grouped, ["ME1/new", "b"], [made.entity])
    assert after["ship-1__engine__2"][-1] == "ME1/new"
    assert after["ship-1__1"] == ["a", "b"]
    assert then.new_parts == []


def test_views_that_are_full_get_others_and_each_shows_no_more_than_it_can(grouped):
    keys = [*(f"ME1/{n}" for n in range(2000)), *(f"k{n}" for n in range(1500))]
    _, made = drawn(grouped, keys)
    assert made.views == ["ship-1", "ship-1__engine", "ship-1_2", "ship-1__engine_2", "ship-1_3"]
    shown = {view: len(made.entity.shown(view)[1]) for view in made.views}
    assert shown == {"ship-1": 1598, "ship-1__engine": 1598, "ship-1_2": 1598, "ship-1__engine_2": 402, "ship-1_3": 304}


def test_other_groups_are_for_new_keys_and_columns_stay(mapping, grouped):
    _, before = drawn(mapping, ["ME1/Speed", "a"])
    tables, _ = drawn(grouped, ["ME1/Load"], [before.entity])
    assert tables == {"ship-1__1": ["ME1/Speed", "a"], "ship-1__engine__1": ["ME1/Load"]}
    back, _ = drawn(mapping, ["ME1/New"], [before.entity])
    assert back == {"ship-1__1": ["ME1/Speed", "a", "ME1/New"]}


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(["s", "s__engine", "s__engine__1", "S", "s__1", "x" * 80, "s__engine_2"]), unique=True),
    st.integers(1, 3),
)
def test_no_name_of_a_group_meets_that_of_an_entity_or_a_part(mapping, entities, count):
    wanted = [need for each in entities for n in range(count) for need in needs("a", f"ME{n}", entity=each)]
    names = []
    for made in plan(replace(mapping, groups=GROUPS), {}, wanted, ["s"]):
        names += [*made.views, *(part.table for part in made.entity.parts.values())]
    assert len({folded(name) for name in names}) == len(names)
    assert all(len(name.encode()) <= 63 for name in names)


@pytest.fixture(params=["per_entity", "single"])
def either(request, mapping, single):
    """The reference mapping with groups, in both layouts."""
    return replace(mapping if request.param == "per_entity" else single, groups=GROUPS, type_conflict="widen")


def shown_by(target, view):
    query = "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 ORDER BY attnum"
    return [name for (name,) in target.execute(query, [f'wide."{view}"'])][-3:]


def test_groups_are_made_read_again_and_grow_in_a_database(target, either):
    registry = Registry(either)
    assert registry.ensure(target, needs("a", "ME1/Speed", "Latitude")) == {}
    other = Registry(either)
    other.refresh(target)
    assert other.entities == registry.entities
    other.ensure(target, needs("ME1/Load", "AE1/Load"))
    view = next(iter(other.entities.values())).view
    assert shown_by(target, view) == ["Latitude", "ME1/Load", "AE1/Load"]
    assert shown_by(target, f"{view}__engine") == ["ME1/Speed", "ME1/Load", "AE1/Load"]
    assert shown_by(target, f"{view}__navigation") == [*either.key_columns, "_lsn", "Latitude"][-3:]


def test_widening_a_column_of_a_group_keeps_both_views_and_their_readers(target, either):
    registry = Registry(either)
    registry.ensure(target, needs("a", "ME1/Speed", type_text="bigint"))
    view = next(iter(registry.entities.values())).view
    role = f"reader_{target.info.dbname}"
    target.execute(f'CREATE ROLE "{role}"')  # type: ignore[arg-type]
    try:
        target.execute(f'GRANT SELECT ON wide."{view}", wide."{view}__engine" TO "{role}"')
        assert registry.ensure(target, needs("ME1/Speed", type_text="numeric")) == {}
        for each in (view, f"{view}__engine"):
            query = "SELECT has_table_privilege(%s, c.oid, 'SELECT'), a.atttypid::regtype::text FROM pg_class c JOIN"
            query += " pg_attribute a ON attrelid = c.oid WHERE c.oid = to_regclass(%s) AND attname = 'ME1/Speed'"
            assert target.execute(query, [role, f'wide."{each}"']).fetchone() == (True, "numeric")
    finally:
        target.execute(f'DROP OWNED BY "{role}"')
        target.execute(f'DROP ROLE "{role}"')
