"""Least privilege: the whole pipeline runs under the roles of roles.sql, and none of them may do anything else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cdc.source.identity import GENERATED
from tests.pipeline import Pipeline, pipeline_over
from tests.waiting import PATIENCE
from widebeam.config.config import load
from widebeam.lab.postgres import PostgresServer
from widebeam.setup.roles import BadPrefix, script

SOURCE_MAY = {
    "read the narrow table": "SELECT count(*) FROM tenant.tbl_data_timeseries",
    "emit a barrier": "SELECT pg_logical_emit_message(true, 'widebeam', 'test')",
}
SOURCE_MAY_NOT = {
    "insert": "INSERT INTO tenant.tbl_data_timeseries SELECT * FROM tenant.tbl_data_timeseries LIMIT 1",
    "update": "UPDATE tenant.tbl_data_timeseries SET double_v = 0",
    "delete": "DELETE FROM tenant.tbl_data_timeseries",
    "truncate": "TRUNCATE tenant.tbl_data_timeseries",
    "alter": "ALTER TABLE tenant.tbl_data_timeseries REPLICA IDENTITY FULL",
    "drop the table": "DROP TABLE tenant.tbl_data_timeseries",
    "drop the publication": "DROP PUBLICATION {publication}",
    "alter the publication": "ALTER PUBLICATION {publication} SET (publish = 'insert')",
    "publish something": "CREATE PUBLICATION mine",
    "read another table": "SELECT * FROM tenant.secrets",
    "make a table there": "CREATE TABLE tenant.mine ()",
    "make a schema": "CREATE SCHEMA mine",
    "make a role": "CREATE ROLE nobody_s",
    "read a file of the server": "SELECT pg_read_file('PG_VERSION')",
    "run a program": "COPY (SELECT 1) TO PROGRAM 'true'",
    "change the server": "SELECT pg_reload_conf()",
    "read the wide tables": "SELECT * FROM wide.{view}",
    "read our state": "SELECT * FROM widebeam.connectors",
}
TARGET_MAY_NOT = {
    "read the narrow table": "SELECT * FROM tenant.tbl_data_timeseries",
    "write the narrow table": "DELETE FROM tenant.tbl_data_timeseries",
    "replicate": "SELECT pg_drop_replication_slot('{publication}')",
    "make a schema": "CREATE SCHEMA mine",
    "make a table elsewhere": "CREATE TABLE public.mine ()",
    "make a role": "CREATE ROLE nobody_s",
    "run a program": "COPY (SELECT 1) TO PROGRAM 'true'",
    "write as the reader": "SET ROLE {prefix}_reader",
}
READER_MAY = {"read a view": "SELECT count(*) FROM wide.{view}"}
READER_MAY_NOT = {
    "read a part table": "SELECT * FROM wide.{part}",
    "insert through a view": "INSERT INTO wide.{view} (created_time) VALUES (now())",
    "update": "UPDATE wide.{view} SET created_time = now()",
    "delete": "DELETE FROM wide.{view}",
    "delete from a part table": "DELETE FROM wide.{part}",
    "truncate": "TRUNCATE wide.{part}",
    "drop": "DROP VIEW wide.{view}",
    "make a table there": "CREATE TABLE wide.mine ()",
    "read the settings": "SELECT settings FROM widebeam.connectors",
    "read the quarantine": "SELECT * FROM widebeam.quarantine",
    "read the audit": "SELECT * FROM widebeam.audit",
    "rewind": "UPDATE widebeam.progress SET next_offset = 0",
    "read the narrow table": "SELECT * FROM tenant.tbl_data_timeseries",
}
OPERATOR_MAY = {
    "look at the state": "SELECT count(*) FROM widebeam.progress",
    "look at the wide tables": "SELECT count(*) FROM wide.{part}",
    "look at the narrow table": "SELECT count(*) FROM tenant.tbl_data_timeseries",
}
OPERATOR_MAY_NOT = {
    "rewind": "UPDATE widebeam.progress SET next_offset = 0",
    "write the audit": "INSERT INTO widebeam.audit (connector, action) VALUES ('a', 'b')",
    "clean the audit": "DELETE FROM widebeam.audit",
    "write a wide table": "DELETE FROM wide.{part}",
    "write the narrow table": "DELETE FROM tenant.tbl_data_timeseries",
    "drop the slot": "SELECT pg_drop_replication_slot('{publication}')",
    "make a table": "CREATE TABLE widebeam.mine ()",
    "make a schema": "CREATE SCHEMA mine",
}
ROLES = {
    "source": (SOURCE_MAY, SOURCE_MAY_NOT),
    "target": ({}, TARGET_MAY_NOT),
    "reader": (READER_MAY, READER_MAY_NOT),
    "operator": (OPERATOR_MAY, OPERATOR_MAY_NOT),
}


@pytest.fixture
def prefix(postgres: PostgresServer) -> Iterator[str]:
    """What the roles' names begin with; the roles go after the database has gone."""
    name = f"t{uuid4().hex[:10]}"
    yield name
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        for role in ROLES:
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(f"{name}_{role}")))


@pytest.fixture
def restricted(prefix: str, database: str, tmp_path: Path) -> Pipeline:
    """A connector whose source and target are reached as their roles."""
    pipeline = pipeline_over(database, tmp_path, kafka=None, topic="")
    place(pipeline, pipeline.file, f"{prefix}_source", f"{prefix}_target", f'readers = ["{prefix}_reader"]')
    connector = load(str(pipeline.file), {})
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("CREATE TABLE tenant.secrets (password text)")
        for _ in range(2):  # twice is well
            admin.execute(script(connector, "source", prefix).encode())
            admin.execute(script(connector, "target", prefix).encode())
    return pipeline


