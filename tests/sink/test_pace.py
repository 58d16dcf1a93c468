from __future__ import annotations

import pytest

from sink.pace import Lag, rest


@pytest.mark.parametrize(
    ("took", "capture", "sink", "expected"),
    [
        (0.120, 0.050, 0.050, 0.030),  # fresh: a quarter of what it took
        (0.040, 30.0, 0.050, 0.040),  # capture is behind: as long as it took
        (0.040, 30.0, 30.0, 0.040),  # both are
        (0.040, 0.050, 30.0, 0.0),  # the sink is behind, and nobody else
        (0.001, 0.005, 0.005, 0.019),  # never more than 50 batches a second
        (0.001, 30.0, 0.005, 0.019),
        (3.0, 30.0, 0.005, 0.1),  # never so long that somebody notices
        (0.120, -3600.0, 0.005, 0.030),  # the source's clock is ahead of ours: taken for fresh
    ],
)
def test_a_sink_rests_for_a_capture_that_is_behind_but_not_when_only_it_is(
    took: float, capture: float, sink: float, expected: float
) -> None:
    assert rest(took, Lag(capture, sink)) == pytest.approx(expected)


def test_a_change_waits_for_the_log_and_then_for_its_sink() -> None:
    lag = Lag.of(committed=1_700_000_000_000_000, logged=1_700_000_002_500, visible=1_700_000_003.25)
    assert lag == pytest.approx(Lag(capture=2.5, sink=0.75))


def test_all_of_the_wait_is_captures_where_the_log_tells_no_time() -> None:
    lag = Lag.of(committed=1_700_000_000_000_000, logged=-1, visible=1_700_000_003.25)
    assert lag == pytest.approx(Lag(capture=3.25, sink=0.0))
