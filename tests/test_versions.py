"""The whole direct pipeline on every PostgreSQL from 15 on that can be had here, over a partitioned narrow table.

All kinds of changes, and the source's own: partitions that come, go and are attached with rows in them, a table that is
replaced. One run of the command for each version.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from cdc.source.session import connect
from tests.looking import look
from tests.pipeline import Pipeline, until
from tests.waiting import PATIENCE
from widebeam.lab.postgres import binaries_of
from widebeam.lab.process import ServerFailed

VERSIONS = (15, 16, 17, 18)

NARROW = """
CREATE SCHEMA plant;
CREATE TABLE plant.readings (id bigserial, ship text NOT NULL, channel text NOT NULL,
    at timestamptz NOT NULL, f float8, n numeric, s text, kind text,
    twice float8 GENERATED ALWAYS AS (f * 2) STORED, PRIMARY KEY (ship, at, channel)) PARTITION BY RANGE (at);
CREATE TABLE plant.jan PARTITION OF plant.readings FOR VALUES FROM ('2024-01-01Z') TO ('2024-02-01Z');
CREATE TABLE plant.feb PARTITION OF plant.readings FOR VALUES FROM ('2024-02-01Z') TO ('2024-03-01Z');
CREATE TABLE plant.rest PARTITION OF plant.readings DEFAULT;
ALTER TABLE plant.readings ALTER s SET STORAGE EXTERNAL;
INSERT INTO plant.readings (ship, channel, at, f, n, s, kind)
SELECT 's' || (i % 2), 'c' || (i % 5), '2024-01-10Z'::timestamptz + i * interval '1 h', i / 7.0, i, 'text ' || i,
    (ARRAY['F', 'N', 'S', 'F', 'N'])[i % 5 + 1] FROM generate_series(1, 1000) i;
