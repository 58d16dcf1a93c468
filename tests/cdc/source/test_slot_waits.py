"""What a slot waits for is named while it does, and nobody's slot is left behind by who was killed."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest

from cdc.lsn import Lsn
from cdc.source import slot, slot_waits
from cdc.source.session import connect
from cdc.trouble import TROUBLES
from cdc.wire.stream import Stream
from tests.pipeline import until
from widebeam.lab.account import new_directory
from widebeam.lab.postgres import QUICK, PostgresServer


@pytest.fixture
def name() -> str:
    return f"made_{uuid4().hex[:8]}"


@pytest.fixture
def writer(postgres: PostgresServer) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Somebody in another database who has a transaction open, and writes nothing any more."""
    with psycopg.connect(postgres.dsn(), application_name="nightly report") as other:
        other.execute("SELECT pg_current_xact_id()")
        yield other


def test_whoever_keeps_a_slot_from_being_made_is_named_while_it_is(
    database: str, name: str, writer: psycopg.Connection[tuple[object, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    with connect(database, autocommit=True) as admin, ThreadPoolExecutor(1) as threads:
        making = threads.submit(slot.create, database, name)
        until(lambda: any(name in message for message in caplog.messages))
        (said,) = [message for message in caplog.messages if name in message]
        (told,) = [one.what for one in TROUBLES.all() if one.where == slot_waits.MAKER]
        for part in (f"PID {writer.info.backend_pid} ", "database postgres", "nightly report", "query: SELECT pg_curr"):
            assert part in said
            assert part in told
        assert [name in one for one in slot_waits.held_up(admin, name)] == [True]
        writer.rollback()
        making.result(30)
        assert slot_waits.held_up(admin, name) == []


def test_a_slot_that_is_still_being_made_for_somebody_who_is_gone_is_no_hindrance(
    database: str, name: str, writer: psycopg.Connection[tuple[object, ...]]
) -> None:
    maker = connect(database, autocommit=True, replication="database", application_name=slot_waits.MAKER)
    maker.pgconn.send_query(f"CREATE_REPLICATION_SLOT {name} LOGICAL pgoutput".encode())
    maker.pgconn.flush()
    with connect(database, autocommit=True) as admin:
        until(lambda: slot_waits.waits_for(admin, name))
        with socket.socket(fileno=os.dup(maker.pgconn.socket)) as ours:
            ours.shutdown(socket.SHUT_RDWR)
        slot.drop_unfinished(admin, name)
        assert slot.inspect(admin, name) is None
    maker.close()


def test_a_stream_that_waits_for_a_dead_standby_names_it_and_the_ways_out(name: str) -> None:
    directory = new_directory("wb-test-")
    server = PostgresServer.start(directory, settings={**QUICK, "synchronized_standby_slots": "gone"})
    try:
        with connect(server.dsn(), autocommit=True) as admin:
            admin.execute("SELECT pg_create_physical_replication_slot('gone', true)")
            admin.execute("CREATE TABLE public.t (x int)")
            admin.execute("CREATE PUBLICATION p FOR TABLE public.t")
            told = " ".join(slot_waits.absent(admin, name))  # check says it before there is a slot
            assert "gone. Start that standby; or" in told
            slot.create(server.dsn(), name)
            stream = Stream.start(server.dsn(), name, "p", Lsn(0))
            admin.execute("INSERT INTO public.t VALUES (1)")
            until(lambda: slot_waits.standbys(admin, name))
            (said,) = slot_waits.held_up(admin, name)
            assert "gone. Start that standby; or" in said
            assert "take its slot out of synchronized_standby_slots" in said
            admin.execute("ALTER SYSTEM SET synchronized_standby_slots = ''")
            admin.execute("SELECT pg_reload_conf()")
            until(lambda: not slot_waits.standbys(admin, name))
            until(lambda: not slot_waits.absent(admin, name))
            stream.close()
    finally:
        server.stop("immediate")
        shutil.rmtree(directory)
