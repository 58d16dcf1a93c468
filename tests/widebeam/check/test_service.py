"""Where nobody is a superuser, check says what can be done there; and where only a restart is missing, just that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from cdc.source import slot_waits
from tests.widebeam.check.test_check import NARROW, Make, make, run
from widebeam.advice.advice import _fitting, advice
from widebeam.check.check import findings
from widebeam.check.service import SERVICES, replication, setting
from widebeam.config.config import load
from widebeam.config.connector import Connector
from widebeam.plan import time_index

__all__ = ["make"]  # a fixture

Session = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def session(database: str) -> Iterator[Session]:
    with psycopg.connect(database, autocommit=True) as session:
        yield session


@pytest.fixture
def managed(session: Session, request: pytest.FixtureRequest) -> Iterator[Session]:
    """A server with the roles of a managed service, as it has them."""
    for name in request.param:
        session.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
    yield session
    for name in request.param:
        session.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


@pytest.mark.parametrize(
    "managed", [[each.administrators] for each in SERVICES], indirect=True, ids=lambda each: each[0]
)
def test_no_remedy_at_a_managed_service_asks_for_a_superuser(managed: Session) -> None:
    for name, value in (("wal_level", "logical_"), ("max_replication_slots", "20")):
        assert "ALTER SYSTEM" not in setting(managed, name, value)


@pytest.mark.parametrize("managed", [["rds_superuser", "rds_replication"]], indirect=True)
def test_an_administrator_of_rds_gives_the_right_to_replicate_by_the_statement_that_is_said(
    managed: Session, database: str, make: Make
) -> None:
    run(database, NARROW)
    role, admin = (f"{kind}_{uuid4().hex[:8]}" for kind in ("role", "admin"))
    managed.execute(
        sql.SQL(
            "CREATE ROLE {0} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA tenant TO {0};"
            "GRANT USAGE ON SCHEMA tenant TO {0};"
            "CREATE ROLE {1} CREATEROLE; GRANT rds_superuser TO {1}; GRANT rds_replication TO {1} WITH ADMIN OPTION"
        ).format(sql.Identifier(role), sql.Identifier(admin))
    )
    try:
        said = replication(managed, f'"{role}"')
        assert said == f'GRANT rds_replication TO "{role}";'
        managed.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(admin)))
        managed.execute(said.encode())
        managed.execute("RESET ROLE")
        found = findings(make(psycopg.conninfo.make_conninfo(database, user=role)))
        assert not [each for each in found if "may not replicate" in each.what]
    finally:
        managed.execute("RESET ROLE")
        managed.execute(
            sql.SQL("DROP OWNED BY {0}, {1}; DROP ROLE {0}, {1}").format(*map(sql.Identifier, (role, admin)))
        )


def test_what_only_waits_for_a_restart_says_no_more_than_that(session: Session) -> None:
    now = session.execute("SHOW max_wal_senders").fetchone()
    assert now is not None
    assert setting(session, "max_wal_senders", "77").startswith("ALTER SYSTEM SET max_wal_senders = '77'; and restart")
    try:
        session.execute("ALTER SYSTEM SET max_wal_senders = '77'")
        assert setting(session, "max_wal_senders", "77").startswith("restart the server: max_wal_senders = 77 is set")
    finally:
        session.execute("ALTER SYSTEM RESET max_wal_senders")


def advised(connector: Connector) -> str:
    return "\n".join(map(str, advice(connector)))


def test_a_large_table_without_an_index_by_time_is_advised_one_and_none_once_it_is_there(
    session: Session, database: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_index, "MANY", 10)
    run(database, NARROW)
    session.execute(
        "INSERT INTO tenant.readings (ship, channel, at, kind, f) SELECT 's', 'c' || n, '2026-01-01', 'D', n"
        " FROM generate_series(1, 20) n; ANALYZE tenant.readings"
    )
    (finding,) = [each for each in advice(make()) if "index" in each.what]
    assert "each chunk of the backfill" in finding.what
    session.execute(finding.remedy.encode())
    assert "no index" not in advised(make())


def test_a_slot_without_a_bound_is_told_and_stands_in_nobodys_way(database: str, make: Make) -> None:
    run(database, NARROW)
    assert "max_slot_wal_keep_size is -1" in advised(make())
    assert findings(make()) == []


def test_a_standby_that_the_stream_will_wait_for_is_told_before_the_first_run(
    database: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(database, NARROW)
    monkeypatch.setattr(slot_waits, "absent", lambda *_: ["the stream will wait for sb1. Start it; or drop its slot"])
    assert "will wait for sb1" in (said := advised(make()))
    assert "Start it; or drop its slot" in said
    unawaited = load(str(make().file), {"WIDEBEAM_SOURCE__FAILOVER": "false"})
    assert "will wait" not in advised(unawaited)


def test_names_that_others_have_are_told_as_plan_tells_them(session: Session, database: str, make: Make) -> None:
    run(database, NARROW)
    assert "another name" not in advised(make())
    session.execute("CREATE SCHEMA wide; CREATE TABLE wide.s (id int PRIMARY KEY); CREATE VIEW wide.v AS SELECT 1 AS a")
    said = advised(make())
    assert "the schema wide has s (of no connector), v (of no connector): the wide table of an entity" in said
    assert "s_pkey" not in said


@pytest.mark.parametrize(
    ("template", "fit"), [("{entity}", ["s", "A_b"]), ("a_{entity}", ["A_b"]), ("s", ["s"]), ("s.", []), ("x", [])]
)
def test_a_name_is_taken_if_the_template_can_give_it(template: str, fit: list[str]) -> None:
    assert _fitting(template, ["s", "A_b"]) == fit


def test_no_advice_where_nobody_answers(make: Make) -> None:
    nowhere = "host=127.0.0.1 port=1 dbname=x"
    assert advice(make(nowhere, nowhere)) == []
