"""The latency histogram against the plain percentile of the same numbers."""

from __future__ import annotations

import statistics

from hypothesis import given
from hypothesis import strategies as st

from sink.state.latency import BOUNDS, added, bucket, percentile, percentiles, whole


def counted(*times):
    counts = whole([])
    for time in times:
        counts[bucket(time)] += 1
    return counts


@given(st.lists(st.floats(0.01, 7e6), min_size=1, max_size=200))
def test_a_percentile_is_right_to_within_a_bucket(times):
    exact = statistics.median_low(times)
    found = percentile(counted(*times), 0.5)
    assert found is not None
    assert exact / 1.6 - 1 <= found <= exact * 1.6 + 1


def test_nothing_measured_has_no_percentile():
    assert percentile([], 0.5) is None
    assert percentiles([[], []]) == {"p50": None, "p95": None, "p99": None}


def test_a_clock_that_is_behind_and_a_time_beyond_all_bounds_are_counted():
    counts = counted(-5.0, 1e12, 1e12)
    assert (counts[0], counts[-1], len(counts)) == (1, 2, len(BOUNDS))


def test_histograms_of_partitions_are_added():
    assert sum(added(counted(5, 5), counted(50))) == 3
    assert added([], [1, 2]) == [1, 2]
