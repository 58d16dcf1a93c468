"""The whole pipeline through the command, on real servers: it converges beside a live writer, whatever dies, to what
DuckDB's own pivot of the same narrow rows says."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from psycopg import sql

from tests.pipeline import TWO_OF_EACH, Pipeline, part, stopped, until
from tests.waiting import PATIENCE

EITHER = pytest.mark.parametrize(
    "transport", ["kafka", pytest.param("direct", marks=pytest.mark.exhaustive)], indirect=True
)
"""The longer way in `make test`, both in `make test-all`: the demo's test goes the shorter one, too."""


@pytest.fixture
def two_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TWO_OF_EACH.items():
        monkeypatch.setenv(name, value)


@EITHER
@pytest.mark.usefixtures("two_of_each")
def test_it_converges_beside_a_live_writer_and_the_same_run_again_is_a_no_op(pipeline: Pipeline) -> None:
    with pipeline.writing() as writer:
        pipeline.converge()
        until(lambda: writer.tally.rows > 2_000)
    pipeline.converge()
    pipeline.prove()
    before, counters = pipeline.wide(), "SELECT jsonb_agg(to_jsonb(c) ORDER BY chunk)::text FROM widebeam.chunks c"
    chunks, slot = (
        pipeline.one(counters),
        "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()",
    )
    applied = pipeline.applied()
    pipeline.converge()
    assert pipeline.wide() == before
    assert pipeline.one(counters) == chunks
    assert pipeline.applied() == applied
    assert pipeline.one(slot) == 1


@pytest.mark.parametrize(
    ("transport", "verb"),
    [  # the others die in test_failpoints.py, at each of their steps, and in tests/faults under a run that goes on
        pytest.param("kafka", "capture", marks=pytest.mark.exhaustive),
        pytest.param("kafka", "sink", marks=pytest.mark.exhaustive),
        ("kafka", "backfill"),
        ("direct", "stream"),
    ],
    indirect=["transport"],
)
@pytest.mark.usefixtures("two_of_each")
def test_after_kill_9_of_a_part_the_next_run_converges(pipeline: Pipeline, verb: str, tmp_path: Path) -> None:
    token = tmp_path / "backfill.merged"
    token.touch()  # one worker stands still: the backfill is quick, and ends when it is done
    hang = {"WIDEBEAM_FAILPOINTS": f"backfill.merged=hang,once:{tmp_path}/"} if verb == "backfill" else {}
    with pipeline.writing(), pipeline.start("run", **hang) as run:
        # Sinks wait for the rows of the one that stands still: whether they apply is asked when it is dead.
        until(lambda: pipeline.merged() >= 1 and (hang or pipeline.applied() > 0))
        victim = until(lambda: stopped(run, verb) if hang else part(run, verb))
        victim.kill()
        until(lambda: (again := part(run, verb)) is not None and again.pid != victim.pid)
        applied = pipeline.applied()
        until(lambda: pipeline.applied() > applied)
        run.kill()
        psutil.wait_procs([run], timeout=60)
    pipeline.converge()
    pipeline.prove()


@pytest.mark.parametrize("transport", ["kafka"], indirect=True)
def test_ctrl_c_is_clean_and_the_next_run_resumes(pipeline: Pipeline) -> None:
    with pipeline.writing(), pipeline.start("run", WIDEBEAM_SOURCE__PASSWORD="hunter2") as run:
        until(lambda: pipeline.merged() >= 1 and pipeline.applied() > 0)
        children = run.children()
        assert children
        assert not [child for child in [run, *children] if "hunter2" in " ".join(child.cmdline())]
        run.send_signal(signal.SIGINT)
        assert run.wait(PATIENCE) == 0, pipeline.said()
        assert not [child for child in children if child.is_running()]
    assert "hunter2" not in pipeline.said()
    assert "Traceback" not in pipeline.said()
    pipeline.converge()
    pipeline.prove()


@EITHER
def test_of_two_runs_the_second_one_takes_over_when_the_first_dies(pipeline: Pipeline) -> None:
    generation = "SELECT generation FROM widebeam.connectors"
    with pipeline.writing(), pipeline.start("run") as first:
        until(lambda: pipeline.applied() > 0)  # the first has the slot before the second one asks for it
        assert pipeline.one(generation) == 1
        with pipeline.start("run") as second:
            until(lambda: part(second, "stream" if pipeline.kafka is None else "capture"))
            for process in [first, *first.children()]:
                process.kill()
            first.wait(PATIENCE)
            until(lambda: pipeline.one(generation) == 2)
            applied = pipeline.applied()
            until(lambda: pipeline.applied() > applied)
            second.send_signal(signal.SIGINT)
            assert second.wait(PATIENCE) == 0, pipeline.said()
    pipeline.converge()
    pipeline.prove()


@pytest.mark.parametrize("transport", ["direct"], indirect=True)
def test_a_halt_ends_the_run_with_3_and_status_tells_the_way_on(pipeline: Pipeline) -> None:
    pipeline.converge()
    publication = pipeline.one("SELECT publication FROM widebeam.connectors")
    with psycopg.connect(pipeline.dsn, autocommit=True) as session:
        session.execute(sql.SQL("DROP PUBLICATION {}").format(sql.Identifier(publication)))
    with pipeline.start("run") as run:
        assert run.wait(PATIENCE) == 3, pipeline.said()
    done = subprocess.run(
        [sys.executable, "-m", "widebeam", "status", "--json", str(pipeline.file)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3
    seen = json.loads(done.stdout)
    assert (seen["state"], seen["halt"]["cause"]) == ("halted", "not_published")
    assert seen["halt"]["remedy"]


@pytest.mark.parametrize("transport", ["kafka"], indirect=True)
def test_drop_leaves_nothing_behind_but_the_narrow_table(pipeline: Pipeline) -> None:
    narrow = pipeline.narrow()
    pipeline.converge()
    with pipeline.start("drop", "--yes") as drop:
        assert drop.wait(PATIENCE) == 0, pipeline.said()
    assert pipeline.narrow() == narrow
    assert pipeline.one("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == 0
    assert pipeline.one("SELECT count(*) FROM pg_publication") == 0
    assert pipeline.one("SELECT to_regnamespace('wide') IS NULL AND to_regnamespace('widebeam') IS NULL")
    admin = AdminClient({"bootstrap.servers": pipeline.kafka})
    assert pipeline.topic not in admin.list_topics(timeout=60).topics
    groups = admin.list_consumer_groups().result(timeout=60).valid
    assert f"widebeam.{pipeline.file.stem}" not in {group.group_id for group in groups}
    pipeline.converge()
    pipeline.prove()
