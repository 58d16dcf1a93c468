from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.source.narrow import NarrowTable
from sink.mapping.mapping import Mapping
from sink.mapping.rule import Rule
from sink.mapping.wide import Need
from sink.wide.planned import plan
from sink.wide.tables import add_columns, create_part

TABLE = NarrowTable("public", "x", ("ship",), ("at",), ("channel",), ("v",))
TYPES = {"ship": "text", "at": "timestamp with time zone", "channel": "text", "v": "double precision"}
MAPPING = Mapping(connector="m", rules=(Rule.of(TABLE, TYPES),), schema="wide", name="{entity}")


def said(mapping: Mapping, first: int, more: int) -> tuple[str, str]:
    """What makes a table of so many columns, and what adds some."""
    needs = [Need(("A",), f"ch{number}", "v", "double precision") for number in range(first + more)]
    (made,) = plan(mapping, {}, needs[:first], [])
    (part,) = made.new_parts
    created = create_part(mapping, part, made.columns).as_string(None)
    (added,) = plan(mapping, {made.entity.identity: made.entity}, needs[first:], [])
    return created, add_columns(mapping, added.entity, part, added.columns).as_string(None)


def test_pages_follow_the_width_that_a_table_gets() -> None:
    created, added = said(MAPPING, 10, 240)
    assert "WITH (fillfactor = 50)" in created and "SET (fillfactor = 64)" in added
    assert "fillfactor" not in said(MAPPING, 10, 20)[1]


@pytest.mark.parametrize("full", [10, 100])
def test_pages_are_as_full_as_somebody_says(full: int) -> None:
    created, added = said(replace(MAPPING, fillfactor=full), 10, 240)
    assert f"WITH (fillfactor = {full})" in created and "fillfactor" not in added
