"""A backfill worker whose sessions are terminated again and again: it connects anew, and lets go of them."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from sink.mapping.mapping import Mapping
from snapshot import run
from snapshot.chunks import ledger
from snapshot.chunks.estimate import plan_chunks
from snapshot.run import Backfill, BackfillSettings
from tests.footprint import assert_nothing_is_left, terminate
from tests.pipeline import until


def test_nothing_is_left_of_sessions_that_were_terminated(
    source: psycopg.Connection[Any],
    target: psycopg.Connection[Any],
    mapping: Mapping,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "_LOOK_AGAIN", 0.01)
    source.execute(
        "INSERT INTO tenant.readings (ship_id, data_channel_id, created_time, double_v, value_format)"
        " VALUES ('s', 'c', '2024-01-01', 1.5, 'Decimal')"
    )
    ledger.write_plan(target, "ships", plan_chunks(source, mapping.rule, 100, 24))
    stop, failures = threading.Event(), []

    def work() -> None:
        try:
            Backfill(BackfillSettings(mapping, database, database, backoff=0.01, stays=True)).run(stop)
        except Exception as error:  # noqa: BLE001  of this thread
            failures.append(error)

    def merged() -> bool:
        counts = ledger.counts(target, "ships")
        return bool(failures) or (counts.merged > 0 and counts.open == 0)

    def merge() -> None:
        target.execute("UPDATE widebeam.chunks SET state = 'planned', attempts = 0, retry_at = NULL")
        until(merged)
        assert failures == []

    def again() -> None:
        assert terminate(target, "widebeam-backfill") == 2
        merge()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        merge()
        assert_nothing_is_left(again, 20)
    finally:
        stop.set()
        thread.join(60)
    assert target.execute("SELECT c FROM wide.s").fetchone() == (1.5,)
