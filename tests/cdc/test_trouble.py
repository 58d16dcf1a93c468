"""What a process fails at, and since when."""

from __future__ import annotations

from cdc.trouble import SETTLED, Troubles


def test_a_trouble_is_as_old_as_its_first_attempt_and_says_what_the_last_one_said() -> None:
    now = [100.0]
    board = Troubles(lambda: now[0])
    board.hold("sink", "one")
    now[0] += 30
    board.hold("sink", "two")
    (found,) = board.all()
    assert (found.where, found.what, found.seconds) == ("sink", "two", 30.0)


def test_it_is_over_some_seconds_after_a_success() -> None:
    now = [100.0]
    board = Troubles(lambda: now[0])
    board.hold("sink", "one")
    board.over("sink")
    assert board.all()
    now[0] += SETTLED + 1
    assert not board.all()
    board.hold("sink", "again")
    assert board.all()[0].seconds == 0.0


def test_an_attempt_that_succeeds_between_two_failures_does_not_make_the_trouble_young() -> None:
    now = [100.0]
    board = Troubles(lambda: now[0])
    for _ in range(20):
        board.hold("sink", "this record")
        board.over("sink")
        now[0] += SETTLED - 1
    assert board.all()[0].seconds > 60
