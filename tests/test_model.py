"""The protocol as a random model: with all rules every history ends right; without any one of them some do not."""

from __future__ import annotations

import os
from random import SystemRandom

import pytest

from tests.model import spine
from tests.model.rules import Rule
from tests.model.world import ALL_RULES, Outcome, live

RUNS = int(os.environ.get("WIDEBEAM_MODEL_RUNS", "3000"))
BOUND = 6000  # histories in which a missing rule must show


def first_seed() -> int:
    """From WIDEBEAM_MODEL_SEED, to see a history again, else another one in each run."""
    given = os.environ.get("WIDEBEAM_MODEL_SEED")
    return int(given) if given else SystemRandom().randrange(10**9)


def shown(outcome: Outcome) -> str:
    return (
        f"WIDEBEAM_MODEL_SEED={outcome.seed} WIDEBEAM_MODEL_RUNS=1 shows it again.\n"
        f"narrow: {outcome.narrow}\nwide:   {outcome.wide}\nreaders saw the past: {outcome.saw_the_past}"
    )


def test_in_any_history_the_wide_table_ends_as_the_pivot_of_the_narrow_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = first_seed()
    with capsys.disabled():
        print(f"\nmodel: {RUNS} histories from WIDEBEAM_MODEL_SEED={first}")
    for seed in range(first, first + RUNS):
        outcome = live(seed)
        assert outcome.right, shown(outcome)


@pytest.mark.parametrize("rule", list(Rule))
def test_without_this_rule_some_history_ends_wrong(rule: Rule) -> None:
    rules = ALL_RULES - {rule}
    assert any(not live(seed, rules).right for seed in range(BOUND)), f"nothing breaks without {rule.value}"


def test_without_the_skip_rule_readers_see_the_past_but_nothing_is_lost() -> None:
    outcomes = [live(seed, ALL_RULES - {Rule.SKIP}) for seed in range(500)]
    assert any(each.saw_the_past for each in outcomes)
    assert all(each.narrow == each.wide for each in outcomes)


def test_in_any_history_readers_see_every_cell_of_a_wide_row_over_several_parts_and_no_row_without_one() -> None:
    first = first_seed()
    wrong = next((seed for seed in range(first, first + 5 * RUNS) if not spine.live(seed)), None)
    assert wrong is None, f"WIDEBEAM_MODEL_SEED={wrong} WIDEBEAM_MODEL_RUNS=1 shows it again"


@pytest.mark.parametrize("rule", list(spine.Rule))
def test_without_this_rule_some_wide_row_over_several_parts_is_seen_wrong(rule: spine.Rule) -> None:
    rules = frozenset(spine.Rule) - {rule}
    assert any(not spine.live(seed, rules) for seed in range(BOUND)), f"nothing breaks without {rule.value}"
