from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from cdc.halt import Cause, Halt
from cdc.lsn import Lsn
from cdc.source import slot
from cdc.source.session import connect
from widebeam.lab.account import new_directory
from widebeam.lab.postgres import QUICK, PostgresServer

STATE = slot.SlotState("pgoutput", "db", Lsn(100), Lsn(50), None, "reserved", None)


@pytest.fixture
def admin(database: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.t (x int)")
        yield connection


@pytest.fixture
def name(admin: psycopg.Connection[tuple[Any, ...]]) -> str:
    return f"wb_{admin.info.dbname}"


def test_the_cutoff_divides_what_the_snapshot_sees_from_what_the_stream_brings(
    admin: psycopg.Connection[tuple[Any, ...]], database: str, name: str
) -> None:
    def xid(connection: psycopg.Connection[tuple[Any, ...]]) -> str:
        row = connection.execute("INSERT INTO public.t VALUES (1) RETURNING pg_current_xact_id()::text").fetchone()
        assert row is not None
        return str(row[0])

    before = xid(admin)
    cutoff = slot.create(database, name)
    after = xid(admin)
    row = admin.execute(
        "SELECT pg_visible_in_snapshot(%s::xid8, s), pg_visible_in_snapshot(%s::xid8, s)"
        " FROM (SELECT %s::pg_snapshot) x(s)",
        [before, after, cutoff.snapshot],
    ).fetchone()
    assert row == (True, False)
    state = slot.inspect(admin, name)
    assert state is not None
    assert (state.plugin, state.database, state.confirmed_flush) == ("pgoutput", admin.info.dbname, cutoff.lsn)
    assert (state.active_pid, state.invalidation) == (None, None)


def test_a_slot_whose_snapshot_could_not_be_read_is_dropped_again(
    admin: psycopg.Connection[tuple[Any, ...]], database: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_dsn: str, _exported: str) -> str:
        raise ConnectionError("as the test wished")

    monkeypatch.setattr(slot, "_read_snapshot", fail)
    with pytest.raises(ConnectionError):
        slot.create(database, name)
    assert slot.inspect(admin, name) is None


def test_dropping_says_whether_there_was_one(
    admin: psycopg.Connection[tuple[Any, ...]], database: str, name: str
) -> None:
    slot.create(database, name)
    assert slot.drop(admin, name)
    assert not slot.drop(admin, name)


def test_the_incarnation_is_the_servers_own(admin: psycopg.Connection[tuple[Any, ...]], database: str) -> None:
    row = admin.execute("SELECT system_identifier::text, timeline_id FROM pg_control_system(), pg_control_checkpoint()")
    assert slot.incarnation(database) == row.fetchone()


def test_a_sound_slot_passes() -> None:
    assert slot.check("s", STATE, Lsn(100)) is STATE
    assert slot.check("s", STATE, Lsn(200)) is STATE


@pytest.mark.parametrize(
    ("state", "recorded", "cause"),
    [
        (None, 100, Cause.SLOT_GONE),
        (STATE._replace(wal_status="lost"), 100, Cause.SLOT_INVALIDATED),
        (STATE._replace(invalidation="idle_timeout"), 100, Cause.SLOT_INVALIDATED),
        (STATE._replace(plugin="wal2json"), 100, Cause.OTHER_INCARNATION),
        (STATE, 99, Cause.SLOT_AHEAD),
    ],
)
def test_a_slot_that_cannot_go_on_halts(state: slot.SlotState | None, recorded: int, cause: Cause) -> None:
    with pytest.raises(Halt) as caught:
        slot.check("s", state, Lsn(recorded))
    assert caught.value.cause is cause


def test_a_slot_that_the_server_gave_up_is_seen_as_invalidated() -> None:
    """Its own server, since the limit on WAL is the whole cluster's."""
    server = PostgresServer.start(new_directory("wb-lost-") / "pg", settings={**QUICK, "max_slot_wal_keep_size": "1MB"})
    try:
        slot.create(server.dsn(), "lost")
        with connect(server.dsn(), autocommit=True) as connection:
            for _ in range(3):
                connection.execute("SELECT pg_switch_wal(), pg_logical_emit_message(true, 'x', repeat('x', 20000000))")
                connection.execute("CHECKPOINT")
            with pytest.raises(Halt) as caught:
                slot.check("lost", slot.inspect(connection, "lost"), Lsn(1 << 60))
        assert caught.value.cause is Cause.SLOT_INVALIDATED
    finally:
        server.stop("immediate")


@pytest.mark.parametrize("found", [slot.Incarnation("1", 2), slot.Incarnation("2", 1)])
def test_another_incarnation_halts(found: slot.Incarnation) -> None:
    slot.check_incarnation(slot.Incarnation("1", 1), slot.Incarnation("1", 1))
    with pytest.raises(Halt) as caught:
        slot.check_incarnation(slot.Incarnation("1", 1), found)
    assert caught.value.cause is Cause.OTHER_INCARNATION
