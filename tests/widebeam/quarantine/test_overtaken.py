"""What a chunk puts into quarantine after the stream has overtaken its row closes by itself."""

from __future__ import annotations

from threading import Event

import pytest

from cdc.failpoint import Failpoint, doing
from snapshot.chunks import ledger
from snapshot.chunks.plan import Chunk
from snapshot.run import Backfill, BackfillSettings
from tests.widebeam.quarantine.test_quarantine import Stage
from widebeam.quarantine.heal import Overtaken


@pytest.fixture
def stage(database):
    """Three readings of a kind that has no place lie in a table that is still to be filled in."""
    made = Stage(database)
    for channel in ("fits", "gone", "stays"):
        made.write(channel, "on", "T", stream=False)
    made.target.execute(
        "UPDATE widebeam.connectors SET planned_at = NULL, cutoff = pg_current_wal_insert_lsn(),"
        " cutoff_snapshot = pg_current_snapshot()"
    )
    made.position = 1 << 60
    ledger.write_plan(made.target, "ships", [Chunk(1, None, None, 3, "tenant.readings")])
    yield made
    made.close()


def fill(stage, misfits):
    Backfill(BackfillSettings(stage.mapping, stage.dsn, stage.dsn, misfits=misfits)).run(Event())


def overtake(stage):
    stage.write("fits", "1")
    stage.delete("gone")


def open_entries(stage):
    return [row for (row,) in stage.target.execute("SELECT raw::json -> 'row' ->> 1 FROM widebeam.quarantine")]


def test_entries_of_a_chunk_whose_rows_the_stream_has_overtaken_close_by_themselves(stage):
    with doing(Failpoint.BACKFILL_READ, lambda: overtake(stage)):
        fill(stage, Overtaken(stage.dsn, stage.dsn, lambda _: stage.mapping))
    assert open_entries(stage) == ["stays"]
    assert stage.wide("fits") == ("1",)


def test_so_do_those_that_a_crash_has_left(stage):
    def crash(numbers):
        if numbers:
            raise KeyboardInterrupt

    with doing(Failpoint.BACKFILL_READ, lambda: overtake(stage)), pytest.raises(KeyboardInterrupt):
        fill(stage, crash)
    assert sorted(open_entries(stage)) == ["fits", "gone", "stays"]
    fill(stage, Overtaken(stage.dsn, stage.dsn, lambda _: stage.mapping))
    assert open_entries(stage) == ["stays"]
