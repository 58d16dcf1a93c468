"""Over a gap: nothing of the old stream counts any more, and a range is only set while no sink advances."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from cdc.source.session import connect
from sink.state import sources, standstill
from snapshot.chunks.plan import Chunk
from snapshot.run import Backfill, BackfillSettings
from tests.readings import FILE, NARROW
from widebeam.config.config import load
from widebeam.config.connector import Connector
from widebeam.gap import repair
from widebeam.gap.clearing import WouldClear
from widebeam.gap.cross import cross, foresee
from widebeam.setup.prepare import prepare
from widebeam.verify.range_reader import Found, RangeReader, lighter

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

    monkeypatch.setattr(standstill, "await_writers", look)
    backfill(connector, session)
    narrow, wide = session.execute(BOTH).fetchone()
    assert narrow == wide == [1, -1, 3, 4, 5]
    assert set(seen) == {"locked"}


def test_what_only_a_table_that_was_renamed_away_holds_is_not_cleared_unasked(
    connector: Connector, session: psycopg.Connection[Any]
) -> None:
    def nobody_agrees(loss: WouldClear) -> None:
        raise loss

    session.execute("ALTER TABLE tenant.readings RENAME TO old")
    session.execute("CREATE TABLE tenant.readings (LIKE tenant.old INCLUDING ALL)")
    session.execute("INSERT INTO tenant.readings VALUES ('s', 'c', '2024-02-01', 6)")
    before = session.execute(STREAM).fetchone()
    with pytest.raises(WouldClear) as refused:
        cross(connector, nobody_agrees)
    assert str(foresee(connector)) == str(refused.value)
    assert "would clear 5 cells, for which tenant.readings has no value now:\n" in str(refused.value)
    assert "\n  wide.s: 5 cells, from 2024-01-01 01:00:00 to 2024-01-01 05:00:00\n" in str(refused.value)
    assert session.execute(STREAM).fetchone() == before, "nothing is done before somebody has agreed"

    connector.file.write_text(connector.file.read_text() + '[sink]\non_delete = "ignore"\n')
    assert foresee(load(str(connector.file), {})) is None  # one of the ways on that it names; the other:
    session.execute("INSERT INTO tenant.readings SELECT * FROM tenant.old")
    cross(connector, nobody_agrees)
    backfill(connector, session)
    session.execute("INSERT INTO tenant.readings VALUES ('s', 'c', '2023-01-01', 7)")  # the application goes on
    narrow, wide = session.execute(BOTH).fetchone()
    assert (narrow[1:], wide) == ([1, -1, 3, 4, 5, 6], [1, -1, 3, 4, 5, 6])


def test_a_range_that_is_heavier_than_was_planned_is_set_piece_by_piece(
    connector: Connector, session: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    session.execute(
        "INSERT INTO tenant.readings SELECT 's', 'c', place, 9 FROM unnest("
        "ARRAY['-infinity', '2020-01-01', '2024-02-01', '2024-02-01 01:00', '2025-01-01', 'infinity']::timestamp[]"
        ") AS written(place)"
    )
    cross(connector)
    read = []

    class Reader(repair.RangeReader):
        def read(self, chunk: Chunk, *, keep_rows: bool = False) -> Found:
            found = super().read(chunk, keep_rows=keep_rows)
            read.append((chunk.lower, chunk.upper, found.rows))
            return found

    monkeypatch.setattr(repair, "RangeReader", Reader)
    monkeypatch.setattr(repair, "PIECE_ROWS", 3)
    backfill(connector, session)
    narrow, wide = session.execute(BOTH).fetchone()
    assert narrow == wide == [9, 9, 1, -1, 3, 4, 5, 9, 9, 9, 9]
    assert len({(lower, upper) for lower, upper, _ in read}) > 1
    assert max(rows for *_, rows in read) == 3
    [merged] = session.execute("SELECT state, rows, cells FROM widebeam.chunks WHERE source = ''").fetchall()
    assert merged == (
        "merged",
        sum({(lower, upper): rows for lower, upper, rows in read}.values()),
        6,
    )  # the open chunk filled one


def test_a_range_is_cut_between_rows_and_without_a_gap(connector: Connector, session: psycopg.Connection[Any]) -> None:
    mapping = connector.mapping(sources.load(session, connector.name))
    session.execute("INSERT INTO tenant.readings SELECT n::text, 'c', '2024-06-01', n FROM generate_series(1, 9) AS n")
    whole = Chunk(1, "2024-01-01 02:00:00", None, 0)
    pieces = lighter(session, mapping, whole, 2)
    assert pieces[0].lower == whole.lower
    assert pieces[-1].upper is None
    assert [piece.upper for piece in pieces[:-1]] == [piece.lower for piece in pieces[1:]]
    reader = RangeReader(session, session, mapping)
    assert [reader.read(piece).rows for piece in pieces] == [1, 2, 1, 9]  # those of one time stay together
    assert lighter(session, mapping, whole, 100) == [whole]