"""
FILE = """
[source]
dsn = "{dsn}"
table = "plant.readings"
entity = ["ship"]
time = "at"
key = "channel"
watch_seconds = 0.2
[source.value]
discriminator = "kind"
columns = {{ F = "f", N = "n", S = "s" }}
[target]
dsn = "{dsn}"
[sink]
workers = 2
[backfill]
chunk_rows = 200
"""
INSERT = "INSERT INTO plant.readings (ship, channel, at, f, n, s, kind) VALUES "
CHANGES = (
    INSERT + "('s0', 'c0', '2024-02-25 00:00:01Z', 0.1, NULL, NULL, 'F'), ('s9', 'd0', '2024-02-25Z', 1, 1, '', 'S')",
    INSERT + "('s0', 'toast', '2024-02-26Z', 1, 1, repeat('long', 3000), 'S')",
    "UPDATE plant.readings SET n = 2 WHERE channel = 'toast'",  # an unchanged TOAST value is not in the WAL
    "UPDATE plant.readings SET f = f + 1, n = n + 1 WHERE at < '2024-01-15Z'",
    "UPDATE plant.readings SET at = at + interval '1 s' WHERE ship = 's0' AND at < '2024-01-12Z'",
    "UPDATE plant.readings SET at = at + interval '20 days 1 min' WHERE at BETWEEN '2024-01-20Z' AND '2024-01-22Z'",
    "UPDATE plant.readings SET n = NULL WHERE kind = 'N' AND at BETWEEN '2024-02-01Z' AND '2024-02-03Z'",
    "DELETE FROM plant.readings WHERE at BETWEEN '2024-02-05Z' AND '2024-02-06Z'",
    "DO $$ BEGIN BEGIN " + INSERT + "('s0', 'never', '2024-02-27Z', 1, 1, '', 'F'); RAISE 'undone';"
    " EXCEPTION WHEN OTHERS THEN NULL; END; END $$",
    "SET session_replication_role = replica; " + INSERT + "('s0', 'replica', '2024-02-27Z', 1, 1, '', 'N'); "
    "RESET session_replication_role",
    "CREATE TABLE plant.mar PARTITION OF plant.readings FOR VALUES FROM ('2024-03-01Z') TO ('2024-04-01Z')",
    INSERT.replace("readings", "mar") + "('s1', 'c1', '2024-03-02Z', 1, 31, '', 'N')",
    "ALTER TABLE plant.readings ADD COLUMN note text DEFAULT 'x'",
    INSERT + "('s1', 'c1', '2024-03-03Z', 1, 32, '', 'N')",
    "TRUNCATE plant.mar; "
    + INSERT + "('s1', 'c1', '2024-03-02Z', 1, 33, '', 'N'), ('s1', 'c1', '2024-03-03Z', 1, 34, '', 'N')",
)  # fmt: skip
# What is in it came with no event; a row of it is older than what was deleted in the table, and is there again.
ATTACHED = (
    INSERT + "('s0', 'c0', '2024-04-02Z', 1, 1, '', 'F')",
    "CREATE TABLE plant.apr (LIKE plant.readings INCLUDING ALL)",
    "INSERT INTO plant.apr (ship, channel, at, f, n, s, kind, note) SELECT 's' || (i % 3), 'a' || (i % 4),"
    " '2024-04-01Z'::timestamptz + i * interval '1 h', i, i, '', 'F', '' FROM generate_series(1, 600) i",
    "BEGIN; DELETE FROM plant.readings WHERE at >= '2024-04-01Z';"
    " INSERT INTO plant.apr (ship, channel, at, f, n, s, kind) VALUES ('s0', 'c0', '2024-04-02Z', 7, 1, '', 'F');"
    " ALTER TABLE plant.readings ATTACH PARTITION plant.apr FOR VALUES FROM ('2024-04-01Z') TO ('2024-05-01Z'); COMMIT",
    "UPDATE plant.readings SET f = -1 WHERE at = '2024-04-03Z'",
    "DELETE FROM plant.readings WHERE at = '2024-04-04Z'",
)  # fmt: skip


@pytest.fixture
def pipeline(database: str, tmp_path: Path) -> Iterator[Pipeline]:
    file = tmp_path / f"versions_{uuid4().hex[:8]}.toml"
    file.write_text(FILE.format(dsn=database))
    do(database, NARROW)
    return Pipeline(file, database, None, None, "")


def do(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as session:
        for statement in statements:
            session.execute(statement.encode())


def said_by(pipeline: Pipeline, verb: str, code: int) -> dict[str, Any]:
    done = look(verb, "--json", str(pipeline.file))
    assert done.returncode == code, done.stdout[-2000:] + done.stderr + pipeline.said()
    return json.loads(done.stdout.splitlines()[-1])


def cells(pipeline: Pipeline) -> tuple[dict[tuple[str, ...], str], dict[tuple[str, ...], str]]:
    """Every reading by ship, time and channel, as the narrow table has it and as the wide views do."""
    value = "CASE kind WHEN 'F' THEN f::text WHEN 'N' THEN n::text ELSE s END"
    with connect(pipeline.dsn) as session:
        narrow = {
            tuple(row[:3]): row[3]
            for row in session.execute(f"SELECT ship, at::text, channel, {value} FROM plant.readings")
            if row[3] is not None
        }
        wide = {}
        for entity, view in session.execute("SELECT DISTINCT entity, view_name FROM widebeam.tables").fetchall():
            query = f"""SELECT at::text, j.key, j.value FROM wide."{view}" w, jsonb_each_text(to_jsonb(w) - 'at') j"""
            for at, key, text in session.execute(query.encode()):
                if key != "_lsn" and text is not None:
                    wide[json.loads(entity)[0], at, key] = text
    return narrow, wide


@pytest.mark.parametrize(
    "version",  # the oldest and the newest; all of them in `make test-all`
    [15, pytest.param(16, marks=pytest.mark.exhaustive), pytest.param(17, marks=pytest.mark.exhaustive), 18],
)
def test_a_partitioned_table_is_followed_through_all_kinds_of_changes(pipeline: Pipeline, version: int) -> None:
    gone = "SELECT string_agg(subject, ' ' ORDER BY subject) FROM widebeam.notices WHERE kind <> 'filling'"
    with pipeline.start("run") as run:
        until(lambda: run.poll() is not None or pipeline.merged() > 0)
        do(pipeline.dsn, *CHANGES[:-1])
        until(
            lambda: run.poll() is not None or pipeline.one("SELECT converged_at IS NOT NULL FROM widebeam.connectors")
        )
        do(pipeline.dsn, *ATTACHED)
        filled = "SELECT sum(rows) FROM widebeam.chunks WHERE reads = 'plant.apr' AND state = 'merged'"
        until(lambda: run.poll() is not None or (pipeline.one(filled) or 0) >= 600)
        assert said_by(pipeline, "verify", 0)["differences"] == 0
        narrow, wide = cells(pipeline)
        assert len(narrow) > 1400
        assert narrow == wide

        do(pipeline.dsn, CHANGES[-1])  # truncated alone and filled again: storage made anew, which may mean anything
        until(lambda: run.poll() is not None or pipeline.one(gone) == "plant.mar")
        assert said_by(pipeline, "verify", 0)["notices"] == [], "nothing differs, so there is no doubt any more"

        do(pipeline.dsn, "ALTER TABLE plant.readings DETACH PARTITION plant.jan", "DROP TABLE plant.feb")
        until(lambda: run.poll() is not None or pipeline.one(gone) == "plant.feb plant.jan")
        stay = len(cells(pipeline)[1]) - len(cells(pipeline)[0])
        told = said_by(pipeline, "verify", 1)
        assert (told["differences"], sum(each["cells"] for each in told["gone"])) == (0, stay)
        assert stay > 500
        assert len(told["notices"]) == len(said_by(pipeline, "status", 0)["notices"]) == 2

        do(
            pipeline.dsn,
            "ALTER TABLE plant.readings RENAME TO old; CREATE TABLE plant.readings (LIKE plant.old INCLUDING ALL)",
        )
        assert run.wait(PATIENCE) == 3, pipeline.said()
    halt = said_by(pipeline, "status", 3)["halt"]
    assert halt["cause"] == "relation_changed", halt
    assert "another table" in halt["what"]
    if version == VERSIONS[-1]:
        goes_on_with_the_other_table(pipeline)


def goes_on_with_the_other_table(pipeline: Pipeline) -> None:
    """The command that the halt names, and what it leads to."""
    do(
        pipeline.dsn,
        INSERT.replace("VALUES", "SELECT ship, channel, at, f, n, s, kind FROM plant.old"),
        INSERT + "('s0', 'x', now(), 1, 1, '', 'N')",
    )
    with pipeline.start("resume", "--backfill-gap", "--clear") as resume:
        assert resume.wait(PATIENCE) == 0, pipeline.said()
    pipeline.converge()
    told = said_by(pipeline, "verify", 0)
    assert (told["differences"], told["notices"]) == (0, [])
    assert cells(pipeline)[0] == cells(pipeline)[1]


def test_at_least_two_versions_can_be_had(request: pytest.FixtureRequest) -> None:
    had, lacking = [], {}
    for version in VERSIONS:
        try:
            had.append(binaries_of(version))
        except ServerFailed as error:
            lacking[version] = str(error)
    assert len(had) >= 2, lacking
