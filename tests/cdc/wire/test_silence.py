"""A server that says nothing: one that is at work is waited for, and that is told; any other is taken for dead."""

from __future__ import annotations

import os
import shutil
import signal
import struct
from functools import partial
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import psutil
import psycopg
import pytest

from cdc.lsn import Lsn
from cdc.source.session import connect
from cdc.trouble import Troubles
from cdc.wire import stream
from cdc.wire.stream import Stream, StreamEnded, at_work
from tests.beside import beside
from tests.waiting import until
from widebeam.lab.account import new_directory
from widebeam.lab.postgres import QUICK, PostgresServer


class Silent(SimpleNamespace):
    """A connection on which nothing comes."""

    def get_copy_data(self, _: int) -> tuple[int, memoryview]:
        data, self.data = self.data, b""
        return len(data), memoryview(data)

    def consume_input(self) -> None:
        pass


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock, and what is told."""
    found = SimpleNamespace(seconds=0.0, works=True)
    found.troubles = Troubles(lambda: found.seconds)
    monkeypatch.setattr(stream.time, "monotonic", lambda: found.seconds)
    monkeypatch.setattr(stream, "TROUBLES", found.troubles)
    monkeypatch.setattr(stream.select, "select", lambda *_: ([], [], []))
    return found


def silent(now: SimpleNamespace) -> tuple[Stream, Silent]:
    wire = Silent(data=b"", socket=0, put_copy_data=lambda _: None, flush=lambda: None)
    connection = cast("psycopg.Connection[Any]", SimpleNamespace(pgconn=wire, info=SimpleNamespace(backend_pid=7)))
    return Stream(connection, Lsn(0x10), 60.0, lambda: bool(now.works)), wire


def test_a_walsender_at_work_is_waited_for_and_named_until_it_speaks(now: SimpleNamespace) -> None:
    made, wire = silent(now)
    made.report(Lsn(0))
    made.report(Lsn(0))  # nothing came since the last one: it is asked
    for now.seconds in (30.0, 61.0, 100.0, 121.0, 3000.0):
        assert made.read(1, 0.0) == []
    [told] = now.troubles.all()
    assert told.where == stream.MUTE
    assert "(PID 7) has said nothing for 3000 s behind 0/10" in told.what
    assert "(look 3)" in told.what
    wire.data = b"w" + bytes(24) + b"frame"
    assert made.read(1, 0.0) == [b"frame"]
    now.seconds += 10.0
    assert now.troubles.all() == []


@pytest.mark.parametrize(("reply", "waits"), [(0, 2), (1, 1)])
def test_keepalives_do_not_prolong_the_waiting_and_one_that_asks_ends_it(
    now: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, reply: int, waits: int
) -> None:
    """Beside a writer of other tables they come one after the other, without an end."""
    made, wire = silent(now)
    waited = []

    def one_comes(readers: list[int], *_: object) -> tuple[list[int], list[int], list[int]]:
        waited.append(now.seconds)
        now.seconds += 0.2
        if len(waited) > 9:
            return [], [], []
        wire.data = struct.pack(">cQqB", b"k", 0x20 + len(waited), 0, reply)
        return readers, [], []

    monkeypatch.setattr(stream.select, "select", one_comes)
    monkeypatch.setattr(stream.time, "sleep", lambda _: None)
    assert made.read(10, 0.25) == []
    assert (len(waited), made.passed, made.reply_requested) == (waits, 0x20 + waits, reply == 1)


def test_a_silence_is_told_long_before_anything_is_done_about_it_and_over_once_another_stream_speaks(
    now: SimpleNamespace,
) -> None:
    made, _ = silent(now)
    made.report(Lsn(0))
    made.report(Lsn(0))
    now.seconds, now.works = 15.0, False
    made.read(1, 0.0)
    assert now.troubles.all() == []
    now.seconds = 16.0
    made.read(1, 0.0)
    told = [each.what for each in now.troubles.all()]
    assert len(told) == 1
    assert "(PID 7) has said nothing for 16 s behind 0/10; one that uses no CPU" in told[0]
    another, wire = silent(now)
    wire.data = b"w" + bytes(24) + b"frame"
    another.read(1, 0.0)
    now.seconds += 10.0
    assert now.troubles.all() == []


def test_a_walsender_that_is_stopped_is_told_and_after_it_goes_on_nothing_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    troubles = Troubles()
    monkeypatch.setattr(stream, "TROUBLES", troubles)
    directory = new_directory("wb-test-")  # a stopped process of the shared server would be waited for by others
    server = PostgresServer.start(directory, settings=QUICK)
    try:
        with connect(server.dsn(), autocommit=True) as session:
            session.execute("CREATE TABLE public.t (v text); CREATE PUBLICATION p FOR TABLE public.t")
            session.execute("SELECT pg_create_logical_replication_slot('stopped', 'pgoutput')")
            first = Stream.start(server.dsn(), "stopped", "p", Lsn(0))
            session.execute("INSERT INTO public.t VALUES ('before')")
            until(lambda: any(b"before" in each for each in first.read(100, 0.1)))
            pid = first._connection.info.backend_pid
            until(lambda: stopped_at_rest(session, pid))
            try:
                session.execute("INSERT INTO public.t VALUES ('meanwhile')")
                first._patience = 1e9
                monkeypatch.setattr(stream, "_TOLD", 0)
                until(lambda: (first.report(Lsn(0)), first.read(100, 0.01), troubles.all())[2])
                first._patience = 0.0
                with pytest.raises(StreamEnded, match="has not answered"):
                    until(lambda: first.read(100, 0.01) == [b"never"])
                assert any(f"(PID {pid}) has said nothing" in each.what for each in troubles.all())
                first.close()
                with pytest.raises(psycopg.errors.ObjectInUse):
                    Stream.start(server.dsn(), "stopped", "p", Lsn(0))
            finally:
                os.kill(pid, signal.SIGCONT)
            second = until(partial(started, server.dsn()))
            brought: list[bytes] = []
            until(lambda: brought.extend(second.read(100, 0.1)) or any(b"meanwhile" in each for each in brought))
            assert any(b"before" in each for each in brought), "it was not acknowledged"
            second.close()
    finally:
        server.stop("immediate")
        shutil.rmtree(directory)


def stopped_at_rest(session: psycopg.Connection[Any], pid: int) -> bool:
    """Whether it stands still while it waits for us; else it goes on."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    found = session.execute("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
    if found and found[0] in stream._IDLE:
        return True
    os.kill(pid, signal.SIGCONT)
    return False


