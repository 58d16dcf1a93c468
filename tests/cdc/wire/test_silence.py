"""A server that says nothing: one that is at work is waited for, and that is told; any other is taken for dead."""

from __future__ import annotations

from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest

from cdc.lsn import Lsn
from cdc.source.session import connect
from cdc.trouble import Troubles
from cdc.wire import stream
from cdc.wire.stream import Stream, StreamEnded, at_work
from tests.beside import beside
from tests.waiting import until


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
    assert "(PID 7) has said nothing for 3000 s" in told.what
    assert "behind 0/10 (look 3)" in told.what
    wire.data = b"w" + bytes(24) + b"frame"
    assert made.read(1, 0.0) == [b"frame"]
    now.seconds += 10.0
    assert now.troubles.all() == []


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
