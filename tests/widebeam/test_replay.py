"""Replay of a whole pipeline: a damaged wide table is mended from a point in the middle, while it runs and while not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from threading import Event

import psycopg
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from psycopg import sql

from cdc.lsn import Lsn
from tests.pipeline import NARROW, Pipeline, part, until
from widebeam import barrier

CHANGES = (
    "UPDATE {t} SET double_v = double_v + 1 WHERE data_channel_id IN (SELECT min(data_channel_id) FROM {t})",
    "UPDATE {t} SET created_time = created_time + interval '1000 years' WHERE ctid IN (SELECT ctid FROM {t} LIMIT 50)",
    "DELETE FROM {t} WHERE ctid IN (SELECT ctid FROM {t} ORDER BY created_time LIMIT 500)",
    "TRUNCATE {t}",
    "INSERT INTO {t} SELECT * FROM tenant.kept",
    "UPDATE {t} SET double_v = NULL WHERE value_format = 'Decimal' AND ctid IN (SELECT ctid FROM {t} LIMIT 300)",
    "DELETE FROM {t} WHERE ctid IN (SELECT ctid FROM {t} ORDER BY created_time LIMIT 700)",
)
"""A move, deletes, NULLs and a truncate, each a transaction of its own; all that stands in the end came after the first."""


def say(pipeline: Pipeline, verb: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "widebeam", verb, str(pipeline.file), *options],
        capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip


def settled(pipeline: Pipeline, session: psycopg.Connection) -> None:
    """All that is committed is in the wide tables."""
    name = pipeline.file.stem
    barrier.wait(session, name, barrier.emit(session, "test"), Event(), 60)


def damage(session: psycopg.Connection) -> None:
    """Rows gone, a column emptied and another one filled with something else, in each wide table."""
    found = session.execute("SELECT DISTINCT schema_name, table_name, entity, part FROM widebeam.tables").fetchall()
    for schema, table, entity, number in found:
        columns = session.execute(
            "SELECT column_name FROM widebeam.columns WHERE entity = %s AND part = %s AND source = 'double_v'"
            " ORDER BY ordinal LIMIT 2",
            [entity, number],
        ).fetchall()
        place = sql.Identifier(schema, table)
        session.execute(
            sql.SQL("DELETE FROM {0} WHERE ctid IN (SELECT ctid FROM {0} ORDER BY created_time LIMIT 20)").format(place)
        )
        for (column,), value in zip(columns, (sql.NULL, sql.Literal(-4711.5)), strict=False):
            session.execute(
                sql.SQL("UPDATE {0} SET {1} = {2} WHERE {1} IS NOT NULL").format(place, sql.Identifier(column), value)
            )


def differences(pipeline: Pipeline) -> tuple[int, int, int]:
    """Exit code of verify, differing cells, and how many of them it names."""
    done = say(pipeline, "verify", "--json")
    report = json.loads(done.stdout.splitlines()[-1])
    return done.returncode, report["differences"], len(report["differing"])


@pytest.mark.parametrize("transport", ["kafka"], indirect=True)
def test_a_damaged_wide_table_is_mended_from_a_point_in_the_middle(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDEBEAM_SINK__ON_TRUNCATE", "apply")
    pipeline.converge()
    with psycopg.connect(pipeline.dsn, autocommit=True) as session, pipeline.start("run") as run:
        session.execute(sql.SQL("CREATE TABLE tenant.kept AS SELECT * FROM {}").format(NARROW))
        until(lambda: pipeline.one("SELECT generation >= 2 FROM widebeam.connectors"))
        settled(pipeline, session)
        began = session.execute("SELECT pg_current_wal_lsn()::text, now()::text").fetchone()
        for number, change in enumerate(CHANGES):
            session.execute(sql.SQL(change).format(t=NARROW))
            if number in (0, 4):  # a new generation, and what was not acknowledged is delivered again
                until(lambda: part(run, "capture")).kill()
        settled(pipeline, session)
        damage(session)
        code, count, named = differences(pipeline)
        assert code == 1
        assert count > 1000
        assert named == 100

        epochs = pipeline.one("SELECT sum(epoch) FROM widebeam.progress")
        done = say(pipeline, "replay", "--from-lsn", began[0], "--yes", "--wait", "--json")
        assert done.returncode == 0, done.stderr + pipeline.said()
        report = json.loads(done.stdout)
        assert report["replayed"]
        assert report["records"] > 0
        assert all(each["from"] > 0 for each in report["partitions"]), "the middle, not the beginning"
        assert pipeline.one("SELECT sum(epoch) FROM widebeam.progress") == epochs + len(report["partitions"])
        pipeline.prove()
        action, detail = session.execute(
            "SELECT action, detail FROM widebeam.audit ORDER BY id DESC LIMIT 1"
        ).fetchone()
        assert action == "replay"
        assert detail["partitions"] == report["partitions"]
        run.terminate()
        assert run.wait(60) == 0

        damage(session)
        before = session.execute("SELECT epoch, next_offset FROM widebeam.progress ORDER BY partition").fetchall()
        done = say(pipeline, "replay", "--from-time", began[1], "--dry-run")
        assert done.returncode == 0, done.stderr
        assert "records" in done.stdout
        assert (
            before == session.execute("SELECT epoch, next_offset FROM widebeam.progress ORDER BY partition").fetchall()
        )
        assert say(pipeline, "replay", "--from-time", began[1], "--yes").returncode == 0
    pipeline.converge()
    pipeline.prove()
    refuses_what_is_not_in_the_log(pipeline, Lsn.parse(began[0]))


def refuses_what_is_not_in_the_log(pipeline: Pipeline, lsn: Lsn) -> None:
    progress = "SELECT jsonb_agg(to_jsonb(p))::text FROM widebeam.progress p"
    before = pipeline.one(progress)
    expected = {
        ("--from-offset", "0:999999999"): "partition 0: offset 999999999 is in the future",
        ("--from-lsn", "FFFFFFFF/0"): "in the future: the newest change that was applied is",
        ("--from-time", "2999-01-01"): "in the future: the newest change that was applied is",
        ("--from-lsn", "0/1"): "before what Kafka has kept; the earliest is LSN",
        ("--from-time", "1999-01-01"): "before what Kafka has kept; the earliest is time",
    }
    for options, words in expected.items():
        done = say(pipeline, "replay", *options, "--yes")
        assert done.returncode == 1
        assert words in done.stderr

    next_offsets = json.loads(
        pipeline.one("SELECT jsonb_object_agg(partition, next_offset)::text FROM widebeam.progress")
    )
    ends = [TopicPartition(pipeline.topic, int(number), offset - 1) for number, offset in next_offsets.items()]
    for one in AdminClient({"bootstrap.servers": pipeline.kafka}).delete_records(ends).values():
        one.result(timeout=30)
    for options in (("--from-offset", "0"), ("--from-lsn", str(lsn))):
        done = say(pipeline, "replay", *options, "--yes")
        assert done.returncode == 1
        for each in ends:
            assert f"partition {each.partition}: " in done.stderr
            assert str(each.offset) in done.stderr, "the earliest one"
    assert pipeline.one(progress) == before
