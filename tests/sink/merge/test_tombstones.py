"""Tombstones, and how they and chunks wait for one another."""

from __future__ import annotations

import threading

import pytest

from cdc.source.session import connect
from sink.merge import tombstones
from sink.merge.tombstones import Cleared


@pytest.fixture
def ledger(target):
    with target.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO widebeam.chunks (connector, chunk, source, lower_bound, upper_bound, estimated, state)"
            " VALUES ('ships', %s, 'tenant.tbl_data_timeseries', %s, %s, 1, %s)",
            [
                (1, None, "0099-01-01 00:00:00 BC", "planned"),
                (2, "0099-01-01 00:00:00 BC", "2024-01-01 00:00:00", "planned"),
                (3, "2024-01-01 00:00:00", "2024-01-02 00:00:00", "merged"),
                (4, "2024-01-02 00:00:00", "10000-01-01 00:00:00", "failed"),
                (5, "10000-01-01 00:00:00", None, "planned"),
            ],
        )
    return target


def cell(moment, key="a"):
    return Cleared('["ship-1"]', f'["{moment}"]', "tenant.tbl_data_timeseries", moment, key)


def buried(target):
    return target.execute('SELECT chunk, "time", key FROM widebeam.tombstones ORDER BY chunk, key').fetchall()


@pytest.mark.parametrize(
    ("moment", "chunk"),
    [
        ("-infinity", 1),
        ("0100-01-01 00:00:00 BC", 1),
        ("0099-01-01 00:00:00 BC", 2),
        ("2023-12-31 23:59:59.999999", 2),
        ("2024-01-01 00:00:00", None),
        ("2024-01-02 00:00:00", 4),
        ("infinity", 5),
        ("12345-01-01 00:00:00", 5),
    ],
)
def test_a_cell_is_buried_in_its_chunk_unless_that_is_merged(ledger, mapping, moment, chunk):
    with ledger.transaction():
        tombstones.bury(ledger, mapping, [cell(moment)])
    assert [found[0] for found in buried(ledger)] == ([] if chunk is None else [chunk])


def test_a_cell_that_is_cleared_twice_has_one_tombstone(ledger, mapping):
    for _ in range(2):
        with ledger.transaction():
            tombstones.bury(ledger, mapping, [cell("2023-01-01 00:00:00"), cell("2023-01-01 00:00:00", "b")])
    assert buried(ledger) == [(2, '["2023-01-01 00:00:00"]', "a"), (2, '["2023-01-01 00:00:00"]', "b")]


def test_a_ledger_that_gets_open_chunks_again_is_seen(ledger, mapping):
    ledger.execute("UPDATE widebeam.chunks SET state = 'merged'")
    assert tombstones.bury(ledger, mapping, [cell("2023-01-01 00:00:00")]) == 0
    ledger.execute("UPDATE widebeam.chunks SET state = 'planned' WHERE chunk = 2")
    assert tombstones.bury(ledger, mapping, [cell("2023-01-01 00:00:00")]) == 1


def test_a_chunk_that_merges_meanwhile_is_waited_for_and_then_gets_none(ledger, database, mapping):
    with connect(database) as chunk:
        chunk.execute("SELECT FROM widebeam.chunks WHERE chunk = 2 FOR UPDATE")
        done = threading.Event()

        def bury():
            with ledger.transaction():
                tombstones.bury(ledger, mapping, [cell("2023-01-01 00:00:00")])
            done.set()

        sink = threading.Thread(target=bury)
        sink.start()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        while chunk.execute(waiting).fetchone() == (0,):
            chunk.execute("SELECT pg_stat_clear_snapshot()")
        assert not done.is_set()
        chunk.execute("UPDATE widebeam.chunks SET state = 'merged' WHERE chunk = 2")
        chunk.commit()
        sink.join()
    assert buried(ledger) == []


def test_a_tombstone_that_is_not_committed_holds_the_chunk_up(ledger, database, mapping):
    with connect(database) as sink, connect(database) as chunk:
        tombstones.bury(sink, mapping, [cell("2023-01-01 00:00:00")])
        skipped = chunk.execute("SELECT chunk FROM widebeam.chunks WHERE chunk IN (1, 2) FOR UPDATE SKIP LOCKED")
        assert skipped.fetchall() == [(1,)]
        sink.commit()
        assert chunk.execute("SELECT chunk FROM widebeam.chunks WHERE chunk = 2 FOR UPDATE SKIP LOCKED").fetchall() == [
            (2,)
        ]


def test_a_truncate_voids_what_is_not_merged(ledger):
    with ledger.transaction():
        assert tombstones.void(ledger, "ships") == 4
    states = ledger.execute("SELECT state, count(*) FROM widebeam.chunks GROUP BY state ORDER BY state").fetchall()
    assert states == [("merged", 1), ("void", 4)]
