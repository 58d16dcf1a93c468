"""Rows that fill one cell although none are to meet (`several` = "refuse"): they are told, whatever their order."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from cdc.failpoint import Failpoint, Injected, armed
from cdc.source.session import connect
from sink.lookup import Lookup
from tests.plant import Plant
from widebeam.config import config
from widebeam.quarantine.quarantined_row import Retried
from widebeam.quarantine.retry import Retry
from widebeam.quarantine.store import Choice
from widebeam.verify.proof import VerifyReport

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

REACHED = {Failpoint.ORIGINS_WRITTEN}


class Tables(Plant):
    """Two narrow tables and their connector, worked in this process."""

    def __init__(self, dsn: str, file: Path) -> None:
        super().__init__(dsn, file, FILE.format(dsn=dsn))
        self.execute(TABLES)

    def verify(self, patience: float = 0.05) -> VerifyReport:
        return super().verify(patience)

    def cells(self) -> dict[tuple[str, str], int]:
        """(day, key) -> value."""
        keys = [name for (name,) in self.execute("SELECT key FROM widebeam.columns")]
        rows = self.execute("SELECT to_jsonb(t) FROM wide.refused t")
        return {(row["at"], key): row[key] for (row,) in rows for key in keys if row[key] is not None}

    def retry(self) -> Retried:
        lookup = Lookup(self.dsn, self.connector.name, self.ready.mapping.rule.dictionary)
        with (
            connect(self.dsn, autocommit=True) as source,
            connect(self.dsn, autocommit=True) as target,
            closing(lookup),
        ):
            return Retry(source, target, self.ready.mapping, lookup=lookup).run(Choice(self.connector.name))

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
    with armed(f"{Failpoint.ORIGINS_WRITTEN}=error"), pytest.raises(Injected, match=r"origins\.written"):
        tables.backfill()
    tables.backfill()
    report = tables.verify()
    ((cell),) = report.differing
    assert (cell.time, cell.key, cell.narrow) == (("2024-01-01",), "speed", "public.a: 5; public.b: 9")
    assert cell.wide in ("5", "9")
    assert report.differences == 1
    assert tables.told() == {("a", "5"), ("b", "9")}
    tables.execute("UPDATE wide.refused__1 SET speed = NULL WHERE at = '2024-01-01'")
    assert tables.verify().differences == 1, "of a cell that several rows fill, no entry explains that it is empty"


def test_rows_that_come_by_the_stream_are_told_and_what_is_left_of_them_holds_the_cell(tables):
    tables.prepare()
    tables.backfill()
    with tables.streaming():
        tables.execute("INSERT INTO a VALUES ('s', '2024-01-01', 1, 5), ('s', '2024-01-02', 1, 6)")
        tables.pass_all()
        tables.execute("INSERT INTO b VALUES ('s', '2024-01-01', 1, 9)")
        tables.pass_all()
        assert tables.told() == {("a", "5"), ("b", "9")}
        assert tables.cells()["2024-01-01", "speed"] in (5, 9)
        assert {each.narrow for each in tables.verify().differing} == {"public.a: 5; public.b: 9"}
        assert tables.retry().stayed == 2
        tables.execute("DELETE FROM b")
    assert tables.cells() == {("2024-01-01", "speed"): 5, ("2024-01-02", "speed"): 6}
    assert tables.verify().right
    done = tables.retry()
    assert (len(done.placed), done.gone, done.stayed) == (1, [], 0)  # the delete has closed the entry of its row
    assert tables.told() == set()


def test_a_row_that_moves_to_another_table_keeps_its_cell_and_nobody_is_alarmed(tables):
    tables.execute(
        "INSERT INTO a VALUES ('s', '2024-01-01', 1, 5), ('s', '2024-01-02', 1, 6), ('s', '2024-01-03', 1, 7)"
    )
    tables.prepare()
    tables.backfill()
    before = tables.cells()
    with tables.streaming():
        tables.execute("INSERT INTO b SELECT * FROM a WHERE v = 5; DELETE FROM a WHERE v = 5")
        tables.execute("BEGIN; INSERT INTO b SELECT * FROM a WHERE v = 6; DELETE FROM a WHERE v = 6; COMMIT")
        tables.execute("WITH old AS (DELETE FROM a WHERE v = 7 RETURNING *) INSERT INTO b SELECT * FROM old")
    assert tables.cells() == before != {}
    assert tables.told() == set()
    assert tables.verify().right


def test_a_chunk_tells_of_rows_that_the_stream_has_brought_of_another_table(tables):
    tables.execute("INSERT INTO b VALUES ('s', '2024-01-01', 1, 9), ('s', '2024-01-02', 1, 6)")
    tables.prepare()
    with tables.streaming():
        tables.execute("INSERT INTO a VALUES ('s', '2024-01-01', 1, 5), ('s', '2024-01-03', 1, 7)")
        tables.pass_all()
        assert tables.told() == set()
        tables.backfill()
    assert tables.told() == {("a", "5"), ("b", "9")}
    assert tables.cells()["2024-01-02", "speed"] == 6


def test_ids_that_come_to_one_name_while_it_runs_are_told_where_they_meet_and_not_where_they_follow(tables):
    tables.prepare()
    tables.backfill()
    with tables.streaming():
        tables.execute("INSERT INTO a VALUES ('s', '2024-01-01', 1, 5), ('s', '2024-01-02', 1, 6)")
        tables.pass_all()
        tables.execute("INSERT INTO names VALUES (4, 'speed')")
        tables.execute("INSERT INTO a VALUES ('s', '2024-01-02', 4, 8), ('s', '2024-01-03', 4, 9)")
        tables.execute("UPDATE a SET v = 10 WHERE v = 9")
    assert tables.told() == {("a", "6"), ("a", "8")}
    assert tables.cells()["2024-01-03", "speed"] == 10
    assert tables.verify().differences == 1


def test_where_deletes_are_ignored_a_row_does_not_meet_itself_as_it_was(tables):
    file = tables.connector.file
    file.write_text(file.read_text() + '[sink]\non_delete = "ignore"\n')
    tables.connector = config.load(str(file), {})
    tables.prepare()
    with tables.streaming():
        tables.execute("INSERT INTO a VALUES ('s', '2024-01-01', 1, 5); INSERT INTO b VALUES ('s', '2024-01-02', 1, 6)")
        tables.pass_all()
        for change in ("UPDATE a SET v = 7", "UPDATE a SET v = 8", "UPDATE b SET v = 9", "DELETE FROM b"):
            tables.execute(change)  # a transaction each: the first may be read when the second is there
    assert tables.cells() == {("2024-01-01", "speed"): 8, ("2024-01-02", "speed"): 9}
    assert tables.told() == set()
