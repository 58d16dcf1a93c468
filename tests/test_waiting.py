"""Waiting ends when who works for the test is dead, and says what that one said."""

from __future__ import annotations

import sys

import psutil
import pytest

from tests.beside import beside
from tests.waiting import PATIENCE, Died, StillNot, unasked_end, until, watched

ENDS = [sys.executable, "-c", "raise SystemExit(7)", "a run"]


def test_a_wait_ends_with_the_death_of_a_process_and_says_its_output() -> None:
    with psutil.Popen(ENDS) as process, watched(unasked_end(process, lambda: "its last words")):
        with pytest.raises(Died, match=r"a run` ended with 7:\nits last words"):
            until(lambda: False)
        with pytest.raises(Died):  # and any later one, too
            until(lambda: False)
        assert until(lambda: "there already") == "there already"
    with pytest.raises(StillNot):
        until(lambda: False, 0)


def test_the_end_of_a_process_that_the_test_itself_has_waited_for_ends_no_wait() -> None:
    with psutil.Popen(ENDS) as process, watched(unasked_end(process, str)):
        assert process.wait(PATIENCE) == 7
        with pytest.raises(StillNot):
            until(lambda: False, 0)


def test_a_wait_ends_with_the_failure_of_what_works_beside_it() -> None:
    def fail(_: object) -> None:
        raise LookupError("beside")

    with pytest.raises(Died, match="LookupError"), beside(fail):
        until(lambda: False)
