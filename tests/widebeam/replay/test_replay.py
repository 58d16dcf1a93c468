"""Replay of a whole pipeline: a damaged wide table is mended from a point in the middle, running or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from threading import Event

import psycopg
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from psycopg import sql

from cdc.lsn import Lsn
from cdc.record.envelope import encode
from cdc.record.record import Barrier, Stamp
from tests.pipeline import NARROW, Pipeline, part, pipeline_over, until
from tests.waiting import PATIENCE
from widebeam.cli.outcome import explained
from widebeam.config.config import load
from widebeam.gap.cross import cross
from widebeam.lab.kafka import KafkaBroker
from widebeam.replay.plan import ReplayRefused
from widebeam.replay.point import BadPoint, Offsets, parse
from widebeam.replay.replay import plan, rewind
from widebeam.setup.prepare import prepare
from widebeam.verify import barrier

CHANGES = (
    "UPDATE {t} SET double_v = double_v + 1 WHERE data_channel_id IN (SELECT min(data_channel_id) FROM {t})",
    "UPDATE {t} SET created_time = created_time + interval '1000 years' WHERE ctid IN (SELECT ctid FROM {t} LIMIT 50)",
    "DELETE FROM {t} WHERE ctid IN (SELECT ctid FROM {t} ORDER BY created_time LIMIT 500)",
    "TRUNCATE {t}",
    "INSERT INTO {t} SELECT * FROM tenant.kept",
    "UPDATE {t} SET double_v = NULL WHERE value_format = 'Decimal' AND ctid IN (SELECT ctid FROM {t} LIMIT 300)",
    "DELETE FROM {t} WHERE ctid IN (SELECT ctid FROM {t} ORDER BY created_time LIMIT 700)",
)
"""A move, deletes, NULLs and a truncate, a transaction each; all that stands in the end came after the first."""


def say(pipeline: Pipeline, verb: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "widebeam", verb, str(pipeline.file), *options],
        capture_output=True, text=True, check=False, timeout=400, env={**os.environ, "NO_COLOR": "1"},
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
        assert run.wait(PATIENCE) == 0, pipeline.said()

        damage(session)
        before = session.execute("SELECT epoch, next_offset FROM widebeam.progress ORDER BY partition").fetchall()
        connector = load(str(pipeline.file), {})
        again = plan(connector, parse((), None, began[1], 4))
        assert again.records > 0
        assert (
            before == session.execute("SELECT epoch, next_offset FROM widebeam.progress ORDER BY partition").fetchall()
        ), "to look changes nothing"
        rewind(connector, again)
        with pytest.raises(ReplayRefused, match="by somebody else"):
            rewind(connector, again)
    pipeline.converge()
    pipeline.prove()
    refuses_what_is_not_in_the_log(pipeline, Lsn.parse(began[0]))


def refuses_what_is_not_in_the_log(pipeline: Pipeline, lsn: Lsn) -> None:
    connector, progress = load(str(pipeline.file), {}), "SELECT jsonb_agg(to_jsonb(p))::text FROM widebeam.progress p"
    before = pipeline.one(progress)
    expected = {
        ("0:999999999", None, None): "partition 0: offset 999999999 is in the future",
        (None, "FFFFFFFF/0", None): "in the future: the newest change that was applied is",
        (None, None, "2999-01-01"): "in the future: the newest change that was applied is",
        (None, "0/1", None): "before what Kafka has kept; the earliest is LSN",
        (None, None, "1999-01-01"): "before what Kafka has kept; the earliest is time",
    }
    for (offset, at, time), words in expected.items():
        with pytest.raises(ReplayRefused, match=words):
            plan(connector, parse(filter(None, [offset]), at, time, 4))

    offsets = json.loads(pipeline.one("SELECT jsonb_object_agg(partition, next_offset)::text FROM widebeam.progress"))
    ends = [TopicPartition(pipeline.topic, int(number), offset - 1) for number, offset in offsets.items()]
    admin = AdminClient({"bootstrap.servers": pipeline.kafka})
    for one in admin.delete_records(ends).values():
        one.result(timeout=30)
    for point in (parse(["0"], None, None, 4), parse((), str(lsn), None, 4)):
        with pytest.raises(ReplayRefused) as refused:
            plan(connector, point)
        for each, reason in zip(sorted(ends, key=lambda each: each.partition), refused.value.reasons, strict=True):
            assert reason.startswith(f"partition {each.partition}: ")
            assert str(each.offset) in reason, "the earliest one"
    assert pipeline.one(progress) == before


def test_a_bad_point_is_said_at_once_with_all_that_is_wrong() -> None:
    with pytest.raises(BadPoint) as bad:
        parse(["0:5", "0:6", "9:1", "x", "7", "1:-3", "99999999999999999999"], "not/an/lsn", "yesterday", 4)
    said = str(bad.value)
    for words in (
        "exactly one of", "partition 0 is named twice", "no partition 9, but 0 to 3", "'x' is neither",
        "'7' is for all partitions", "'1:-3' is neither", "'99999999999999999999' is neither",
        "'not/an/lsn' is no LSN", "'yesterday' is no time",
    ):  # fmt: skip
        assert words in said
    assert explained(bad.value) == (f"widebeam: {said}", 2)
    assert "\n" not in said
    assert parse(["1:5,3:7"], None, None, 4) == Offsets({1: 5, 3: 7})
    assert parse(["5"], None, None, 2) == Offsets({0: 5, 1: 5})
    assert parse((), None, "2026-01-31T12:00:00", 1) == parse((), None, "2026-01-31T13:00:00+01:00", 1)
    for nothing in ([], [""]):
        with pytest.raises(BadPoint):
            parse(nothing, None, None, 4)


@pytest.mark.parametrize("transport", ["direct"], indirect=True)
def test_without_a_log_it_is_refused_with_what_to_do_instead(pipeline: Pipeline) -> None:
    prepare(load(str(pipeline.file), {}))
    done = say(pipeline, "replay", "--from-offset", "0", "--yes")
    assert done.returncode == 1
    assert "the direct transport keeps no log" in done.stderr
    assert "widebeam verify" in done.stderr


def test_nothing_is_replayed_from_before_a_gap_that_was_mended(
    database: str, tmp_path: Path, kafka: KafkaBroker, topic: str
) -> None:
    pipeline = pipeline_over(database, tmp_path, kafka=kafka.bootstrap, topic=topic)
    connector = load(str(pipeline.file), {})
    prepare(connector)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for number in range(8):
        stamp = Stamp(connector.name, 1, number // 4, Lsn(8 * (number + 1)), 1, 1_000_000)
        producer.produce(topic, encode(Barrier(stamp, "old")), partition=number % 4)
    producer.flush(30)
    cross(connector)
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("UPDATE widebeam.progress SET next_offset = 5")  # as if new ones had been applied
    with pytest.raises(ReplayRefused, match="would undo it: 2 is the earliest"):
        plan(connector, parse(["0"], None, None, 4))
    with pytest.raises(ReplayRefused, match="Kafka"):
        plan(connector, parse((), "0/8", None, 4))
    generation = pipeline.one("SELECT generation FROM widebeam.connectors")
    for number in range(8):  # a zombie of the old stream, still sending
        stamp = Stamp(connector.name, 1, 2 + number // 4, Lsn(800 + number), 1, 1_000_000)
        producer.produce(topic, encode(Barrier(stamp, "zombie")), partition=number % 4)
    producer.flush(30)
    steps = plan(connector, parse(["2"], None, None, 4)).steps
    assert [(step.back.next_offset, step.back.generation) for step in steps] == [(2, generation)] * 4