def place(pipeline: Pipeline, file: Path, source: str, target: str, more: str = "") -> None:
    """Write the connector's file with these users."""
    source_part, target_part = pipeline.file.read_text().split("[target]")
    dsns = [make_conninfo(pipeline.dsn, user=user) for user in (source, target)]
    old = next(line for line in source_part.splitlines() if line.startswith("dsn = "))
    rest = "\n".join(line for line in target_part.splitlines() if not line.startswith(("dsn = ", "readers = ")))
    file.write_text(f'{source_part.replace(old, f"dsn = {json.dumps(dsns[0])}")}[target]\ndsn = {json.dumps(dsns[1])}\n'
                    f"{more}\n{rest}\n")  # fmt: skip


def test_the_pipeline_runs_under_its_roles_and_every_forbidden_action_fails(
    prefix: str, restricted: Pipeline, tmp_path: Path
) -> None:
    with restricted.writing():
        restricted.converge()
    restricted.converge()
    restricted.prove()
    operator = tmp_path / "operator" / restricted.file.name
    operator.parent.mkdir()
    place(restricted, operator, f"{prefix}_operator", f"{prefix}_operator")
    for verb, code, shown in (("status", 1, '"state":"stopped"'), ("verify", 0, '"differences":0')):  # nobody runs it
        done = widebeam(verb, str(operator), "--json")
        assert done.returncode == code and shown in done.stdout, done.stdout + done.stderr
    wrong = [
        *failing(restricted, prefix),
        *(said for said in [widebeam("drop", str(operator), "--yes")] if said.returncode != 1),
    ]
    assert not wrong
    with psycopg.connect(restricted.dsn, autocommit=True) as admin:
        admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA wide TO {prefix}_reader")
    assert failing(restricted, prefix) == ["reader: read a part table"], "the table of actions sees a right too many"
    restricted.prove()
    with restricted.start("drop", "--yes") as drop:
        assert drop.wait(PATIENCE) == 0, restricted.said()
    assert restricted.one("SELECT to_regnamespace('wide') IS NOT NULL"), "somebody else made it"
    assert restricted.one("SELECT count(*) FROM widebeam.connectors") == 0


def failing(pipeline: Pipeline, prefix: str) -> list[str]:
    """What roles may not do and can, or may do and cannot."""
    view, part = (
        pipeline.one(f"SELECT {column} FROM widebeam.tables ORDER BY table_name LIMIT 1")
        for column in ("view_name", "table_name")
    )
    names = {"view": f'"{view}"', "part": f'"{part}"', "prefix": prefix}
    names["publication"] = pipeline.one("SELECT publication FROM widebeam.connectors")
    wrong = []
    for role, (allowed, forbidden) in ROLES.items():
        for expected, actions in ((True, allowed), (False, forbidden)):
            for name, action in actions.items():
                went = attempt(make_conninfo(pipeline.dsn, user=f"{prefix}_{role}"), action.format(**names))
                if went != expected:
                    wrong.append(f"{role}: {name}")
    return wrong


def attempt(dsn: str, action: str) -> bool:
    """Whether it is permitted; undone in any case. Another error than a lack of rights fails the test."""
    with psycopg.connect(dsn) as session:
        try:
            session.execute(action.encode())
        except psycopg.errors.InsufficientPrivilege:
            return False
        finally:
            session.rollback()
    return True


def widebeam(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "widebeam", *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def test_check_names_a_right_that_was_taken_away(restricted: Pipeline, prefix: str) -> None:
    with psycopg.connect(restricted.dsn, autocommit=True) as admin:
        admin.execute(f"REVOKE SELECT ON tenant.tbl_data_timeseries FROM {prefix}_source")
    done = widebeam("check", str(restricted.file))
    assert done.returncode == 1
    assert f'GRANT SELECT ON TABLE "tenant"."tbl_data_timeseries" TO "{prefix}_source"' in done.stderr


def test_no_publication_is_made_that_would_break_the_application(
    prefix: str, restricted: Pipeline, database: str
) -> None:
    connector = load(str(restricted.file), {})
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(f"DROP PUBLICATION {connector.publication}")
        admin.execute("ALTER TABLE tenant.tbl_data_timeseries REPLICA IDENTITY NOTHING")
        admin.execute(script(connector, "source", prefix).encode())
        assert admin.execute("SELECT count(*) FROM pg_publication").fetchone() == (0,)
        if admin.info.server_version >= GENERATED:
            admin.execute("ALTER TABLE tenant.tbl_data_timeseries REPLICA IDENTITY FULL")
            admin.execute("ALTER TABLE tenant.tbl_data_timeseries ADD twice int GENERATED ALWAYS AS (2) STORED")
            admin.execute(script(connector, "source", prefix).encode())
            assert admin.execute("SELECT count(*) FROM pg_publication").fetchone() == (0,)


@pytest.mark.parametrize("bad", ['a"; DROP TABLE x; --', "$$", "A", "", "a" * 42])
def test_a_prefix_that_is_no_plain_word_is_refused(bad: str, tmp_path: Path) -> None:
    ships = load(str(Path(__file__).parents[3] / "connectors" / "ships.toml"), {})
    with pytest.raises(BadPrefix):
        script(ships, "source", bad)
    done = widebeam("roles", "connectors/ships.toml", "--prefix", bad)
    assert done.returncode == 2


def test_the_script_names_the_tables_of_every_kind_of_connector() -> None:
    folder = Path(__file__).parents[3] / "connectors"
    for file in folder.glob("*.toml"):
        connector = load(str(file), {})
        both = script(connector, "source") + script(connector, "target")
        assert "{" not in both
        assert all("GRANT SELECT ON TABLE" in both or "%" in each for each in connector.patterns)
