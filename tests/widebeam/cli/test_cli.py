"""The command from outside: help, exit codes, one clear line for each error, nothing secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from tests.readings import FILE
from widebeam.cli import app
from widebeam.cli.outcome import explained


def widebeam(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "widebeam", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **environment},
    )


@pytest.fixture
def plant(tmp_path: Path, database: str) -> Path:
    file = tmp_path / "plant.toml"
    file.write_text(FILE.format(dsn=database))
    return file


def taken(command: Any) -> Iterator[str]:
    """All options and arguments of a command and its verbs."""
    yield from (name for param in command.params for name in [param.name, *param.opts])
    for verb in getattr(command, "commands", {}).values():
        yield from taken(verb)


def test_no_verb_takes_a_secret_which_anybody_could_read_in_the_list_of_processes():
    names = set(taken(get_command(app)))
    assert {"connector", "--debug", "--yes"} <= names
    assert not [name for name in names if any(word in name for word in ("pass", "secret", "token", "key"))]


@pytest.mark.parametrize("how", ["-h", "--help"])
def test_help_names_every_verb(how):
    done = widebeam(how)
    assert done.returncode == 0
    for verb in ("run", "capture", "sink", "backfill", "check", "status", "verify", "replay", "roles", "drop", "demo"):
        assert verb in done.stdout
    assert "stream " not in done.stdout.replace("live stream", "")


@pytest.mark.parametrize("verb", ["run", "capture", "sink", "backfill", "check", "status", "verify", "drop"])
def test_each_verb_has_help_with_an_example(verb):
    done = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, [verb, "-h"])
    assert done.exit_code == 0
    assert f"widebeam {verb} ships" in done.stdout


def test_the_version_is_told():
    assert widebeam("--version").stdout.startswith("widebeam 0.")


def test_wrong_usage_is_2():
    assert widebeam("rnu").returncode == 2
    assert widebeam("run").returncode == 2
    assert widebeam("run", "x", "--nope").returncode == 2


def test_a_mistake_in_the_configuration_is_2_and_one_clear_message(plant):
    plant.write_text(plant.read_text() + "layuot = 3\n")
    done = widebeam("run", plant)
    assert done.returncode == 2
    assert "did you mean `layout`?" in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(plant):
    plant.write_text("[source")
    assert "Traceback" in widebeam("--debug", "run", plant).stderr


@pytest.mark.parametrize("verb", ["run", "capture", "sink", "backfill", "check"])
def test_a_database_that_is_not_prepared_is_told_everything_that_is_missing_at_once(verb, plant, database):
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("CREATE SCHEMA tenant")
        session.execute("CREATE UNLOGGED TABLE tenant.readings (ship text, channel text, at timestamp)")
    done = widebeam(verb, plant)
    assert done.returncode == 1
    for expected in (
        'ALTER TABLE "tenant"."readings" SET LOGGED;',
        "has no column f",
        'CREATE UNIQUE INDEX CONCURRENTLY ON "tenant"."readings" ("ship", "at", "channel");',
        'ALTER TABLE "tenant"."readings" REPLICA IDENTITY FULL;',
    ):
        assert expected in done.stderr
    with psycopg.connect(database) as session:
        assert session.execute("SELECT to_regnamespace('widebeam')").fetchone() == (None,)


def test_check_has_json(plant):
    done = widebeam("check", plant, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)[0]["what"] == "the table tenant.readings does not exist"


def test_check_of_a_good_set_up_is_0(plant, database):
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("CREATE SCHEMA tenant")
        session.execute(
            "CREATE TABLE tenant.readings (ship text, channel text, at timestamp, f float8, "
            "PRIMARY KEY (ship, channel, at))"
        )
    assert widebeam("check", plant).returncode == 0


def test_status_of_a_connector_that_is_not_set_up_is_1_and_says_what_to_do(plant):
    done = widebeam("status", plant)
    assert done.returncode == 1
    assert "widebeam run plant" in done.stdout
    assert json.loads(widebeam("status", plant, "--json").stdout)["state"] == "absent"


def test_drop_of_nothing_is_well_and_drop_asks(plant):
    done = widebeam("drop", plant, "--yes")
    assert (done.returncode, "nothing to drop" in done.stdout) == (0, True)
    assert widebeam("drop", plant).returncode == 1


def test_a_server_that_is_not_there_is_one_line_and_1(plant):
    nowhere = {"WIDEBEAM_TARGET__DSN": "postgresql://u:hunter2@127.0.0.1:1/x"}
    done = widebeam("drop", plant, "--yes", **nowhere)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "hunter2" not in done.stdout + done.stderr


def test_an_unexpected_error_says_so_without_secrets():
    message, code = explained(ZeroDivisionError("at postgresql://u:hunter2@h/d password=hunter2"))
    assert code == 1
    assert "unexpected" in message
    assert "hunter2" not in message
