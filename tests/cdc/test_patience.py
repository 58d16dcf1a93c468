"""Locks that set-up, drop, resume and replay need are waited for within a bound, and who holds them is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from cdc import patience
from cdc.halt import Cause, Halt
from cdc.patience import LockHeld
from cdc.source import slot
from sink.fold.progress import Progress
from sink.state.claim import Claim
from tests.readings import FILE, NARROW
from widebeam.cli.outcome import explained
from widebeam.cli.parts.halted import record_halt
from widebeam.config.config import load
from widebeam.config.connector import Connector
from widebeam.gap.cross import cross
from widebeam.replay.plan import Step
from widebeam.replay.point import Offsets
from widebeam.replay.replay import Plan, rewind
from widebeam.setup import prepare as preparing
from widebeam.setup.drop import drop
from widebeam.state import halts, lock

FILLED = f"""{NARROW}INSERT INTO tenant.readings VALUES ('s', 'c', '2024-01-01', 1);
"""


@pytest.fixture
def connector(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connector:
    """A connector of which nothing is set up; locks are waited for only a moment."""
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(FILLED)
    monkeypatch.setitem(patience.bounded.__wrapped__.__kwdefaults__, "seconds", 0.3)
    monkeypatch.setitem(slot.create.__kwdefaults__, "patience", 0.3)
    monkeypatch.setattr(lock, "_WAIT", 0.3)
    file = tmp_path / f"patience_{uuid4().hex[:8]}.toml"
    file.write_text(FILE.format(dsn=database))
    return load(str(file), {})


@pytest.fixture
def other(database: str) -> Iterator[psycopg.Connection]:
    """Somebody else, who holds what he has locked until he commits."""
    with psycopg.connect(database, application_name="somebody else") as session:
        yield session


def in_vain(other: psycopg.Connection, lock: str, work: Callable[[], object]) -> None:
    """While `lock` is held, the work is given up with the name of who holds it; afterwards it is done."""
    other.execute(lock.encode())
    with pytest.raises(LockHeld, match=f"PID {other.info.backend_pid} .*somebody else") as held:
        work()
    message, code = explained(held.value)
    assert code == 1
    assert "pg_terminate_backend" in message
    other.rollback()
    work()


def test_setting_up_does_not_wait_for_ever(connector: Connector, other: psycopg.Connection) -> None:
    prepare = partial(preparing.prepare, connector)
    in_vain(other, "LOCK TABLE tenant.readings IN SHARE MODE", prepare)  # CREATE PUBLICATION
    drop(connector)
    in_vain(other, "LOCK TABLE tenant.readings IN ACCESS EXCLUSIVE MODE", prepare)  # the look at its keys
    drop(connector)
    other.execute("CREATE TABLE tenant.written (x int)")
    other.commit()
    in_vain(other, "INSERT INTO tenant.written VALUES (1)", prepare)  # the slot
    name = connector.name
    start = partial(preparing.start_anew, connector.options.target.conninfo(), name)
    in_vain(other, "LOCK TABLE widebeam.connectors IN SHARE MODE", start)


def test_dropping_resuming_and_replaying_do_not_wait_for_ever(connector: Connector, other: psycopg.Connection) -> None:
    preparing.prepare(connector)
    in_vain(other, "SELECT FROM widebeam.progress FOR UPDATE", partial(cross, connector))
    step = Step(Progress(0, 2), 0, 0, None, None)
    in_vain(
        other, "SELECT FROM widebeam.progress FOR UPDATE", partial(rewind, connector, Plan(Offsets({0: 0}), [step]))
    )
    in_vain(other, "SELECT FROM wide.s", partial(drop, connector))
    preparing.prepare(connector)
    in_vain(other, "SELECT FROM widebeam.audit", partial(drop, connector))  # the control schema


def test_a_part_that_halts_ends_though_somebody_holds_the_connectors_row(
    connector: Connector, other: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    preparing.prepare(connector)
    monkeypatch.setattr(halts, "_WAIT", "300ms")
    other.execute("SELECT FROM widebeam.connectors FOR UPDATE")
    record_halt(connector, Halt(Cause.SLOT_GONE, "it is gone", "bring it back"))
    assert "could not be written down" in caplog.text


def test_a_session_has_its_own_limit_again(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("SET lock_timeout = '7s'")
        with patience.bounded("this", session):
            assert session.execute("SHOW lock_timeout").fetchone() == ("30s",)
        assert session.execute("SHOW lock_timeout").fetchone() == ("7s",)


def test_whoever_is_alone_with_the_set_up_is_named(connector: Connector, other: psycopg.Connection) -> None:
    preparing.prepare(connector)
    assert Claim(connector.name, "prepare").take(other)
    other.commit()
    with pytest.raises(lock.Busy, match=f"PID {other.info.backend_pid} .*somebody else"):
        preparing.prepare(connector)


def test_who_may_only_connect_does_not_hold_a_set_up_up(connector: Connector, other: psycopg.Connection) -> None:
    """By the keys that earlier versions locked."""
    for key in ("widebeam.control", f"widebeam.prepare {connector.name}"):
        other.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [key])
    preparing.prepare(connector)
