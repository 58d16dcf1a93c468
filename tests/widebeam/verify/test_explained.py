"""What an entry of the quarantine explains to verify: a cell that is empty for it, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plant import Plant

FILE = """
[source]
dsn = "{dsn}"
table = "public.n"
entity = ["e"]
time = "t"
key = "k"
{where}
[source.value]
columns = ["v", "s"]
[target]
dsn = "{dsn}"
"""

TABLE = """
CREATE TABLE n (id int PRIMARY KEY, e text, t timestamptz, k text, v float8, s text);
ALTER TABLE n REPLICA IDENTITY FULL;
INSERT INTO n VALUES (1, 's1', '2026-01-01', 'a', 1, NULL);
"""

WHERES = pytest.mark.parametrize("where", ["", 'where = { e = ["s1"] }'], ids=["a plain rule", "row by row"])


@pytest.fixture
def plant(database: str, tmp_path: Path) -> Callable[[str], Plant]:
    """With a text in the column of floats, which goes into quarantine."""

    def made(where: str) -> Plant:
        made = Plant(database, tmp_path / "masks.toml", FILE.format(dsn=database, where=where))
        made.execute(TABLE)
        made.prepare()
        made.backfill()
        with made.streaming():
            made.execute("INSERT INTO n VALUES (2, 's1', '2026-01-02', 'a', NULL, 'oops')")
        assert made.execute("SELECT reason FROM widebeam.quarantine") == [("type_conflict",)]
        return made

    return made


@WHERES
def test_an_entry_explains_an_empty_cell_and_not_one_that_holds_something(
    plant: Callable[[str], Plant], where: str
) -> None:
    masks = plant(where)
    report = masks.verify(0)
    assert (report.differences, report.quarantined) == (0, 1)
    masks.execute("INSERT INTO wide.s1__1 (t, _lsn, a) VALUES ('2026-01-02', '0/1', 666)")
    report = masks.verify(0)
    assert [(each.narrow, each.wide) for each in report.differing] == [("oops", "666")]
    assert report.quarantined == 0


@WHERES
def test_an_entry_with_another_value_explains_nothing(plant: Callable[[str], Plant], where: str) -> None:
    masks = plant(where)
    masks.execute("UPDATE n SET v = 3, s = NULL WHERE id = 2")
    report = masks.verify(0)
    assert [(each.narrow, each.wide) for each in report.differing] == [("3", None)]
    masks.execute("DELETE FROM n WHERE id = 2")
    assert masks.verify(0).right
    masks.execute("INSERT INTO wide.s1__1 (t, _lsn, a) VALUES ('2026-01-02', '0/1', 777)")
    assert [(each.narrow, each.wide) for each in masks.verify(0).differing] == [(None, "777")]


@WHERES
def test_rows_in_quarantine_are_counted_and_not_their_places(plant: Callable[[str], Plant], where: str) -> None:
    masks = plant(where)
    with masks.streaming():
        masks.execute("INSERT INTO n SELECT n, 's1', NULL, 'a', n % 3 FROM generate_series(11, 20) AS n")
    report = masks.verify(0)
    assert (report.differences, report.in_motion, report.quarantined) == (0, 0, 11)
    masks.execute("DELETE FROM widebeam.quarantine WHERE reason = 'null_wide_key' AND raw LIKE '%\"2\"%'")
    report = masks.verify(0)
    assert (report.differences, report.quarantined) == (4, 7)


def test_a_row_in_quarantine_counts_once_however_many_of_its_cells_are_empty(database: str, tmp_path: Path) -> None:
    file = FILE.replace('["v", "s"]', '["a", "b"]\nmeasures = true').format(dsn=database, where="")
    plant = Plant(database, tmp_path / "rows.toml", file)
    plant.execute(
        "CREATE TABLE n (id int PRIMARY KEY, e text, t timestamptz, k text, a text, b text);"
        "ALTER TABLE n REPLICA IDENTITY FULL;"
        "INSERT INTO n VALUES (1, 's1', '2026-01-01', 'x', '1', '2'), (2, 's1', '2026-01-02', 'x', '3', '4')"
    )
    plant.prepare()
    plant.backfill()
    plant.execute('UPDATE wide.s1__1 SET "x.a" = NULL, "x.b" = NULL WHERE t = \'2026-01-02\'')
    plant.execute(
        "INSERT INTO widebeam.quarantine (connector, origin, reason, detail, raw) VALUES ('rows', 'chunk:1:2', 'test',"
        ' \'\', \'{"table": "public.n", "wide": {"e": "s1", "t": "2026-01-02 00:00:00+00"},'
        ' "columns": ["k", "a", "b"], "row": ["+", "x", "3", "4"]}\')'
    )
    report = plant.verify(0)
    assert (report.differences, report.quarantined) == (0, 1)
