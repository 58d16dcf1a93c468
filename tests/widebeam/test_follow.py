"""When a failover is followed and when it is not, on one server that is said to have failed over."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from cdc.halt import Cause, Halt
from cdc.lsn import Lsn
from cdc.source import slot
from cdc.source.session import connect
from tests.readings import FILE, NARROW
from widebeam.config.config import load
from widebeam.config.connector import Connector
from widebeam.setup.failover import follow
from widebeam.setup.prepare import prepare

SWITCH = Lsn(1 << 60)
"""Beyond all that this server has written."""
CONVERGED = """
UPDATE widebeam.chunks SET state = 'merged', merged_at = now() - interval '1 h';
UPDATE widebeam.connectors SET converged_at = now()
"""


@pytest.fixture
def connector(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connector:
    """One that is set up and has converged, and whose source is on the next timeline since."""
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(NARROW)
    file = tmp_path / f"follow_{uuid4().hex[:8]}.toml"
    file.write_text(FILE.format(dsn=database))
    made = load(str(file), {})
    prepare(made)
    before = slot.incarnation(database)
    monkeypatch.setattr(slot, "incarnation", lambda _: before._replace(timeline=before.timeline + 1))
    monkeypatch.setattr(slot, "switch_point", lambda *_: SWITCH)
    return made


def timeline(target: psycopg.Connection) -> tuple[int, str | None]:
    found = target.execute("SELECT timeline, acknowledged::text FROM widebeam.connectors").fetchone()
    assert found is not None
    return found


def test_a_failover_is_followed_and_what_was_acknowledged_beyond_the_switch_point_is_cut(
    connector: Connector, database: str
) -> None:
    with connect(database, autocommit=True) as target:
        target.execute(CONVERGED)
        target.execute("UPDATE widebeam.connectors SET acknowledged = 'FFFFFFFF/0'")
        before, _ = timeline(target)
        follow(connector, target)
        assert timeline(target) == (before + 1, str(SWITCH))


AMISS = [
    (f"UPDATE widebeam.progress SET high = '{SWITCH}' WHERE partition = 1", "which the new one has not"),
    ("UPDATE widebeam.connectors SET converged_at = NULL", "was still being filled in"),
    ("UPDATE widebeam.chunks SET state = 'planned'", "was still being filled in"),
    ("UPDATE widebeam.chunks SET merged_at = now() + interval '1 h'", "was still being filled in"),
    ("SELECT pg_drop_replication_slot(slot) FROM widebeam.connectors", "did not come along"),  # for good
]


def test_a_failover_that_may_have_lost_what_was_taken_halts_and_nothing_is_adopted(
    connector: Connector, database: str
) -> None:
    with connect(database, autocommit=True) as target:
        target.execute(CONVERGED)
        for amiss, said in AMISS:
            with target.transaction(force_rollback=True):
                target.execute(amiss.encode())
                before = timeline(target)
                with pytest.raises(Halt, match=said) as halted:
                    follow(connector, target)
                assert halted.value.cause is Cause.OTHER_INCARNATION
                assert timeline(target) == before


def test_another_history_is_never_followed(
    connector: Connector, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot, "switch_point", lambda *_: None)
    with connect(database, autocommit=True) as target:
        target.execute(CONVERGED)
        before = timeline(target)
        with pytest.raises(Halt, match="positions are of system"):
            follow(connector, target)
        assert timeline(target) == before
