"""The whole pipeline through the command, on real servers: it converges beside a live writer, whatever dies, to what
DuckDB's own pivot of the same narrow rows says."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psutil
import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from psycopg import sql
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from cdc.session import connect
from widebeam.demo.history import History, load
from widebeam.demo.writer import Writer

ROWS = 40_000
NARROW = sql.Identifier("tenant", "tbl_data_timeseries")
VALUE = """CASE value_format WHEN 'Decimal' THEN double_v::text WHEN 'Integer' THEN long_v::text
    WHEN 'String' THEN str_v WHEN 'Boolean' THEN CASE WHEN bool_v THEN 't' WHEN NOT bool_v THEN 'f' END END"""

FILE = """
[source]
dsn = "{dsn}"
table = "tenant.tbl_data_timeseries"
entity = ["ship_id"]
time = "created_time"
key = "data_channel_id"
[source.value]
discriminator = "value_format"
columns = {{ Decimal = "double_v", Integer = "long_v", String = "str_v", Boolean = "bool_v" }}
[target]
dsn = "{dsn}"
[sink]
workers = 2
batch_rows = 2000
[backfill]
workers = 2
chunk_rows = 2000
{kafka}
"""

Cells = dict[tuple[str, str, str], str]


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait for a condition that only asking can tell; its value."""
    return Retrying(
        retry=retry_if_result(lambda value: not value), stop=stop_after_delay(seconds), wait=wait_fixed(0.05)
    )(condition)


