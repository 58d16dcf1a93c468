"""Rows that fill one cell although none are to meet (`several` = "refuse"): they are told, whatever their order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from cdc.session import connect
from snapshot.run import Backfill, BackfillSettings
from widebeam import config
from widebeam.fence import Fence
from widebeam.parts import run_stream
from widebeam.prepare import prepare
from widebeam.proof import VerifyReport, VerifySettings
from widebeam.verify import verify

FILE = """
[source]
dsn = "{dsn}"
tables = ["public.a", "public.b"]
entity = ["ship"]
time = "at"
key = "name"
[source.dictionary]
column = "id"
query = "SELECT id, name FROM public.names"
[source.value]
columns = ["v"]
[target]
dsn = "{dsn}"
layout = "single"
"""

TABLES = """
CREATE TABLE names (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO names VALUES (1, 'speed'), (2, 'heat'), (3, 'depth');
CREATE TABLE a (ship text, at date, id int, v int, PRIMARY KEY (ship, at, id));
CREATE TABLE b (ship text, at date, id int, v int, PRIMARY KEY (ship, at, id));
"""


class Tables:
    """Two narrow tables and their connector, worked in this process."""

    def __init__(self, dsn: str, file: Path) -> None:
        self.dsn = dsn
        file.write_text(FILE.format(dsn=dsn))
        self.connector = config.load(str(file), {})
        self.execute(TABLES)

    def execute(self, statement: str) -> list[Any]:
        with connect(self.dsn, autocommit=True) as session:
            cursor = session.execute(f"SET search_path = public; {statement}".encode())
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def prepare(self) -> None:
        self.ready = prepare(self.connector)

    def backfill(self) -> None:
        Backfill(BackfillSettings(self.ready.mapping, self.dsn, self.dsn)).run(Event())

    def verify(self) -> VerifyReport:
        return verify(VerifySettings(self.ready.mapping, self.dsn, self.dsn, patience=0.05))

    def pass_all(self) -> None:
        with connect(self.dsn, autocommit=True) as session:
            fence = Fence(session, session, self.connector.name, 60)
            fence.pass_all()
            assert fence.holds

    @contextmanager
    def streaming(self) -> Iterator[None]:
        stop = Event()
        thread = Thread(target=run_stream, args=[self.connector, self.ready, stop])
        thread.start()
        try:
            yield
            self.pass_all()
        finally:
            stop.set()
            thread.join()

    def cells(self) -> dict[tuple[str, str], str]:
        """(day, key) -> value."""
        keys = [name for (name,) in self.execute("SELECT key FROM widebeam.columns")]
        rows = self.execute("SELECT to_jsonb(t) FROM wide.refused t")
        return {(row["at"], key): row[key] for (row,) in rows for key in keys if row[key] is not None}

    def told(self) -> set[tuple[str, str]]:
        """Table and reading of the rows in quarantine."""
        rows = self.execute("SELECT reason, raw::jsonb ->> 'table', raw::jsonb -> 'row' ->> 2 FROM widebeam.quarantine")
        assert {reason for reason, *_ in rows} <= {"crowded_cell"}
        return {(table.removeprefix("public."), value) for _, table, value in rows}


@pytest.fixture
def tables(database: str, tmp_path: Path) -> Tables:
    return Tables(database, tmp_path / "refused.toml")


def test_verify_names_a_cell_that_two_tables_fill_with_both_values_whatever_it_holds(tables):
    a = "('s', '2024-01-01', 1, 5), ('s', '2024-01-02', 1, 6), ('s', '2024-01-03', 1, 7)"
    b = "('s', '2024-01-01', 1, 9), ('s', '2024-01-02', 1, 6), ('s', '2024-01-03', 1, NULL)"
    tables.execute(f"INSERT INTO a VALUES {a}; INSERT INTO b VALUES {b}")
    tables.prepare()
    tables.backfill()
    report = tables.verify()
    ((cell),) = report.differing
    assert (cell.time, cell.key, cell.narrow) == (("2024-01-01",), "speed", "public.a: 5; public.b: 9")
    assert cell.wide in ("5", "9")
    assert report.differences == 1
