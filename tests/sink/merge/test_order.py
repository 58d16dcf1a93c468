"""Rows are prepared for, staged, locked and merged, in this order: who skips a step has nothing to call."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_type_hints

import pytest

from sink.merge.bound import Few, LockedFew
from sink.merge.merge import Merger
from sink.merge.prepared import Held, Prepared
from sink.merge.staged import LockedStage, Staged

ROOT = Path(__file__).parents[3]
STEPS = {
    Merger: {"prepare", "few"},
    Prepared: {"stage", "hold"},
    Staged: {"lock", "tables"},
    LockedStage: {"locate", "upsert", "fill", "truncate"},
    Held: {"upsert", "fill"},
    Few: {"lock"},
    LockedFew: {"upsert", "truncate"},
}
"""Each step's value, and all that can be done with it."""

GIVEN_BY = [
    (Merger.prepare, Prepared),
    (Prepared.stage, Staged),
    (Staged.lock, LockedStage),
    (Prepared.hold, Held),
    (Few.lock, LockedFew),
]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_s_value_offers_the_next_step_and_none_behind_it(step: type) -> None:
    assert {name for name in dir(step) if not name.startswith("_")} == STEPS[step]


@pytest.mark.parametrize(("before", "value"), GIVEN_BY)
def test_each_value_is_what_the_step_before_answers(before, value) -> None:
    assert get_type_hints(before)["return"] is value


def test_nobody_else_makes_such_a_value() -> None:
    """Outside sink/merge, the only way to one is through the steps before it."""
    names = {step.__name__ for step in STEPS} - {"Merger"}
    made = []
    for package in ("sink", "snapshot", "widebeam"):
        for path in (ROOT / package).rglob("*.py"):
            tree = ast.parse(path.read_text())
            ours = {
                alias.asname or alias.name
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("sink.merge.")
                for alias in node.names
                if alias.name in names
            }
            calls = [
                node.func.id
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            ]
            if path.parent != ROOT / "sink" / "merge":
                made += [f"{path.relative_to(ROOT)}: {call}" for call in calls if call in ours]
    assert made == []