@dataclass
class Pipeline:
    """A connector over a loaded narrow table, and its command."""

    file: Path
    dsn: str
    history: History
    kafka: str | None
    topic: str

    @contextmanager
    def start(self, *arguments: str, **environment: str) -> Iterator[psutil.Popen]:
        """The command at work; a test that fails leaves nothing of it behind for the tests after it."""
        with self.file.with_suffix(".log").open("ab") as log, psutil.Popen(
            [sys.executable, "-m", "widebeam", *arguments, str(self.file)],
            stdout=log, stderr=log, start_new_session=True, env={**os.environ, **environment},
        ) as process:  # fmt: skip
            try:
                yield process
            except BaseException:
                for one in [process, *process.children(recursive=True)]:
                    one.kill()
                raise

    def converge(self) -> None:
        with self.start("run", "--until-converged") as process:
            assert process.wait(120) == 0, self.said()
        assert self.one("SELECT converged_at IS NOT NULL FROM widebeam.connectors")

    def said(self) -> str:
        return self.file.with_suffix(".log").read_text()[-6000:]

    def one(self, query: str, *parameters: object) -> Any:
        with psycopg.connect(self.dsn, autocommit=True) as session:
            row = session.execute(query, parameters or None).fetchone()
            return row and row[0]

    def merged(self) -> int:
        if not self.one("SELECT to_regclass('widebeam.chunks') IS NOT NULL"):
            return 0
        return self.one("SELECT count(*) FROM widebeam.chunks WHERE state = 'merged'")

    def applied(self) -> int:
        if not self.one("SELECT to_regclass('widebeam.progress') IS NOT NULL"):
            return 0
        return self.one("SELECT coalesce(sum(rows), 0) FROM widebeam.progress")

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """A live writer at work; its error fails the test."""
        writer, stop, failed = Writer(self.dsn, self.history, rate=2000), threading.Event(), []

        def work() -> None:
            try:
                writer.run(stop)
            except Exception as error:  # noqa: BLE001  raised again below, in the test's own thread
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield writer
        finally:
            stop.set()
            thread.join()
        assert not failed, failed

    def narrow(self) -> Cells:
        """What DuckDB's PIVOT makes of the narrow rows, cell by cell."""
        query = sql.SQL(
            "COPY (SELECT ship_id, created_time, data_channel_id, {} FROM {}) TO STDOUT (FORMAT csv, NULL '~')"
        )
        file = self.file.with_suffix(".csv")
        query = query.format(sql.SQL(VALUE), NARROW)
        with connect(self.dsn) as session, file.open("wb") as out, session.cursor().copy(query) as copy:
            for block in copy:
                out.write(block)
        with duckdb.connect() as duck:
            duck.execute(
                "CREATE TABLE narrow AS SELECT * FROM read_csv(?, header = false, all_varchar = true, nullstr = '~', "
                "allow_quoted_nulls = false, names = ['ship', 'moment', 'channel', 'value'])",
                [str(file)],
            )
            pivoted = duck.execute("PIVOT narrow ON channel USING any_value(value) GROUP BY ship, moment")
            names = [column[0] for column in pivoted.description][2:]
            return {
                (ship, at, name): value
                for ship, at, *values in pivoted.fetchall()
                for name, value in zip(names, values, strict=True)
                if value is not None
            }

    def wide(self) -> Cells:
        """All cells of the wide views, as text; no row of them is without one."""
        cells: Cells = {}
        with connect(self.dsn) as session:
            for entity, schema, view in session.execute(
                "SELECT DISTINCT entity, schema_name, view_name FROM widebeam.tables"
            ).fetchall():
                keys = dict(
                    session.execute("SELECT column_name, key FROM widebeam.columns WHERE entity = %s", [entity])
                )
                query = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT (FORMAT csv, HEADER, NULL '~')")
                with session.cursor().copy(query.format(sql.Identifier(schema, view))) as copy:
                    text = b"".join(map(bytes, copy)).decode()
                for row in csv.DictReader(io.StringIO(text, newline="")):
                    filled = {keys[name]: value for name, value in row.items() if name in keys and value != "~"}
                    assert filled, f"a row of {view} has no cell: {row}"
                    cells |= {(json.loads(entity)[0], row["created_time"], key): value for key, value in filled.items()}
        return cells

    def prove(self) -> None:
        """Both sides equal, by DuckDB and by our own verify."""
        narrow, wide = self.narrow(), self.wide()
        wrong = {cell: (narrow.get(cell), wide.get(cell)) for cell in narrow.keys() | wide.keys()
                 if narrow.get(cell) != wide.get(cell)}  # fmt: skip
        assert not wrong, f"{len(wrong)} of {len(narrow)} cells differ: {sorted(wrong.items())[:5]}\n{self.said()}"
        assert len(narrow) > ROWS // 2
        done = subprocess.run(
            [sys.executable, "-m", "widebeam", "verify", "--json", str(self.file)],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["differences"] == 0


def part(run: psutil.Popen, verb: str) -> psutil.Process | None:
    """A child of `widebeam run` that runs this verb."""
    with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
        for child in run.children():
            if verb in child.cmdline():
                return child
    return None


@pytest.fixture(params=["kafka", "direct"])
def transport(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def pipeline(transport: str, request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Pipeline:
    bootstrap, topic, section = None, "", ""
    if transport == "kafka":
        bootstrap, topic = request.getfixturevalue("kafka").bootstrap, request.getfixturevalue("topic")
        section = f'[kafka]\nbootstrap_servers = "{bootstrap}"\ntopic = "{topic}"\npartitions = 4\n'
    file = tmp_path / f"run_{transport}_{database.split('test_')[1][:8]}.toml"
    file.write_text(FILE.format(dsn=database, kafka=section))
    return Pipeline(file, database, load(database, ROWS), bootstrap, topic)


def test_it_converges_beside_a_live_writer(pipeline: Pipeline) -> None:
    with pipeline.writing() as writer:
        pipeline.converge()
        until(lambda: writer.tally.rows > 2_000)
    pipeline.converge()
    pipeline.prove()


def test_twice_the_same_run_is_a_no_op(pipeline: Pipeline) -> None:
    pipeline.converge()
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
    [("kafka", "capture"), ("kafka", "sink"), ("kafka", "backfill"), ("direct", "stream"), ("direct", "backfill")],
    indirect=["transport"],
)
def test_after_kill_9_of_a_part_the_next_run_converges(pipeline: Pipeline, verb: str) -> None:
    with pipeline.writing(), pipeline.start("run") as run:
        until(lambda: pipeline.merged() >= 2 and pipeline.applied() > 0)
        victim = until(lambda: part(run, verb))
        victim.kill()
        until(lambda: (again := part(run, verb)) is not None and again.pid != victim.pid)
        applied = pipeline.applied()
        until(lambda: pipeline.applied() > applied)
        run.kill()
        psutil.wait_procs([run], timeout=10)
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
        assert run.wait(60) == 0, pipeline.said()
        assert not [child for child in children if child.is_running()]
    assert "hunter2" not in pipeline.said()
    assert "Traceback" not in pipeline.said()
    pipeline.converge()
    pipeline.prove()


def test_of_two_runs_the_second_one_takes_over_when_the_first_dies(pipeline: Pipeline) -> None:
    generation = "SELECT generation FROM widebeam.connectors"
    with pipeline.writing(), pipeline.start("run") as first:
        until(lambda: pipeline.applied() > 0)  # the first has the slot before the second one asks for it
        assert pipeline.one(generation) == 1
        with pipeline.start("run") as second:
            until(lambda: part(second, "stream" if pipeline.kafka is None else "capture"))
            for process in [first, *first.children()]:
                process.kill()
            until(lambda: pipeline.one(generation) == 2)
            applied = pipeline.applied()
            until(lambda: pipeline.applied() > applied)
            second.send_signal(signal.SIGINT)
            assert second.wait(60) == 0, pipeline.said()
    pipeline.converge()
    pipeline.prove()


@pytest.mark.parametrize("transport", ["direct"], indirect=True)
def test_a_halt_ends_the_run_with_3_and_status_tells_the_way_on(pipeline: Pipeline) -> None:
    pipeline.converge()
    publication = pipeline.one("SELECT publication FROM widebeam.connectors")
    with psycopg.connect(pipeline.dsn, autocommit=True) as session:
        session.execute(sql.SQL("DROP PUBLICATION {}").format(sql.Identifier(publication)))
    with pipeline.start("run") as run:
        assert run.wait(60) == 3, pipeline.said()
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
        assert drop.wait(60) == 0, pipeline.said()
    assert pipeline.narrow() == narrow
    assert pipeline.one("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == 0
    assert pipeline.one("SELECT count(*) FROM pg_publication") == 0
    assert pipeline.one("SELECT to_regnamespace('wide') IS NULL")
    for table in ("connectors", "tables", "columns", "chunks", "progress", "tombstones", "quarantine", "generations"):
        with psycopg.connect(pipeline.dsn) as session:
            count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("widebeam", table))
            assert session.execute(count).fetchone() == (0,), table
    assert pipeline.one("SELECT array_agg(action ORDER BY id) FROM widebeam.audit") == ["drop begins", "drop"]
    if pipeline.kafka is not None:
        assert pipeline.topic not in AdminClient({"bootstrap.servers": pipeline.kafka}).list_topics(timeout=10).topics
    pipeline.converge()
    pipeline.prove()
