"""Entries of the quarantine close by themselves once the stream has overtaken them, and never before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.record.record import Truncated
from sink.mapping.family import Source
from sink.state import notices, sources
from sink.state.notices import Notice
from tests.sink.test_run import TABLE, Pipe, narrow, quarantined, read

MISFIT = narrow("i", "a", "String", "oops")


@pytest.fixture
def pipe(target, database, mapping):
    made = Pipe(database, mapping)
    made.change(8, [narrow("i", "a", "Decimal", "1"), narrow("i", "b", "Decimal", "1")], at="2024-01-01 00:00:00")
    yield made
    made.end()


@pytest.mark.parametrize(
    ("later", "cell"),
    [
        (narrow("u", "a", "Decimal", "3"), "3"),
        (narrow("u", "a", "Decimal", None), None),
        (narrow("d", "a"), None),
        (narrow("m", "a"), None),
    ],
    ids=["an update that fits", "an update to NULL", "a delete", "a move"],
)
@pytest.mark.parametrize("together", [True, False])
def test_a_later_change_of_its_row_closes_an_entry(target, pipe, later, cell, together):
    pipe.change(16, [MISFIT])
    if not together:
        pipe.start()
        pipe.wait(target)
        assert quarantined(target) == [("0:1:0", "type_conflict")]
    pipe.change(24, [later])
    if together:
        pipe.start()
    pipe.wait(target)
    assert quarantined(target) == []
    assert read(target, "a", "b") == [(cell, "1")]
    assert target.execute("SELECT action FROM widebeam.audit").fetchall() == [("quarantine superseded",)]


@pytest.mark.parametrize(
    "later",
    [
        narrow("u", "b", "Decimal", "3"),
        ["u", "a", False, False, False, False, "Decimal"],
        ["u", False, "3", None, None, None, "Decimal"],
    ],
    ids=["of another key", "that does not say its value", "that does not say its key"],
)
def test_a_change_that_does_not_say_its_row_whole_closes_nothing(target, pipe, later):
    pipe.change(16, [MISFIT])
    pipe.change(24, [later])
    pipe.change(32, [narrow("u", "a", "Decimal", "3")], at="2024-01-02 00:00:00")
    pipe.start()
    pipe.wait(target)
    assert ("0:1:0", "type_conflict") in quarantined(target)


def test_a_later_misfit_takes_the_place_of_an_entry_and_one_in_the_same_record_counts(target, pipe):
    pipe.change(16, [MISFIT])
    pipe.change(24, [narrow("u", "a", "Decimal", "2"), narrow("u", "a", "String", "again")])
    pipe.start()
    pipe.wait(target)
    assert quarantined(target) == [("0:2:1", "type_conflict")]


def test_a_delete_that_is_ignored_closes_nothing(target, pipe):
    pipe.mapping = replace(pipe.mapping, on_delete="ignore")
    pipe.change(16, [MISFIT])
    pipe.change(24, [narrow("d", "a")])
    pipe.start()
    pipe.wait(target)
    assert quarantined(target) == [("0:1:0", "type_conflict")]


def test_rows_without_a_time_cannot_be_told_from_others_and_all_stay(target, pipe):
    for n in range(3):
        pipe.change(16 + n, [narrow("i", "a", "Decimal", str(n))], at=None)
    pipe.start()
    pipe.wait(target)
    assert len(quarantined(target)) == 3


def test_a_record_that_comes_again_does_not_leave_its_entry_behind_nor_close_a_newer_one(target, pipe):
    pipe.change(16, [MISFIT])
    pipe.change(24, [narrow("u", "a", "Decimal", "3")])
    pipe.change(32, [narrow("u", "a", "String", "newest")])
    pipe.start()
    pipe.wait(target)
    assert quarantined(target) == [("0:3:0", "type_conflict")]
    pipe.end()
    pipe.stop.clear()
    target.execute(
        "UPDATE widebeam.progress SET next_offset = 1, high = '0/8', generation = 1, next_sequence = 1"
        " WHERE partition = 0"
    )
    pipe.start()
    pipe.wait(target)
    assert quarantined(target) == [("0:3:0", "type_conflict")]
    assert read(target, "a") == [(None,)]


def test_a_truncate_closes_what_came_before_it(target, pipe):
    pipe.mapping = replace(pipe.mapping, on_truncate="apply")
    schema, table = TABLE.split(".")
    sources.add(target, "ships", Source(schema, table, 1, {}, None))
    notices.add(target, "ships", Notice(TABLE, "gone", "jan", "it was detached"))
    pipe.change(16, [MISFIT])
    pipe.everywhere(24, Truncated, [TABLE])
    pipe.change(32, [narrow("i", "b", "String", "after")])
    pipe.start()
    pipe.wait(target)
    assert [origin for origin, _ in quarantined(target)] == ["0:3:0"]
    assert notices.load(target, "ships") == [], "nothing stays of what was in a partition"
    assert target.execute("SELECT truncated_at::text FROM widebeam.sources").fetchone() == ("0/18",)
