"""Connections end when their server has vanished, whatever they are waiting for."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdc.source.session import ALIVE, HEARD, Silent, answered, connect, connect_to_read, pinned_conninfo
from tests.faults.loss import ONLY_ROOT, may_lose
from tests.faults.proxy import Proxy
from tests.pipeline import until
from widebeam.lab.postgres import PostgresServer

SOON = "keepalives_idle=1 keepalives_interval=1 keepalives_count=1 tcp_user_timeout=2000 connect_timeout=2"


packets_can_be_lost = pytest.mark.skipif(not may_lose(), reason=ONLY_ROOT)


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[Proxy]:
    made = Proxy(postgres.port)
    yield made
    made.close()


def through(proxy: Proxy, more: str) -> str:
    return f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres {more}"


def test_every_connection_asks_for_signs_of_life_and_what_the_user_says_wins() -> None:
    ours = conninfo_to_dict(pinned_conninfo("host=a"))
    assert {name: int(str(ours[name])) for name in ALIVE} == ALIVE
    theirs = conninfo_to_dict(pinned_conninfo("postgresql://a/?keepalives_idle=7&tcp_user_timeout=0&connect_timeout=9"))
    assert (theirs["keepalives_idle"], theirs["tcp_user_timeout"], theirs["connect_timeout"]) == ("7", "0", "9")
    assert theirs["keepalives_count"] == str(ALIVE["keepalives_count"])
    assert conninfo_to_dict(pinned_conninfo("connect_timeout=9", connect_timeout=5))["connect_timeout"] == "5"


@pytest.mark.parametrize("more", [{}, {"replication": "database"}], ids=["session", "stream"])
def test_the_server_watches_over_us_as_well(postgres: PostgresServer, more: dict[str, str]) -> None:
    def shown(dsn: str, name: str) -> str:
        with connect(dsn, autocommit=True, **more) as session:
            row = session.execute(f"SHOW {name}").fetchone()
            assert row is not None
            return str(row[0])

    assert (shown(postgres.dsn(), "tcp_keepalives_idle"), shown(postgres.dsn(), "tcp_user_timeout")) == ("30", "60000")
    theirs = make_conninfo(postgres.dsn(), options="-c tcp_user_timeout=7s")
    assert shown(theirs, "tcp_user_timeout") == "7000"


@pytest.mark.timeout(60)  # without end, if nobody gives it up
@pytest.mark.parametrize("more", [{}, {"replication": "database"}], ids=["session", "stream"])
def test_a_question_that_a_server_does_not_answer_is_given_up(
    proxy: Proxy, postgres: PostgresServer, more: dict[str, str]
) -> None:
    question = "IDENTIFY_SYSTEM" if more else "SELECT"
    with psycopg.connect(postgres.dsn()) as other, connect(through(proxy, ""), autocommit=True, **more) as session:
        with answered(session):
            session.execute(question)
        port = "SELECT client_port FROM pg_stat_activity WHERE pid = %s"
        row = other.execute(port, [session.info.backend_pid]).fetchone()
        assert row is not None
        with (
            proxy.silent("down", port=row[0]),
            pytest.raises(Silent, match="has not answered for"),
            answered(session, 0.5),
        ):
            session.execute(question)
        assert session.broken


@pytest.mark.parametrize("more", [{}, {"replication": "database"}], ids=["session", "stream"])
def test_the_kernel_watches_over_sessions_and_over_the_stream(postgres: PostgresServer, more: dict[str, str]) -> None:
    with connect(postgres.dsn(), autocommit=True, **more) as session:
        end = socket.socket(fileno=session.fileno())
        try:
            assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == ALIVE["keepalives_idle"]
            assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == ALIVE["tcp_user_timeout"]
        finally:
            end.detach()


@packets_can_be_lost
def test_who_waits_for_an_answer_of_a_server_that_has_vanished_is_told(proxy: Proxy, postgres: PostgresServer) -> None:
    with connect(through(proxy, SOON), autocommit=True) as session:
        pid = session.info.backend_pid
        session.pgconn.send_query(b"SELECT pg_sleep(600)")
        session.pgconn.flush()
        with psycopg.connect(postgres.dsn(), autocommit=True) as other:
            sleeps = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"
            until(lambda: other.execute(sleeps, [pid]).fetchone())
            proxy.vanish()
            until(lambda: lost(session), 30)
            other.execute("SELECT pg_terminate_backend(%s)", [pid])


@packets_can_be_lost
def test_what_is_sent_to_a_server_that_has_vanished_is_not_waited_for_long(proxy: Proxy) -> None:
    with connect(through(proxy, SOON.replace("keepalives_idle=1", "keepalives_idle=600")), autocommit=True) as session:
        proxy.vanish()
        session.pgconn.send_query(b"SELECT 1")
        session.pgconn.flush()
        until(lambda: lost(session), 30)


@packets_can_be_lost
@pytest.mark.parametrize("more", [{}, {"replication": "database"}], ids=["session", "stream"])
def test_a_server_gives_a_session_of_ours_up_that_has_vanished(
    proxy: Proxy, postgres: PostgresServer, more: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.source.session.HEARD", {name: "1" for name in HEARD if name != "tcp_user_timeout"})
    with psycopg.connect(postgres.dsn(), autocommit=True) as other:
        with connect(through(proxy, ""), autocommit=True, **more) as session:
            pid = session.info.backend_pid
            proxy.vanish()
        there = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
        until(lambda: other.execute(there, [pid]).fetchone() is None, 60)


def test_a_server_that_takes_a_connection_and_says_nothing_is_given_up() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(psycopg.errors.ConnectionTimeout),
    ):
        connect(f"host=127.0.0.1 port={mute.getsockname()[1]} user=postgres connect_timeout=2")


def lost(session: psycopg.Connection[tuple[object, ...]]) -> bool:
    """Whether the kernel has given the connection up, as whoever waits for it is told at once."""
    try:
        session.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return False


def test_a_session_to_read_is_taken_to_the_primary_that_a_session_to_write_asks_for(database: str) -> None:
    with closing(connect_to_read(make_conninfo(database, target_session_attrs="read-write"))) as session:
        assert session.execute("SHOW transaction_read_only").fetchone() == ("on",)
