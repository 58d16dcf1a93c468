"""A connector over the demo's narrow table, run by its command as a user would; proved by DuckDB's pivot and by verify.

For tests of whole processes: each fault has a test that starts from here.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psutil
import psycopg
from psycopg import sql

from cdc.source.session import connect
from tests.beside import beside
from tests.looking import VERBS, look
from tests.pivot import pivoted
from tests.waiting import PATIENCE, unasked_end, until, watched  # noqa: F401  who starts a pipeline waits, too
from widebeam.demo.history import History, load
from widebeam.demo.writer import Writer

ROWS = 12_000
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
batch_rows = 2000
[backfill]
chunk_rows = 2000
{kafka}
"""

TWO_OF_EACH = {"WIDEBEAM_SINK__WORKERS": "2", "WIDEBEAM_BACKFILL__WORKERS": "2"}
"""For the environment, where parts of one kind are to share the work; each is a process that takes long to start."""

Cells = dict[tuple[str, str, str], str]


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
        ) as process, watched(unasked_end(process, self.said)):  # fmt: skip
            try:
                yield process
            except BaseException:
                family = [process]
                with suppress(psutil.NoSuchProcess):  # one of them may end just now
                    family += process.children(recursive=True)
                for one in family:
                    with suppress(psutil.NoSuchProcess):
                        one.kill()
                raise

    def converge(self) -> None:
        with self.start("run", "--until-converged") as process:
            assert process.wait(PATIENCE) == 0, self.said()
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
        writer = Writer(self.dsn, self.history, rate=2000)
        with beside(writer.run):
            yield writer

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
            return pivoted(duck)

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
        done = look("verify", "--json", str(self.file))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["differences"] == 0


def part(run: psutil.Popen, verb: str) -> psutil.Process | None:
    """A child of `widebeam run` that runs this verb."""
    with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
        for child in run.children():
            if verb in child.cmdline():
                return child
    return None


def stopped(run: psutil.Popen, verb: str) -> psutil.Process | None:
    """The child that a failpoint has made stand still: whoever hangs one kills it, since the leash's SIGTERM cannot."""
    with suppress(psutil.NoSuchProcess):  # one may end while it is looked at
        for child in run.children():
            if verb in child.cmdline() and child.status() == psutil.STATUS_STOPPED:
                return child
    return None


def pipeline_over(dsn: str, directory: Path, *, kafka: str | None, topic: str, more: str = "") -> Pipeline:
    """A loaded narrow table in the database `dsn` and a connector file for it; `more` are more sections of the file."""
    section = "" if kafka is None else f'[kafka]\nbootstrap_servers = "{kafka}"\ntopic = "{topic}"\npartitions = 4\n'
    transport = "direct" if kafka is None else "kafka"
    file = directory / f"run_{transport}_{dsn.split('test_')[1][:8]}.toml"
    file.write_text(FILE.format(dsn=dsn, kafka=section) + more)
    return Pipeline(file, dsn, load(dsn, ROWS), kafka, topic)


def command(pipeline: Pipeline, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as remedies print it: with the connector's name, where its file is."""
    environment |= {"WIDEBEAM_CONNECTORS": str(pipeline.file.parent)}
    if arguments[0] in VERBS:
        return look(*arguments, environment=environment)
    return subprocess.run(
        [sys.executable, "-m", "widebeam", *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE,
        env={**os.environ, **environment},
    )  # fmt: skip


def change_some(dsn: str) -> None:
    """Updates, clears, deletes and moves, all over the history, in one transaction."""
    with psycopg.connect(dsn) as session:
        for statement in (
            "UPDATE {} SET double_v = double_v + 1 WHERE hashtext(created_time::text) % 7 = 0",
            "UPDATE {} SET double_v = NULL WHERE hashtext(created_time::text) % 11 = 0",
            "DELETE FROM {} WHERE hashtext(created_time::text || data_channel_id) % 13 = 0",
            "UPDATE {} SET created_time = created_time + interval '1 us' WHERE hashtext(created_time::text) % 17 = 0",
        ):
            session.execute(sql.SQL(statement).format(NARROW))
