"""What signs of life mean, and what health is made of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from widebeam.health.health import OLD, Seen, judge
from widebeam.process.heartbeat import AT_WORK, HUNG, PROGRESS, STARTING
from widebeam.process.part_state import SILENT, PartState, alive, state
from widebeam.status.status import HaltSeen, Status, Stream

WORKS = PartState("sink 1", "at work", datetime(2024, 5, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("sign", "started", "felt", "expected"),
    [
        (STARTING, 990, 990, "starting"),
        (STARTING, 0, 1000, "silent"),  # it lives, but never gets to work
        (AT_WORK, 0, 999, "at work"),
        (PROGRESS, 0, 999, "at work"),
        (PROGRESS, 0, 999 - SILENT, "silent"),
        (HUNG, 0, 999, "hung"),
    ],
)
def test_a_sign_of_life_means(sign: bytes, started: float, felt: float, expected: str) -> None:
    assert state(sign, started=started, felt=felt, now=1000.0) == expected


def seen(**more: object) -> Seen:
    how = {"connector": "plant", "state": "streaming", "at": datetime.now(UTC), "transport": "direct", **more}
    return Seen(Status(**how), 1000.0)  # type: ignore[arg-type]


def test_it_is_ready_when_all_is_at_work_and_tells_lag_and_last_progress() -> None:
    health = judge("plant", [WORKS, PartState("backfill 1", "done")], seen(stream=Stream(lag_seconds=0.5)), now=1001.0)
    assert (health.live, health.ready) == (True, True)
    assert (health.body["lag_seconds"], health.body["not_ready"]) == (0.5, [])
    assert health.body["last_progress"] == "2024-05-01T00:00:00.000+00:00"


@pytest.mark.parametrize(
    ("vital", "looked", "now", "why"),
    [
        (PartState("capture", "starting"), seen(), 1001.0, "capture is starting"),
        (PartState("capture", "pausing"), seen(), 1001.0, "capture is pausing"),
        (WORKS, None, 1001.0, "the servers were not seen yet"),
        (WORKS, seen(), 1001.0 + OLD, "the servers were not seen for"),
        (WORKS, seen(state="absent"), 1001.0, "the connector is absent"),
        (WORKS, seen(state="halted", halt=HaltSeen("slot_gone", "", "", None)), 1001.0, "the connector is halted"),
    ],
)
def test_it_lives_but_is_not_ready_and_says_why(vital: PartState, looked: Seen | None, now: float, why: str) -> None:
    health = judge("plant", [WORKS, vital], looked, now=now)
    assert (health.live, health.ready) == (True, False)
    assert any(why in one for one in health.body["not_ready"])
    assert health.body["halt"] == (looked and looked.status.halt and "slot_gone")


@pytest.mark.parametrize("how", ["silent", "hung"])
def test_a_part_that_stands_still_is_not_live(how: str) -> None:
    vital = PartState("capture", how)  # type: ignore[arg-type]
    assert not alive([WORKS, vital])
    health = judge("plant", [WORKS, vital], seen(), now=1001.0)
    assert (health.live, health.ready) == (False, False)
    assert health.body["not_live"] == [f"capture is {how}"]
