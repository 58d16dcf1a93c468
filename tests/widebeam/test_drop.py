"""Dropping a connector: everything of it goes, in an order in which nothing half-gone can go on working."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from cdc.lsn import Lsn
from cdc.session import connect
from cdc.stream import Stream
from sink.registry import Registry
from sink.wide import Need
from widebeam import drop as module
from widebeam.config import ConfigError, Connector, load
from widebeam.drop import StillRunning, drop
from widebeam.prepare import prepare

FILE = """
[source]
dsn = "{dsn}"
table = "tenant.readings"
entity = ["ship"]
time = "at"
key = "channel"
[source.value]
columns = ["f"]
[target]
dsn = "{dsn}"
"""

NARROW = """
CREATE SCHEMA tenant;
CREATE TABLE tenant.readings (ship text, channel text, at timestamp, f float8, PRIMARY KEY (ship, channel, at));
INSERT INTO tenant.readings SELECT 's', 'c', '2024-01-01'::timestamp + n * interval '1 h', n
FROM generate_series(1, 9) n
"""


@pytest.fixture
def session(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as session:
        yield session


@pytest.fixture
def plant(session: psycopg.Connection, database: str, tmp_path: Path) -> Connector:
    """A connector that is set up, with two wide tables."""
    session.execute(NARROW)
    file = tmp_path / f"drop_{uuid4().hex[:8]}.toml"
    file.write_text(FILE.format(dsn=database))
    connector = load(str(file), {})
    with connect(database, autocommit=True) as target:
        Registry(prepare(connector).mapping).ensure(
            target, [Need(("s",), "c", "f", "double precision"), Need(("t",), "c", "f", "double precision")]
        )
    return connector


def left(session: psycopg.Connection, connector: Connector) -> dict[str, int]:
    """How much there is of a connector."""
    counts = {
        "tables": "SELECT count(*) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'wide'",
        "schema": "SELECT count(*) FROM pg_namespace WHERE nspname = 'wide'",
        "slot": sql.SQL("SELECT count(*) FROM pg_replication_slots WHERE slot_name = {}").format(connector.slot),
        "publication": "SELECT count(*) FROM pg_publication",
        "connector": "SELECT count(*) FROM widebeam.connectors",
        "columns": "SELECT count(*) FROM widebeam.columns",
        "chunks": "SELECT count(*) FROM widebeam.chunks",
        "progress": "SELECT count(*) FROM widebeam.progress",
    }
    found = {name: session.execute(query).fetchone()[0] for name, query in counts.items()}
    return {name: count for name, count in found.items() if count}


def test_everything_goes_but_the_narrow_table_and_the_audit_log(plant, session):
    assert len(left(session, plant)) == 8
    assert drop(plant) == (2, True, True, False)
    assert left(session, plant) == {}
    assert session.execute("SELECT count(*) FROM tenant.readings").fetchone() == (9,)
    audit = session.execute("SELECT action, detail, by_role FROM widebeam.audit ORDER BY id").fetchall()
    assert [action for action, _, _ in audit] == ["drop begins", "drop"]
    assert audit[1][1:] == ({"tables": 2, "slot": True, "publication": True, "topic": False}, "postgres")


def test_twice_is_well(plant):
    assert drop(plant) is not None
    assert drop(plant) is None


@pytest.mark.parametrize("step", ["_wide_tables", "_publication", "_topic", "_wide_schema", "_forget"])
def test_interrupted_anywhere_nothing_goes_on_and_drop_does(step, plant, session, monkeypatch):
    class Crash(BaseException):
        pass

    def crash(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(module, step, crash)
        with pytest.raises(Crash):
            drop(plant)
    assert "progress" not in left(session, plant)
    with pytest.raises(ConfigError, match="half dropped"):
        prepare(plant)
    drop(plant)
    assert left(session, plant) == {}
    prepare(plant)


def test_a_running_connector_is_not_dropped(plant, session, database):
    stream = Stream.start(database, plant.slot, plant.publication, Lsn(0))
    try:
        with pytest.raises(StillRunning, match="stop `widebeam run`"):
            drop(plant)
    finally:
        stream.close()
    assert len(left(session, plant)) == 8


def test_what_others_made_in_the_schema_stays(plant, session):
    session.execute("CREATE TABLE wide.mine (a int)")
    drop(plant)
    assert left(session, plant) == {"tables": 1, "schema": 1}


def test_a_publication_that_was_there_before_stays(session, database, tmp_path):
    session.execute(NARROW)
    file = tmp_path / f"drop_{uuid4().hex[:8]}.toml"
    file.write_text(FILE.format(dsn=database))
    connector = load(str(file), {})
    session.execute(f"CREATE PUBLICATION {connector.publication} FOR TABLE tenant.readings")
    prepare(connector)
    drop(connector)
    assert left(session, connector) == {"publication": 1}
