"""Reading from a physical standby: safe once it has replayed the position at which the gate was open."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from threading import Event

import pytest

from cdc.source.session import connect
from sink.mapping.mapping import Mapping
from snapshot.chunks import ledger
from snapshot.chunks.estimate import plan_chunks
from snapshot.chunks.gate import await_gate, await_replay
from snapshot.run import Backfill, BackfillSettings
from widebeam.lab.account import new_directory
from widebeam.lab.postgres import PostgresServer

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
