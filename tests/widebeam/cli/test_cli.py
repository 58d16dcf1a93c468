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
from psycopg.pq import PGconn
from typer.main import get_command
from typer.testing import CliRunner

from tests.readings import FILE
from widebeam.cli import app
from widebeam.cli.outcome import explained
from widebeam.config.config import load


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


HEAVY = {"psycopg", "pydantic", "confluent_kafka", "importlib.metadata", "cdc", "sink", "snapshot", "widebeam.config"}


def test_a_verb_loads_nothing_that_only_others_need():
    program = "import sys, widebeam.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())
    program = program.replace("widebeam.cli;", "widebeam.cli.parts.part, widebeam.run.parts;")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"widebeam.check.check", "widebeam.setup.prepare", "widebeam.cli.outcome"} & set(done.stdout.split())


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


def test_drop_of_nothing_is_well_and_asks_nothing(plant):
    for more in ([], ["--yes"]):
        done = widebeam("drop", plant, *more)
        assert (done.returncode, "nothing to drop" in done.stdout) == (0, True)


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


def test_each_example_stands_whole_on_a_line_of_a_narrow_terminal() -> None:
    verbs = get_command(app).commands  # type: ignore[attr-defined]
    shown = 0
    for verb, command in verbs.items():
        beneath = getattr(command, "commands", {})
        for words, each in [(verb, command), *((f"{verb} {name}", one) for name, one in beneath.items())]:
            lines = [line.strip() for line in (each.help or "").splitlines() if "Example:" in line]
            if not lines:
                continue
            shown += 1
            assert lines[0].startswith(f"Example: widebeam {words}") and len(lines[0]) < 80, words
            before = (each.help or "").split("Example:")[0]
            assert before.endswith("\n\n"), f"{words}: an example is a paragraph, or it is folded into the text"
    assert shown > 12


def test_init_writes_its_file_at_the_end_or_not_at_all(database: str, tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    nothing = widebeam("init", database, "--output", file)
    assert nothing.returncode == 1 and not file.exists(), "there is nothing narrow yet"
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(
            "CREATE TABLE m (e text, k text, t timestamptz, v float8, PRIMARY KEY (e, k, t));"
            "INSERT INTO m SELECT 'e' || n % 3, 'k' || n % 5, '2026-01-01'::timestamptz + n * interval '1 min', n"
            " FROM generate_series(1, 300) n; ANALYZE m"
        )
    made = widebeam("init", database, "--output", file)
    assert (made.returncode, made.stdout) == (0, "")
    written = file.read_text()
    assert 'table = "public.m"' in written and "is written" in made.stderr
    again = widebeam("init", database, "--output", file)
    assert again.returncode == 2 and "there is such a file already" in again.stderr
    assert file.read_text() == written


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_missing_password_is_told_by_its_side_and_its_variable(side: str, plant: Path) -> None:
    given = load(str(plant), {}).options
    failed = PGconn.connect_start(getattr(given, side).conninfo().encode())
    error = psycopg.OperationalError("connection failed: fe_sendauth: no password supplied", pgconn=failed)
    text, code = explained(error)
    assert code == 1
    assert f"It is for [{side}]: set WIDEBEAM_{side.upper()}__PASSWORD" in text
