"""Reading from a physical standby: safe once it has replayed the position at which the gate was open."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from threading import Event

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdc.fate import Whose
from cdc.fault import session_of
from cdc.source.session import connect
from cdc.trouble import TROUBLES
from sink.mapping.mapping import Mapping
from snapshot.chunks import ledger
from snapshot.chunks.estimate import plan_chunks
from snapshot.chunks.gate import await_gate, await_replay
from snapshot.fill import reader
from snapshot.run import Backfill, BackfillSettings
from widebeam.lab.account import new_directory
from widebeam.lab.postgres import PostgresServer

CONFLICT = "canceling statement due to conflict with recovery"

INSERT = """
INSERT INTO tenant.readings (ship_id, data_channel_id, created_time, double_v, value_format)
VALUES ('a', 'speed', '2024-01-01', 1.5, 'Decimal')
"""


@pytest.fixture
def standby(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A standby of the server that the tests share."""
    directory = new_directory("wb-standby-")
    backup = [postgres.binaries / "pg_basebackup", "-d", postgres.dsn(), "-D", directory / "data", "-R", "-c", "fast"]
    subprocess.run(list(map(str, backup)), check=True, capture_output=True, timeout=120)
    server = PostgresServer.start(directory, binaries=postgres.binaries)
    yield server
    server.stop("immediate")
    shutil.rmtree(directory)


def test_a_standby_is_waited_for_until_it_has_replayed_the_gate(
    source: object, target: object, mapping: Mapping, database: str, standby: PostgresServer
) -> None:
    with (
        connect(database, autocommit=True) as primary,
        connect(standby.dsn(), autocommit=True) as control,
        connect(standby.dsn(), autocommit=True) as late,
    ):
        control.execute("SELECT pg_wal_replay_pause()")
        primary.execute(INSERT)
        gate = await_gate(primary, primary, "ships", Event(), seconds=30)
        assert gate is not None
        with pytest.raises(TimeoutError, match=str(gate)):
            await_replay(late, gate, Event(), seconds=0.2)
        control.execute("SELECT pg_wal_replay_resume()")
        assert await_replay(late, gate, Event(), seconds=30)
        ledger.write_plan(primary, "ships", plan_chunks(primary, mapping.rule, 100, 24))
        there = standby.dsn(primary.info.dbname)
        counts = Backfill(BackfillSettings(mapping, database, database, standby_dsn=there)).run(Event())
        assert (counts.rows, counts.cells, counts.given_up) == (1, 1, 0)


def test_a_chunk_that_a_standby_cancels_is_no_failure_and_is_read_from_the_primary_in_the_end(
    source: psycopg.Connection[object], target: object, mapping: Mapping, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the standby is the same server by another name."""
    told: list[str] = []
    monkeypatch.setattr(TROUBLES, "hold", lambda _, what: told.append(what))
    read = reader._of_the_source

    def cancelled(copy: psycopg.Copy) -> Iterator[object]:
        with session_of(Whose.SOURCE):
            if copy.connection.info.host == "localhost":
                raise psycopg.errors.SerializationFailure(CONFLICT)
        return read(copy)

    monkeypatch.setattr(reader, "_of_the_source", cancelled)
    source.execute(INSERT)
    with connect(database, autocommit=True) as primary:
        ledger.write_plan(primary, "ships", plan_chunks(primary, mapping.rule, 100, 24))
    settings = BackfillSettings(
        mapping,
        database,
        database,
        standby_dsn=make_conninfo(database, host="localhost"),
        attempts=1,
        backoff=0.001,
    )
    counts = Backfill(settings).run(Event())
    assert (counts.rows, counts.given_up) == (1, 0)
    assert len(told) == 2
    assert all(CONFLICT in why and "hot_standby_feedback" in why for why in told)
