"""Resume says what it has looked at, and no more."""

from __future__ import annotations

import pytest

from cdc.halt import LASTING, Cause, Halt
from widebeam.setup.resume import SEEN, UNSEEN, told


def test_each_cause_is_looked_at_or_only_met_by_a_run_or_stands_until_the_gap_is_gone_over() -> None:
    kinds = [set(SEEN), set(UNSEEN), set(LASTING)]
    assert sum(map(len, kinds)) == len(set().union(*kinds)) == len(Cause)


@pytest.mark.parametrize("cause", sorted(UNSEEN))
def test_what_only_a_run_meets_is_not_said_to_be_mended(cause: Cause) -> None:
    said = told(Halt(cause, "a record is too long", "raise the limit"), "ships")
    assert "nothing was looked at: a record is too long\n" in said
    assert said.endswith("Before that: raise the limit")


@pytest.mark.parametrize("cause", sorted(SEEN))
def test_what_was_looked_at_is_said_as_it_is_now_and_not_as_it_was(cause: Cause) -> None:
    said = told(Halt(cause, "it was wrong", "mend it"), "ships")
    assert SEEN[cause] in said
    assert "it was wrong" not in said
    assert "where it cannot be gone past, it halts again" in said


def test_where_there_was_no_halt_none_is_forgotten() -> None:
    assert told(None, "ships").startswith("ships was not halted")