def started(dsn: str) -> Stream | None:
    """None while the slot is in use."""
    try:
        return Stream.start(dsn, "stopped", "p", Lsn(0))
    except psycopg.errors.ObjectInUse:
        return None


def test_a_server_that_is_not_at_work_is_taken_for_dead(now: SimpleNamespace) -> None:
    made, _ = silent(now)
    made.report(Lsn(0))
    made.report(Lsn(0))
    now.seconds = 61.0
    made.read(1, 0.0)
    now.seconds, now.works = 122.0, False
    with pytest.raises(StreamEnded, match="not answered for 122 s"):
        made.read(1, 0.0)


def test_who_waits_for_others_is_not_at_work(database: str) -> None:
    with connect(database, autocommit=True) as session, connect(database, autocommit=True) as other:
        pid = session.info.backend_pid
        assert not at_work(database, pid)
        assert not at_work(database, 0)

        def count(_: Event) -> None:
            with pytest.raises(psycopg.errors.QueryCanceled):
                session.execute("SELECT count(*) FROM generate_series(1, 1000000000000) AS n WHERE n < 0")

        with beside(count):
            until(lambda: at_work(database, pid))
            other.execute("SELECT pg_cancel_backend(%s)", [pid])
    assert not at_work("host=127.0.0.1 port=1", pid)
