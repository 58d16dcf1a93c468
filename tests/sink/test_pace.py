from __future__ import annotations

import pytest

from sink.pace import rest


@pytest.mark.parametrize(
    ("took", "age", "expected"),
    [
        (0.040, 0.050, 0.010),  # fresh: a quarter of what it took
        (0.040, 30.0, 0.040),  # capture is behind: as long as it took
        (0.001, 0.005, 0.007),  # never more than 125 batches a second
        (3.0, 30.0, 0.1),  # never so long that somebody notices
        (0.040, -3600.0, 0.010),  # the source's clock is ahead of ours: taken for fresh
    ],
)
def test_a_sink_rests_the_longer_the_older_what_it_applies(took: float, age: float, expected: float) -> None:
    assert rest(took, age) == pytest.approx(expected)
