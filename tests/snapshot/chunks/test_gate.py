"""Gate G on a real server: a commit below the cutoff that is decoded, and not visible yet."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeAlias

import psycopg
import pytest

import sink
from cdc.lsn import Lsn
from cdc.source import slot
from cdc.source.session import connect
from snapshot.chunks.gate import GateClosed, await_gate, await_replay, lacking
from widebeam.lab.account import new_directory
from widebeam.lab.postgres import QUICK, PostgresServer

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

# A commit that asks for it waits for ever for a standby that is not there. All others do not ask.
WAITING = {**QUICK, "synchronous_standby_names": "nobody", "synchronous_commit": "local"}

SET_CUTOFF = """
INSERT INTO widebeam.connectors (connector, transport, partitions, slot, publication, system_id, timeline, cutoff,
                                 cutoff_snapshot, settings)
VALUES ('ships', 'direct', 4, 'ships', 'none', '1', 1, %s::pg_lsn, %s::pg_snapshot, '{}')
"""


@dataclass
class Scene:
    """A reading whose commit lies below the cutoff, and a session that waits in that commit."""

    server: PostgresServer
    main: Connection
    writer: Connection
    cutoff: slot.Cutoff
    committing: Future[None]

    def release(self) -> None:
        """Let the commit become visible."""
        self.main.execute("SELECT pg_cancel_backend(%s)", [self.writer.info.backend_pid])
        self.committing.result(30)

    def readings(self) -> int:
        """What a backfill that reads now would find."""
        return self.main.execute("SELECT * FROM public.readings").rowcount


@pytest.fixture
def scene() -> Iterator[Scene]:
    directory = new_directory("wb-gate-")
    server = PostgresServer.start(directory / "pg", settings=WAITING)
    with ThreadPoolExecutor(2) as threads, connect(server.dsn(), autocommit=True) as main:
        main.execute("SET search_path = public; CREATE TABLE readings (ship text, value float8)")
        main.execute("CREATE PUBLICATION readings FOR TABLE readings")
        main.execute((Path(sink.__file__ or "").parent / "control.sql").read_text())
        writer = connect(server.dsn())
        try:
            yield _set_up(server, main, writer, threads)
        finally:
            server.stop("immediate")
            writer.close()
            shutil.rmtree(directory)


def _set_up(server: PostgresServer, main: Connection, writer: Connection, threads: ThreadPoolExecutor) -> Scene:
    """Make the slot's start meet two older transactions in turn, and let the writer commit before the second ends."""
    first, second = connect(server.dsn()), connect(server.dsn())
    with first, second:
        _begin(first)
        making = threads.submit(slot.create, server.dsn(), "ships")
        _wait_for_waiter(server, main, first)
        _begin(second)
        first.rollback()
        _wait_for_waiter(server, main, second)
        writer.execute("SET synchronous_commit = on; INSERT INTO public.readings VALUES ('a', 1.5)")
        committing = threads.submit(writer.commit)
        server.process.until(lambda: _waits(main, writer, "SyncRep"), seconds=30)
        second.rollback()
        cutoff = making.result(30)
    main.execute(SET_CUTOFF, list(map(str, cutoff)))
    return Scene(server, main, writer, cutoff, committing)


def _begin(session: Connection) -> None:
    session.execute("SELECT pg_current_xact_id()")


def _wait_for_waiter(server: PostgresServer, main: Connection, holder: Connection) -> None:
    """Until somebody waits for the end of the holder's transaction."""
    query = (
        "SELECT FROM pg_locks AS asked JOIN pg_locks AS held USING (transactionid)"
        " WHERE NOT asked.granted AND held.granted AND held.pid = %s"
    )
    server.process.until(lambda: main.execute(query, [holder.info.backend_pid]).rowcount > 0, seconds=30)


def _waits(main: Connection, session: Connection, event: str) -> bool:
    query = "SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event = %s"
    return main.execute(query, [session.info.backend_pid, event]).rowcount > 0


def test_the_gate_waits_for_a_commit_that_is_decoded_and_not_visible(scene: Scene) -> None:
    # What the gate is for: the reading is below the cutoff, and a snapshot taken now lacks it, and so does the stream.
    assert scene.readings() == 0
    with pytest.raises(GateClosed) as closed:
        await_gate(scene.main, scene.main, "ships", Event(), seconds=0.2)
    assert f"PID {scene.writer.info.backend_pid}" in str(closed.value)
    assert "SyncRep" in str(closed.value)
    scene.release()
    assert await_gate(scene.main, scene.main, "ships", Event(), seconds=30) is not None
    assert scene.readings() == 1
    stream = "SELECT * FROM pg_logical_slot_peek_binary_changes('ships', NULL, NULL, 'proto_version', '1',"
    changes = scene.main.execute(f"{stream} 'publication_names', 'readings')").fetchall()
    assert not [data for _, _, data in changes if data[:1] == b"I"]


def test_the_gate_opens_while_it_is_waited_for(scene: Scene) -> None:
    releasing = Thread(target=scene.release)
    with connect(scene.server.dsn(), autocommit=True) as waiting:
        assert lacking(waiting, scene.cutoff.snapshot)
        releasing.start()
        assert await_gate(waiting, waiting, "ships", Event(), seconds=30) is not None
    releasing.join()
    assert scene.readings() == 1


def test_a_transaction_above_the_cutoff_does_not_close_the_gate(scene: Scene) -> None:
    scene.release()
    with connect(scene.server.dsn()) as later:
        _begin(later)
        passed = await_gate(scene.main, scene.main, "ships", Event(), seconds=1)
    assert isinstance(passed, Lsn)


def test_passing_once_is_enough(scene: Scene) -> None:
    scene.main.execute("UPDATE widebeam.connectors SET gate_lsn = '0/ABC'")
    assert await_gate(scene.main, scene.main, "ships", Event(), seconds=0) == Lsn(0xABC)
    scene.release()


def test_whoever_is_told_to_stop_does_not_wait(scene: Scene) -> None:
    stop = Event()
    stop.set()
    assert await_gate(scene.main, scene.main, "ships", stop, seconds=30) is None
    scene.release()


def test_a_primary_need_not_replay(source: Connection) -> None:
    assert await_replay(source, Lsn(2**60), Event(), seconds=0)
