"""Over a gap: nothing of the old stream counts any more, and a range is only set while no sink advances."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from cdc.session import connect
from sink import sources
from snapshot.run import Backfill, BackfillSettings
from tests.readings import FILE, NARROW
from widebeam.config import Connector, load
from widebeam.gap import repair
from widebeam.gap.cross import cross
from widebeam.prepare import prepare

FILLED = f"""{NARROW}INSERT INTO tenant.readings
SELECT 's', 'c', '2024-01-01'::timestamp + n * interval '1 h', n FROM generate_series(1, 5) n
"""
OLD_STREAM = """
UPDATE wide."s__1" SET _lsn = 'FF/0';
UPDATE widebeam.progress SET high = 'FF/0', barrier = 'FF/0', next_sequence = 7;
INSERT INTO widebeam.chunks (connector, chunk, source, estimated, lower_bound, state)
SELECT connector, 99, 'tenant.readings', 1, '2030-01-01', 'planned' FROM widebeam.connectors;
INSERT INTO widebeam.tombstones SELECT connector, 99, '["s"]', '["2030-01-01 00:00:00"]', 'c' FROM widebeam.connectors;
SELECT pg_drop_replication_slot(slot) FROM widebeam.connectors;
UPDATE tenant.readings SET f = -1 WHERE f = 2
"""
STREAM = "SELECT generation, cutoff FROM widebeam.connectors"
PROGRESS = "SELECT DISTINCT epoch, high::text, barrier::text, generation, next_sequence FROM widebeam.progress"
BOTH = """
SELECT (SELECT array_agg(f ORDER BY at) FROM tenant.readings), (SELECT array_agg(c ORDER BY at) FROM wide.s)
"""


@pytest.fixture
def connector(database: str, tmp_path: Path) -> Connector:
    file = tmp_path / f"cross_{uuid4().hex[:8]}.toml"
    file.write_text(FILE.format(dsn=database))
    return load(str(file), {})


@pytest.fixture
def session(database: str, connector: Connector) -> Iterator[psycopg.Connection[Any]]:
    """A session, once the connector was filled in, and its stream was lost."""
    with connect(database, autocommit=True) as made:
        made.execute(FILLED)
        prepare(connector)
        backfill(connector, made)
        made.execute(OLD_STREAM)
        yield made


def backfill(connector: Connector, session: psycopg.Connection[Any]) -> None:
    mapping, dsn = connector.mapping(sources.load(session, connector.name)), session.info.dsn
    repairs = BackfillSettings(mapping, dsn, dsn, repairs=lambda *both: repair.RangeRepair(*both, mapping))
    Backfill(repairs).run(Event())


def test_nothing_of_the_old_stream_counts_any_more(connector: Connector, session: psycopg.Connection[Any]) -> None:
    before = session.execute(STREAM).fetchone()
    epoch = session.execute(PROGRESS).fetchone()[0]
    cross(connector)
    generation, cutoff = session.execute(STREAM).fetchone()
    assert generation == before[0] + 1  # fences captures, and their records in the log
    assert session.execute(PROGRESS).fetchall() == [(epoch + 1, "0/0", "0/0", generation, 0)]  # fences sinks
    # Fences workers that have read an open chunk by the old cutoff.
    assert session.execute("SELECT min(chunk) > 99 FROM widebeam.chunks WHERE state = 'planned'").fetchone() == (True,)
    assert session.execute("SELECT count(*) FROM widebeam.tombstones").fetchone() == (0,)
    assert session.execute("SELECT max(_lsn) FROM wide.s").fetchone() == (cutoff,)


def test_no_sink_advances_while_a_range_that_differs_is_read_and_set(
    connector: Connector, session: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cross(connector)
    seen = []

    def look(*_: object) -> None:
        with connect(session.info.dsn, autocommit=True) as sink:
            try:
                sink.execute("SELECT FROM widebeam.progress FOR UPDATE NOWAIT")
                seen.append("free")
            except psycopg.errors.LockNotAvailable:
                seen.append("locked")

    monkeypatch.setattr(repair, "await_writers", look)
    backfill(connector, session)
    narrow, wide = session.execute(BOTH).fetchone()
    assert narrow == wide == [1, -1, 3, 4, 5]
    assert set(seen) == {"locked"}
