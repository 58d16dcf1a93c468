from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cdc.source.narrow import NarrowTable
from sink.mapping.interpret import Interpreter
from sink.mapping.mapping import Mapping
from sink.mapping.rule import Rule
from sink.wide.planned import plan
from widebeam.plan.cost import Work, cost
from widebeam.plan.evidence import Evidence

TABLE = NarrowTable("public", "x", ("ship",), ("at",), ("channel",), ("v",))
TYPES = {"ship": "text", "at": "timestamp with time zone", "channel": "text", "v": "double precision"}
MB = 1_000_000
Costs = Callable[..., Any]


@pytest.fixture
def costs() -> Costs:
    """What some moments of one ship with so many channels cost."""

    def made(channels: int, moments: int, scanned: float = 0.0, workers: int = 1, **mapped: Any) -> Any:
        rule = Rule.of(TABLE, TYPES)
        mapping = Mapping(connector="m", rules=(rule,), schema="wide", name="{entity}", **mapped)
        evidence = Evidence(single=False)
        some = [
            {"ship": "A", "at": f"2026-01-0{day}", "channel": f"ch{number}", "v": "1.5"}
            for day in (1, 2)
            for number in range(channels)
        ]
        evidence.add(Interpreter(rule), [tuple(row[name] for name in TABLE.columns) for row in some])
        entities = {each.entity.identity: each.entity for each in plan(mapping, {}, evidence.needs(), [])}
        rows = channels * moments
        return cost(mapping, evidence, entities, [Work(rows, max(1, rows // 200_000), scanned)], workers)

    return made


def test_wide_rows_that_lie_few_on_a_page_take_the_pages_that_they_lie_on(costs: Costs) -> None:
    found = costs(250, 10_000)
    assert found.wide_rows == 10_000
    assert 30 * MB < found.disk_bytes < 60 * MB
    assert costs(250, 10_000, fillfactor=100).disk_bytes < found.disk_bytes
    assert costs(250, 10_000, fillfactor=50).disk_bytes > 75 * MB  # a page for each


def test_an_entity_with_a_handful_of_rows_takes_the_pages_of_an_empty_table(costs: Costs) -> None:
    assert 20_000 < costs(2, 3).disk_bytes < 100_000


def test_what_is_looked_at_in_vain_takes_time_and_workers_share_it(costs: Costs) -> None:
    quick, slow = costs(100, 17_520), costs(100, 17_520, scanned=640 * MB)
    assert slow.seconds > 5 * quick.seconds
    assert costs(100, 17_520, scanned=640 * MB, workers=2).seconds < 0.6 * slow.seconds


def test_a_series_of_single_values_costs_a_wide_row_each(costs: Costs) -> None:
    assert costs(1, 1_000_000).seconds > 2 * costs(100, 10_000).seconds
