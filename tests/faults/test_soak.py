"""The soak in small: a storm of a few seconds, and all of its proof. And that a seed is a storm."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.faults import every, of_runs
from tests.faults.blows import COMMON, FAILPOINTS, blows
from tests.faults.soak import ALL, soak
from tests.faults.storm import PAUSES, faults

QUICK = tuple(
    fault
    for fault in ALL
    if fault.name in {"a sink is killed", "aborted subtransactions", "connections with the servers are reset"}
)


def test_what_comes_in_a_storm_follows_from_its_seed() -> None:
    def story(seed: int) -> list[object]:
        lanes = [
            blows(f"{seed} {lane}", kinds, PAUSES) for lane, kinds in (("outside", COMMON), ("within", FAILPOINTS))
        ]
        return [list(islice(lane, 200)) for lane in (*lanes, faults(f"{seed} faults", ALL))]

    assert story(1) == story(1) != story(2)
    assert set(islice(faults("7", ALL), len(ALL))) == {*every.FAULTS, *of_runs.FAULTS}


@pytest.mark.exhaustive  # test_faults.py has a fault of each kind
def test_a_short_storm_loses_nothing_and_leaves_nothing_behind() -> None:
    report = soak(6, 13, QUICK, rows=5_000)
    assert report["problems"] == []
    assert report["faults"] > 3
    assert report["recovered"] >= report["faults"]
    assert report["cells"] > 2_000
