"""Whatever portions readings come in, and in whatever order, columns get the same types and cells the same values."""

from __future__ import annotations

from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.lsn import Lsn
from cdc.record.record import Changes, Stamp
from cdc.source.narrow import NarrowTable
from cdc.source.session import connect
from sink.fold.column_route import Routes
from sink.fold.pivot import Fold
from sink.mapping.interpret import is_number, printed_number
from sink.mapping.mapping import Mapping
from sink.mapping.rule import Rule
from sink.mapping.wide import Entity
from sink.wide.planned import plan
from sink.wide.widen import widenings

TABLE = NarrowTable("public", "states", ("house",), ("at",), ("sensor",), ("f", "v"))
TYPES = {"house": "text", "at": "text", "sensor": "text", "f": "double precision", "v": "text"}
Reading: TypeAlias = "tuple[str, str, str | float]"
"""Its time, its key, and its value: a text, or a float that its column has."""

READINGS = st.lists(
    st.tuples(
        st.sampled_from(["t1", "t2", "t3", "t4", "t5", "t6"]),
        st.sampled_from("ab"),
        st.sampled_from(["1.50", "on", "-2e3", "007", "0.1000000000000000055511151231257827", "off", 2.5]),
    ),
    max_size=9,
    unique_by=lambda each: each[:2],
)


def came_to(policy: str, portions: list[list[Reading]]) -> tuple[dict[str, str], dict[tuple[str, str], str], set[str]]:
    """Types by key, cells by time and key, and what was refused."""
    widens = policy == "widen"
    rule = Rule(TABLE, TYPES, ("house",), ("sensor",), numbers=frozenset("v"), canonical=True, strict=not widens)
    mapping = Mapping("c", (rule,), "wide", "{entity}", type_conflict=policy)  # type: ignore[arg-type]
    entities: dict[str, Entity] = {}
    cells, refused = dict[tuple[str, str], str](), set[str]()
    for portion in portions:
        fold = _folded(mapping, entities, portion)
        for (at,), row in fold.tables.get('["h"]', {}).items():
            for ordinal, value in row.cells.items():
                if value is not None:
                    cells[at, entities['["h"]'].ordinals[ordinal].key] = value
        refused |= {each.raw for each in fold.quarantine_entries}
    columns = entities['["h"]'].columns if entities else {}
    return {key: column.type for key, column in columns.items()}, cells, refused


def _folded(mapping: Mapping, entities: dict[str, Entity], portion: list[Reading]) -> Fold:
    """Fold, make and widen what is needed, and fold again, as a sink and a chunk do."""
    while True:
        fold = Fold(mapping, Routes(mapping, entities, first=1))
        for n, (at, key, value) in enumerate(portion):
            values = [None, value] if isinstance(value, str) else [str(value), None]
            stamp = Stamp("c", 1, 0, Lsn(8), 1, 0)
            changes = Changes(
                stamp, "public.states", {"house": "h", "at": at}, ["sensor", "f", "v"], [["i", key, *values]]
            )
            fold.add(changes, f"0:{n}", escape=False)
        if not fold.needs:
            return fold
        new = [need for need in fold.needs if '["h"]' not in entities or need.key not in entities['["h"]'].columns]
        wider, why = widenings(mapping, entities, [need for need in fold.needs if need not in new])
        assert not why
        for each in wider:
            each.entity.add(each.after)
        entities.update({made.entity.identity: made.entity for made in plan(mapping, entities, new, [])})


@pytest.mark.parametrize("policy", ["quarantine", "null", "widen"])
@settings(max_examples=150, deadline=None)
@given(READINGS, st.data())
def test_any_cut_of_any_order_comes_to_the_same(policy: str, readings: list[Reading], data: st.DataObject) -> None:
    whole = came_to(policy, [readings])
    other = data.draw(st.permutations(readings))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(other)), max_size=4)))
    portions = [other[a:b] for a, b in zip([0, *cuts], [*cuts, len(other)], strict=True)]
    types, cells, refused = came_to(policy, portions)
    assert (types, cells, len(refused)) == (whole[0], whole[1], len(whole[2]))
    if policy != "widen":
        assert set(types.values()) <= {"double precision"}
    if policy == "quarantine":
        assert len(cells) + len(refused) == len(readings)


def test_a_number_stays_what_it_is_when_its_column_becomes_a_text() -> None:
    types, cells, refused = came_to("widen", [[("t1", "a", "1.50")], [("t2", "a", "on")], [("t3", "a", "1.50")]])
    assert (types, refused) == ({"a": "text"}, set())
    assert cells == {("t1", "a"): "1.5", ("t2", "a"): "on", ("t3", "a"): "1.5"}


def test_numbers_are_printed_as_the_server_prints_them(database: str) -> None:
    numbers = ["1.50", "-0", "+.5", "-2e3", "007", "1e14", "1e15", "123456789012345678", "0.0001", "0.00001", "1.5e-7"]
    numbers += ["999999999999999", "100000000000000", "2.2000000476837158", "5e-324", "1.7976931348623157e308", "1e22"]
    numbers += ["123456.789e3", "9007199254740993e0", "0.30000000000000004", "-1234567890123456.5", "1E5", "12e-1"]
    known = [each for each in numbers if is_number(each)]
    with connect(database, autocommit=True) as session:
        found = session.execute("SELECT unnest(%s::text[])::float8::text", [known]).fetchall()
    assert len(known) > 18
    assert [printed_number(each) for each in known] == [text for (text,) in found]
