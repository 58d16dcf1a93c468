"""Admission: which records of a log with gaps, zombies and redeliveries are applied; and the compare-and-set."""

from __future__ import annotations

import threading
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.halt import Halt
from cdc.lsn import Lsn
from cdc.record.record import Barrier, Changes, Stamp
from cdc.source.session import connect
from sink.fold.progress import Admission, Progress
from sink.state import account
from sink.state.account import Fenced


def record(generation=1, sequence=0, position=8):
    return Changes(Stamp("ships", generation, sequence, Lsn(position), 1, 1_000_000), "t", {}, [], [])


START = Progress(0)


def admitted(records, known=START):
    """Which of the records are applied, and the progress after them."""
    admission = Admission(known)
    taken = [admission.admit(known.next_offset + n, each) for n, each in enumerate(records)]
    return taken, admission


def test_records_in_sequence_are_applied():
    taken, admission = admitted([record(1, 0, 8), record(1, 1, 8), record(1, 2, 16)])
    assert taken == [True, True, True]
    assert admission.now == Progress(0, 0, 3, Lsn(16), 1, 3)


def test_a_gap_stops_the_generation_and_the_next_one_goes_on():
    taken, admission = admitted([record(1, 0), record(1, 2), record(1, 3), record(2, 0, 8), record(2, 1, 16)])
    assert taken == [True, False, False, True, True]
    assert [(each.generation, each.began_offset, each.broke_offset) for each in admission.landmarks] == [
        (1, 0, None),
        (1, None, 1),
        (2, 3, None),
    ]


def test_a_zombie_s_records_are_dropped():
    taken, admission = admitted([record(2, 0), record(1, 5), record(2, 1)])
    assert taken == [True, False, True]
    assert admission.skipped == 1


def test_a_generation_that_does_not_begin_with_its_first_record_is_broken():
    taken, admission = admitted([record(1, 0), record(2, 1), record(2, 2)])
    assert taken == [True, False, False]
    assert admission.now.broken


def test_a_lower_position_is_a_redelivery_and_an_equal_one_is_applied_again():
    taken, admission = admitted([record(1, 0, 16), record(2, 0, 8), record(2, 1, 16), record(2, 2, 24)])
    assert taken == [True, False, True, True]
    assert admission.now.high == 24


def test_a_barrier_is_passed_only_when_it_is_applied():
    barrier = Barrier(Stamp("ships", 1, 0, Lsn(8), 1, 1), "x")
    _, admission = admitted([barrier])
    assert admission.now.barrier == 8
    _, admission = admitted([record(2, 0), barrier])
    assert admission.now.barrier == 0


def test_a_foreign_record_is_left_behind_without_a_trace_in_the_sequence():
    admission = Admission(Progress(0))
    assert admission.admit(0, record(1, 0))
    admission.pass_over(1)
    assert admission.admit(2, record(1, 1))
    assert admission.now.next_offset == 3


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_every_position_is_applied_whatever_the_log_repeats_loses_or_mixes(seed):
    """Runs of capture that lose records, zombies among the next run; the last run loses nothing."""
    random = Random(seed)
    log, acknowledged, generation, tail = [], 0, 0, []
    while True:
        generation += 1
        last = generation > 4
        lost_one = None
        mine = []
        for sequence, position in enumerate(range(acknowledged, 20)):
            if not last and random.random() < 0.1:
                lost_one = position if lost_one is None else lost_one
            else:
                mine.append(record(generation, sequence, 8 * (position + 1)))
        cut = len(mine) if last else random.randint(0, len(mine))
        log += mixed(random, tail, mine[:cut])
        tail = mine[cut:]
        first_missing = min(
            [position for position in (lost_one, mine[cut].stamp.position // 8 - 1 if cut < len(mine) else None)
             if position is not None], default=20,
        )  # fmt: skip
        if last:
            break
        acknowledged = random.randint(acknowledged, max(acknowledged, first_missing))
    applied, progress = [], Progress(0)
    while progress.next_offset < len(log):
        batch = log[progress.next_offset : progress.next_offset + random.randint(1, 4)]
        taken, admission = admitted(batch, progress)
        applied += [each.stamp.position for each, yes in zip(batch, taken, strict=True) if yes]
        progress = admission.now
    assert applied == sorted(applied)
    assert set(applied) == {8 * (position + 1) for position in range(20)}


def mixed(random, left, right):
    left, right, out = list(left), list(right), []
    while left or right:
        out.append((left if left and (not right or random.random() < 0.5) else right).pop(0))
    return out


def advanced(known, offset, **changes):
    admission = Admission(known)
    admission.admit(offset, record(**changes))
    return admission


def test_what_is_written_is_what_is_read(target):
    first = advanced(account.load(target, "ships", [1])[1].progress, 0, position=24)
    account.advance(target, "ships", [first])
    assert account.load(target, "ships", [1])[1].progress == first.now
    broken = advanced(first.now, 1, sequence=7)
    account.advance(target, "ships", [broken])
    assert account.load(target, "ships", [1])[1].progress == broken.now
    assert target.execute("SELECT broken_at IS NULL, skipped, commit_time FROM widebeam.progress WHERE partition = 1") \
        .fetchone()[:2] == (False, 1)  # fmt: skip
    assert target.execute("SELECT * FROM widebeam.generations").fetchall() == [("ships", 1, 1, 0, 1, "0/0")]


def test_the_loser_of_a_race_is_fenced(target):
    known = account.load(target, "ships", [0, 1])
    account.advance(target, "ships", [advanced(known[1].progress, 0)])
    with pytest.raises(Fenced), target.transaction():
        account.advance(target, "ships", [advanced(known[0].progress, 0), advanced(known[1].progress, 0)])
    assert account.load(target, "ships", [0])[0].progress.next_offset == 0


def test_an_older_epoch_is_fenced(target):
    known = account.load(target, "ships", [0])[0].progress
    target.execute("UPDATE widebeam.progress SET epoch = epoch + 1 WHERE partition = 0")
    with pytest.raises(Fenced):
        account.advance(target, "ships", [advanced(known, 0)])


def test_a_partition_without_a_row_is_named(target):
    with pytest.raises(Halt, match=r"\[9\]"):
        account.load(target, "ships", [0, 9])


def test_partitions_are_advanced_in_their_order_whatever_order_they_came_in(target, database):
    """So two owners never wait for each other: who waits for the first row holds no later one."""
    batch = [advanced(account.load(target, "ships", [n])[n].progress, 0) for n in (2, 1)]
    row = "SELECT FROM widebeam.progress WHERE partition = %s FOR UPDATE"
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"

    def advance():
        with target.transaction():
            account.advance(target, "ships", batch)

    with connect(database) as other, connect(database, autocommit=True) as watcher:
        other.execute(row, [1])
        advancing = threading.Thread(target=advance)
        advancing.start()
        try:
            while advancing.is_alive() and watcher.execute(waiting).fetchone() == (0,):
                pass
            free = watcher.execute(row + " SKIP LOCKED", [2]).rowcount
        finally:
            other.rollback()
            advancing.join()
    assert free == 1
