"""What a connector is said to be, by a table of cases: each with what is seen, and what is to be told of it."""

from __future__ import annotations

import pytest

from cdc.trouble import Trouble
from widebeam.state.sign import FRESH, Sign
from widebeam.status.facts import Facts, HaltFact, Refused, SlotFact, Waits
from widebeam.status.judge import GRACE, LASTS, judge

GB = 1 << 30


def sign(part: str, *troubles: Trouble, age: float = 5.0, lived: float = 1000.0, how: str = "at work") -> Sign:
    return Sign(part, "host-1", 17, age, lived, how, troubles)


RUN, CAPTURE, SINK, STREAM = sign("run"), sign("capture"), sign("sink 1"), sign("stream")
STREAMS = SlotFact(active=True, status="reserved", retained=4096)
IDLE = SlotFact(active=False, status="extended", retained=3 * GB)
WELL = Facts("plant", "converged", "widebeam_plant", "kafka", slot=STREAMS, signs=(RUN, CAPTURE, SINK))
DIRECT = WELL._replace(transport="direct", signs=(RUN, STREAM))


def stale(*found: Sign) -> tuple[Sign, ...]:
    return tuple(one._replace(age=FRESH + 100) for one in found)


def held(where: str, seconds: float = LASTS + 1) -> Trouble:
    return Trouble(where, "permission denied", seconds)


WELLS = {
    "all is at work": WELL,
    "on the direct transport": DIRECT,
    "capture and sinks of a fleet, without a supervisor": WELL._replace(signs=(CAPTURE, SINK)),
    "sinks on another machine": WELL._replace(signs=(sign("run"), CAPTURE, SINK._replace(host="host-2"))),
    "a second capture stands by": WELL._replace(signs=(CAPTURE, sign("capture", held("slot")), SINK)),
    "just started, and nothing streams yet": WELL._replace(slot=IDLE, signs=(sign("run", lived=1.0),)),
    "just started after an hour, and there is much to do": WELL._replace(
        signs=(sign("run", lived=1.0), sign("capture", lived=1.0), sign("sink 1", lived=1.0)),
        waits=(Waits("partition 1", 3600.0, 3600.0),),
    ),
    "far behind, and it gets on": WELL._replace(waits=(Waits("partition 1", 3600.0, 0.5),), lag_records=100_000),
    "a burst on a partition that was idle for hours": WELL._replace(waits=(Waits("partition 1", 2.0, 9000.0),)),
    "a capture that was started again a moment ago": WELL._replace(slot=IDLE._replace(inactive=2.0)),
    "being prepared, without a slot yet": WELL._replace(phase="preparing", slot=None, signs=(RUN,)),
    "backfilling under a supervisor whose workers start anew": WELL._replace(phase="backfilling", chunks_open=9),
    "a passing trouble": WELL._replace(signs=(RUN, CAPTURE, sign("sink 1", held("sink", 3.0)))),
    "a topic that could not be read once, and nothing is in it": WELL._replace(
        lag_records=0, signs=(RUN, CAPTURE, sign("sink 1", held("reading")))
    ),
    "some rows in the quarantine": WELL._replace(refused=Refused(30, 5000, "no_column", "x")),
    "few rows, all in the quarantine": WELL._replace(refused=Refused(3, 3, "no_column", "x")),
    "a control schema that knows no signs": WELL._replace(signs=None),
    "a slot with much room": WELL._replace(slot=STREAMS._replace(room=9 * GB, retained=GB)),
    "a halt that was mended: all runs well since": WELL._replace(
        halt=HaltFact("slot_gone", "x", "y", 500.0), signs=(sign("capture", lived=100.0), sign("sink", lived=100.0))
    ),
}


@pytest.mark.parametrize("case", WELLS)
def test_it_is_well(case: str) -> None:
    verdict = judge(WELLS[case])
    assert verdict.well, verdict
    assert verdict.state == WELLS[case].phase


HALT = HaltFact("truncate", "the table was truncated", "widebeam resume plant", 30.0)

