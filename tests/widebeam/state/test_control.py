"""The control schema through versions: an older one is brought up to date with all that it holds, a newer refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from snapshot.run import Backfill, BackfillSettings
from tests.plant import Plant
from tests.readings import PUBLIC_SOURCE
from widebeam.check.check import findings
from widebeam.cli import app
from widebeam.config.config import ConfigError, load
from widebeam.config.connector import Connector
from widebeam.setup.prepare import prepare
from widebeam.state import control
from widebeam.state.control import install, made

FIRST = Path(__file__).with_name("control_1.sql")

FILE = (
    PUBLIC_SOURCE
    + """
[source.value]
discriminator = "kind"
columns = {{ F = "f", S = "s" }}
[target]
dsn = "{dsn}"
[backfill]
chunk_rows = 50
"""
)

NARROW = """
CREATE TABLE readings (ship text, channel text, at timestamp, kind text, f float8, s text,
    PRIMARY KEY (ship, channel, at));
INSERT INTO readings SELECT 's', 'c', '2024-01-01'::timestamp + n * interval '1 h', 'F', n, NULL
FROM generate_series(1, 100) n;
ANALYZE readings;
"""

BACK_TO_VERSION_1 = """
INSERT INTO widebeam.connectors (connector, transport, partitions, slot, publication, system_id, timeline, cutoff,
    cutoff_snapshot, column_types, source_oid, planned_at, settings)
SELECT connector, transport, partitions, slot, publication, system_id, timeline, cutoff, cutoff_snapshot,
    types, oid, planned_at, '{"table": "public.readings", "entity": ["ship"], "time": "at", "key": "channel",
    "discriminator": "kind", "columns": null, "choices": {"F": "f", "S": "s"}, "layout": "per_entity",
    "schema": "wide", "name": "{entity}", "made_publication": true, "made_schema": true}'
FROM fresh.connectors JOIN fresh.sources USING (connector);
INSERT INTO widebeam.tables SELECT connector, entity, part, schema_name, table_name, view_name FROM fresh.tables;
INSERT INTO widebeam.columns SELECT connector, entity, key, ordinal, part, column_name, column_type, source, created_at
FROM fresh.columns;
INSERT INTO widebeam.chunks (connector, chunk, lower_bound, upper_bound, estimated, state)
SELECT connector, chunk, lower_bound, upper_bound, estimated, state FROM fresh.chunks;
INSERT INTO widebeam.progress (connector, partition) SELECT connector, partition FROM fresh.progress;
"""

SHAPE = """
SELECT relname::text, attname::text, format_type(atttypid, atttypmod), attnotnull, attidentity::text,
    pg_get_expr(adbin, adrelid)
FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid LEFT JOIN pg_attrdef d ON adrelid = c.oid AND adnum = attnum
WHERE relnamespace = %(s)s::text::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT conrelid::regclass::text, NULL, pg_get_constraintdef(oid), NULL, NULL, NULL FROM pg_constraint
WHERE connamespace = %(s)s::text::regnamespace AND contype <> 'n'
UNION ALL SELECT tablename, NULL, indexdef, NULL, NULL, NULL FROM pg_indexes WHERE schemaname = %(s)s::text
"""


@pytest.fixture
def session(database: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(NARROW)
        yield session


@pytest.fixture
def connector(database: str, tmp_path: Path) -> Connector:
    file = tmp_path / "aged.toml"
    file.write_text(FILE.format(dsn=database))
    return load(str(file), {})


def shape(session: psycopg.Connection[tuple[Any, ...]], schema: str) -> set[tuple[str, ...]]:
    rows = session.execute(SHAPE, {"s": schema}).fetchall()
    return {tuple(str(value).replace(f"{schema}.", "") for value in row) for row in rows}


def test_the_oldest_schema_with_a_connector_in_it_becomes_the_newest_and_its_run_goes_on(session, connector):
    prepare(connector)
    session.execute("ALTER SCHEMA widebeam RENAME TO fresh")
    session.execute(FIRST.read_bytes())
    session.execute(BACK_TO_VERSION_1.encode())
    assert shape(session, "widebeam") != shape(session, "fresh")
    ready = prepare(connector)
    assert shape(session, "widebeam") == shape(session, "fresh")
    for table in ("sources", "columns", "chunks"):
        kept, moved = (
            session.execute(
                f"SELECT to_jsonb(t) - '{{joined_at,facts,escapes,canonical}}'::text[] FROM {schema}.{table} t"
                " ORDER BY 1"
            ).fetchall()
            for schema in ("fresh", "widebeam")
        )
        assert kept and moved == kept
    source, target = connector.options.source.conninfo(), connector.options.target.conninfo()
    Backfill(BackfillSettings(ready.mapping, source, target)).run(Event())
    assert session.execute("SELECT count(*), sum(c) FROM wide.s").fetchone() == (100, 5050)


def test_a_schema_that_is_up_to_date_is_not_touched(session):
    install(session)
    with psycopg.connect(session.info.dsn) as reader:
        reader.execute("SELECT * FROM widebeam.columns")  # its lock would stop any ALTER TABLE
        install(session)
    assert made(session).version == control.VERSION


def test_a_schema_by_another_script_of_the_same_version_gets_what_it_lacks(session):
    install(session)
    session.execute("UPDATE widebeam.version SET script = 'another'; ALTER TABLE widebeam.columns DROP COLUMN widened")
    install(session)
    session.execute("SELECT widened FROM widebeam.columns")
    assert made(session).script != "another"


def test_an_upgrade_does_not_wait_for_ever_behind_an_older_process(session, monkeypatch):
    install(session)
    session.execute("UPDATE widebeam.version SET script = 'another'")
    monkeypatch.setattr(control, "_WAIT", "100ms")
    with psycopg.connect(session.info.dsn) as older:
        older.execute("SELECT * FROM widebeam.columns")
        with pytest.raises(control.InUse, match="stop the processes of an older version"):
            install(session)
    install(session)


def test_a_newer_schema_is_refused_by_all_who_write_and_by_check(session, connector):
    prepare(connector)
    session.execute("UPDATE widebeam.version SET version = version + 1")
    with pytest.raises(ConfigError, match=f"is of version {control.VERSION + 1}.*knows version {control.VERSION}"):
        prepare(connector)
    (finding,) = findings(connector)
    assert "is of version" in finding.what and "install the Widebeam that made it" in finding.remedy
    for verb in ("run", "verify", "sink", "backfill"):
        done = CliRunner().invoke(app, [verb, str(connector.file)])
        assert isinstance(done.exception, ConfigError) or done.exit_code == 2, (verb, done.output, done.exception)


def test_under_a_publication_for_all_tables_an_older_schema_is_brought_up_to_date_and_a_run_goes_on(database, tmp_path):
    plant = Plant(database, tmp_path / "all.toml", FILE.format(dsn=database))
    plant.execute(NARROW)
    plant.prepare()
    plant.execute(
        "ALTER TABLE widebeam.version DROP CONSTRAINT version_pkey; UPDATE widebeam.version SET script = 'older';"
        "CREATE PUBLICATION everything FOR ALL TABLES"
    )
    plant.prepare()
    with plant.streaming():
        plant.backfill()
        plant.execute("UPDATE readings SET f = 0 WHERE f = 1; DELETE FROM readings WHERE f > 90")
        assert plant.verify().differences == 0
    assert not plant.execute(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace::regnamespace::text IN ('widebeam', "
        "'wide') AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = pg_class.oid AND indisprimary)"
    )
    result = CliRunner().invoke(app, ["drop", "--yes", str(plant.file)])
    assert result.exit_code == 0, result.output
