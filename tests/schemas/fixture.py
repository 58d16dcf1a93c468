"""A public schema in a database of its own: its tables, its history, its writers, and the pivot that it should come to.

NAME.sql is its DDL, history/NAME.sql fills it, writes/NAME.sql is what happens during the run: a transaction after each
line `-- then:`, and from `-- later:` on after the whole history is merged. pivot/NAME.sql says, in plain SQL by hand,
which cells there are: entity (a JSON array), wide key (its columns joined by |), key, value.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.looking import look
from tests.pipeline import until
from tests.waiting import PATIENCE

HERE = Path(__file__).parent
CONNECTORS = HERE.parent.parent / "connectors"
NAMES = ("ships", "thingsboard", "zabbix", "ignition", "homeassistant", "openhab", "openmrs", "magento", "prometheus",
         "iso19848")  # fmt: skip

Cell = tuple[str, str, str]
"""Entity, wide key, key."""


@dataclass
class Fixture:
    """One schema, the connector that reads it, and the command."""

    name: str
    dsn: str
    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    connector: Path | None = None

    @property
    def file(self) -> Path:
        return self.connector or CONNECTORS / f"{self.name}.toml"

    @property
    def log(self) -> Path:
        return self.directory / "widebeam.log"

    def session(self) -> psycopg.Connection[tuple[Any, ...]]:
        """An autocommit session; times are UTC, in ISO."""
        return psycopg.connect(self.dsn, autocommit=True, options="-c timezone=UTC -c datestyle=ISO")

    def create(self) -> None:
        """The tables and their history, the same at each run."""
        with self.session() as session:
            session.execute((HERE / f"{self.name}.sql").read_text())
            session.execute("SELECT setseed(0.42)")
            session.execute((HERE / "history" / f"{self.name}.sql").read_text())
            session.execute("ANALYZE")

    def write(self, phase: str) -> None:
        """What happens while it runs: `then` beside the backfill, `later` after it."""
        text = (HERE / "writes" / f"{self.name}.sql").read_text()
        early, late = text.split("-- later:")
        with self.session() as session:
            for step in re.split(r"^-- then:", early if phase == "then" else late, flags=re.MULTILINE):
                statements = step.partition("\n")[2]
                if statements.strip():
                    session.execute(statements)

    def start(self, verb: str, *options: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "widebeam", verb, *options, str(self.file)],
                stdout=log, stderr=log, start_new_session=True, env=self._env(),
            )  # fmt: skip

    def done(self, verb: str, *options: str) -> None:
        """Do a verb to its end."""
        process = self.start(verb, *options)
        assert process.wait(PATIENCE) == 0, self.said()

    def ask(self, verb: str, *options: str) -> Any:
        """A verb's last line of JSON."""
        done = look(verb, "--json", *options, str(self.file), environment=self._env())
        assert done.returncode in (0, 1) and done.stdout, done.stderr + self.said()
        return json.loads(done.stdout.splitlines()[-1])

    def said(self) -> str:
        return self.log.read_text()[-6000:] if self.log.exists() else ""

    def propose(self) -> None:
        """Let init write the connector file, as a newcomer would, answer it, and take that one from here on."""
        done = subprocess.run(
            [sys.executable, "-m", "widebeam", "init", self.dsn],
            capture_output=True, text=True, check=False, timeout=PATIENCE, env=self._env(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        self.connector = self.directory / f"{self.name}.toml"
        self.connector.write_text(_answered(done.stdout))

    def plan(self) -> dict[tuple[str, str], str]:
        """The columns that plan promises: entity and key, and the type."""
        return {(each["entity"], each["key"]): each["type"] for each in self.ask("plan")["columns"]}

    def columns(self) -> dict[tuple[str, str], str]:
        """The columns that there are."""
        with self.session() as session:
            rows = session.execute("SELECT entity, key, column_type FROM widebeam.columns").fetchall()
        return {(entity, key): kind for entity, key, kind in rows}

    def mend(self) -> list[str]:
        """Do what check asks for, until it asks for nothing more; the statements."""
        remedies = [finding["remedy"] for finding in self.ask("check")]
        with self.session() as session:
            for remedy in remedies:
                assert re.match("ALTER|CREATE", remedy), remedy
                session.execute(remedy)
        assert self.ask("check") == []
        return remedies

    def converge(self) -> None:
        self.done("run", "--until-converged")

    def live(self) -> None:
        """Run while others write: at first beside the backfill, then after it."""
        run = self.start("run")
        try:
            until(lambda: run.poll() is not None or self.chunks("merged"))
            self.write("then")
            until(lambda: run.poll() is not None or (self.chunks("merged") and not self.chunks("planned")))
            self.write("later")
        finally:
            run.send_signal(signal.SIGINT)
            code = run.wait(PATIENCE)
        assert code == 0, self.said()

    def chunks(self, state: str) -> int:
        with self.session() as session:
            there = session.execute("SELECT to_regclass('widebeam.chunks') IS NOT NULL").fetchone()
            if there != (True,):
                return 0
            row = session.execute("SELECT count(*) FROM widebeam.chunks WHERE state = %s", [state]).fetchone()
            return row[0] if row else 0

    def narrow(self) -> dict[Cell, str]:
        """The cells that there should be."""
        pivot = (HERE / "pivot" / f"{self.name}.sql").read_text()
        query = f"SELECT e::text, w::text, k::text, v::text FROM ({pivot}) p (e, w, k, v)"
        with self.session() as session:
            rows = session.execute(query).fetchall()
        cells = {(entity, place, key): value for entity, place, key, value in rows if value is not None}
        assert len(cells) == sum(value is not None for *_, value in rows), "the pivot has a cell twice"
        return cells

    def wide(self) -> dict[Cell, str]:
        """The cells that there are; no row is without one."""
        cells: dict[Cell, str] = {}
        with self.session() as session:
            views = session.execute("SELECT DISTINCT entity, schema_name, view_name FROM widebeam.tables").fetchall()
            for entity, schema, view in views:
                keys = dict(
                    session.execute(
                        "SELECT column_name, key FROM widebeam.columns WHERE entity = %s", [entity]
                    ).fetchall()
                )
                query = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT (FORMAT csv, HEADER, NULL '~')")
                with session.cursor().copy(query.format(sql.Identifier(schema, view))) as copy:
                    text = b"".join(map(bytes, copy)).decode()
                for row in csv.DictReader(io.StringIO(text, newline="")):
                    place = "|".join(value for name, value in row.items() if name not in keys and name != "_lsn")
                    filled = {keys[name]: value for name, value in row.items() if name in keys and value != "~"}
                    assert filled, f"a row of {view} has no cell: {row}"
                    cells |= {(entity, place, key): value for key, value in filled.items()}
        return cells

    def prove(self) -> int:
        """Both sides are equal, by the independent pivot and by our own verify; how many cells."""
        narrow, wide = self.narrow(), self.wide()
        wrong = {cell: (narrow.get(cell), wide.get(cell)) for cell in narrow.keys() | wide.keys()
                 if narrow.get(cell) != wide.get(cell)}  # fmt: skip
        assert not wrong, f"{len(wrong)} of {len(narrow)} cells differ: {sorted(wrong.items())[:6]}\n{self.said()}"
        verified = self.ask("verify")
        assert verified["differences"] == 0, str(verified)[:1500]
        with self.session() as session:
            assert session.execute("SELECT reason, detail FROM widebeam.quarantine").fetchall() == []
        return len(narrow)

    def _env(self) -> dict[str, str]:
        dsns = {"WIDEBEAM_SOURCE__DSN": self.dsn, "WIDEBEAM_TARGET__DSN": self.dsn}
        return {**os.environ, "WIDEBEAM_BACKFILL__CHUNK_ROWS": "1500", **dsns, **self.environment}


def _answered(proposal: str) -> str:
    """What init asks and no connector runs without: which row holds where several come to one cell. Here the last."""
    if 'several = "refuse"' not in proposal:
        return proposal
    return proposal.replace('several = "refuse"', 'several = "last"').replace("# order_by =", "order_by =")