ILLS = {
    "nobody runs it": (WELL._replace(slot=IDLE, signs=()), "stopped", "3.0 GB of WAL", "widebeam run plant"),
    "nobody runs it, and no limit bounds the slot": (
        WELL._replace(slot=IDLE, signs=()), "stopped", "max_slot_wal_keep_size sets no limit", "widebeam run plant",
    ),
    "all was killed": (
        WELL._replace(slot=IDLE, signs=stale(RUN, CAPTURE)), "stopped", "came 2 min 15 s ago, and no goodbye",
        "widebeam run plant",
    ),
    "nobody runs it, and the source is away": (
        WELL._replace(slot=None, signs=(), unreachable=("source: refused",)), "stopped", "nobody", "widebeam run plant",
    ),
    "the slot is gone": (WELL._replace(slot=None), "lost", "widebeam_plant is gone", "--backfill-gap"),
    "the slot is gone, and nobody runs it": (
        WELL._replace(slot=None, signs=()), "lost", "widebeam_plant is gone", "--backfill-gap",
    ),
    "the slot is lost": (WELL._replace(slot=IDLE._replace(status="lost")), "lost", "invalidated", "--backfill-gap"),
    "it halted": (WELL._replace(halt=HALT, slot=IDLE, signs=()), "halted", "was truncated", "widebeam resume plant"),
    "it halted, and parts that ran before go on": (WELL._replace(halt=HALT), "halted", "truncated", "resume"),
    "it halted, and was started a moment ago": (
        WELL._replace(halt=HALT, signs=(sign("capture", age=1.0, lived=2.0),)), "halted", "truncated", "resume",
    ),
    "a drop was interrupted": (WELL._replace(dropping=True, slot=None), "dropping", "drop has begun", "widebeam drop"),
    "the target is read-only": (WELL._replace(read_only=True), "stuck", "takes no writes", "[target]"),
    "the source is away": (
        WELL._replace(slot=None, unreachable=("source: refused",)), "converged", "source: refused", "widebeam check",
    ),
    "capture does not stream": (
        WELL._replace(slot=IDLE._replace(inactive=GRACE + 5)), "stuck", "nobody streams", "widebeam run plant",
    ),
    "sinks of a fleet, and nobody captures": (
        WELL._replace(slot=IDLE, signs=(SINK,)), "stuck", "nobody streams", "widebeam capture plant",
    ),
    "capture is stopped in mid-air": (
        WELL._replace(signs=(RUN, *stale(CAPTURE), SINK)), "stuck", "capture gives no sign", "slot",
    ),
    "a stranger streams from our slot": (
        WELL._replace(signs=(RUN, sign("capture", held("slot")), SINK)), "stuck", "somebody else streams", "end",
    ),
    "no sink runs": (WELL._replace(signs=(CAPTURE,)), "stuck", "no sink runs", "widebeam sink plant"),
    "sinks were killed": (WELL._replace(signs=(CAPTURE, *stale(SINK))), "stuck", "last sign", "widebeam sink plant"),
    "a sink fails": (WELL._replace(signs=(RUN, CAPTURE, sign("sink 1", held("sink")))), "stuck", "permission", "check"),
    "a sink in a thread fails": (DIRECT._replace(signs=(RUN, sign("stream", held("sink 1")))), "stuck", "perm", ""),
    "the topic may not be read any more": (
        WELL._replace(lag_records=7, signs=(RUN, CAPTURE, sign("sink 1", held("reading")))), "stuck", "perm", "check",
    ),
    "the topic may not be read, and nobody knows what is in it": (
        WELL._replace(signs=(RUN, CAPTURE, sign("sink 1", held("reading")))), "stuck", "permission", "check",
    ),
    "capture's watch is blind": (
        WELL._replace(signs=(RUN, sign("capture", held("watch")), SINK)), "impaired", "catalog", "check",
    ),
    "the dictionary cannot be read": (
        WELL._replace(signs=(RUN, sign("capture", held("dictionary")), SINK)), "impaired", "dictionary", "check",
    ),
    "a sink hangs": (WELL._replace(signs=(RUN, CAPTURE, sign("sink 1", how="hung"))), "stuck", "hangs", "end"),
    "a record is not applied": (
        WELL._replace(waits=(Waits("partition 3", 75.0, 70.0),)), "stuck", "partition 3: a change has waited", "check",
    ),
    "most rows go to the quarantine": (
        WELL._replace(refused=Refused(200, 210, "null_wide_key", "the time is NULL"), mapped="time at"),
        "impaired", "the time is NULL (mapped: time at)", "widebeam quarantine list plant",
    ),
    "chunks were given up": (WELL._replace(phase="backfilling", chunks_given_up=2), "impaired", "given up", "run"),
    "chunks are open, and nobody fills": (
        WELL._replace(phase="backfilling", chunks_open=2, signs=(CAPTURE, SINK)), "impaired", "no backfill", "backfill",
    ),
    "the slot is nearly lost": (
        WELL._replace(slot=STREAMS._replace(retained=9 * GB, room=GB)), "impaired", "is lost after 1.0 GB", "raise",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ILLS)
def test_it_is_told_by_name_with_the_way_on(case: str) -> None:
    facts, state, cause, command = ILLS[case]
    verdict = judge(facts)
    assert verdict.state == state, verdict
    assert cause in verdict.cause
    assert command in verdict.command


def test_what_else_is_the_matter_stands_beside_it() -> None:
    verdict = judge(WELL._replace(slot=IDLE, signs=(), chunks_given_up=1))
    assert verdict.state == "stopped"
    assert any("given up" in each for each in verdict.also)


def test_where_no_sign_of_life_can_be_written_none_is_missed() -> None:
    seen = judge(WELL._replace(read_only=True, slot=IDLE, signs=stale(RUN, CAPTURE, SINK)))
    assert (seen.state, seen.also) == ("stuck", ())
