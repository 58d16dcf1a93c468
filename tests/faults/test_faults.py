"""What a running pipeline recovers from by itself: each fault is injected into real processes and servers under a live
writer, and afterwards everything goes on, no position went back, memory is bounded, and nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.faults.every import FAULTS
from tests.faults.fault import Fault
from tests.faults.stand import Stand, stand
from tests.pipeline import until

MOST_MEGABYTES = 300


@pytest.fixture(scope="module")
def running() -> Iterator[Stand]:
    """One pipeline for all faults of this file."""
    with stand() as made:
        made.running()
        until(lambda: made.pipeline.applied() > 0)
        made.recovered()
        yield made


EACH = [
    pytest.param(fault, id=fault.name.replace(" ", "_"), marks=[pytest.mark.exhaustive] if fault.exhaustive else [])
    for fault in FAULTS
]


@pytest.mark.parametrize("fault", EACH)
def test_it_recovers_by_itself_when(running: Stand, fault: Fault) -> None:
    if lacking := fault.lacks(running):
        pytest.skip(lacking)
    run, since = running.running(), running.log.stat().st_size
    applied = running.pipeline.applied()
    before = len(running.witness.went_back)
    with fault.inject(running):
        pass
    running.recovered()
    until(lambda: running.pipeline.applied() > applied)
    assert run.poll() is None, running.said(since)
    until(lambda: re.search(fault.says, running.said(since)))
    assert running.witness.went_back[before:] == []


def test_after_all_of_it_nothing_is_lost_and_memory_was_bounded(running: Stand) -> None:
    running.running()
    running.writer.end()
    running.recovered()
    assert running.end() == 0, running.said()[-3000:]
    assert "Traceback" not in running.said()
    running.pipeline.prove()
    assert running.witness.looks > 0
    assert running.witness.went_back == []
    assert max(running.witness.peaks.values()) < MOST_MEGABYTES, running.witness.peaks
