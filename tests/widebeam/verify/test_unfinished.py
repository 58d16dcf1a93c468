"""Beside a backfill that is not done, verify compares what is filled in, and says what it left out and why."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.plant import Plant
from widebeam.cli import app

FILE = """
[source]
dsn = "{dsn}"
table = "public.n"
entity = ["e"]
time = "t"
key = "k"
{where}
[source.value]
columns = ["v"]
[target]
dsn = "{dsn}"
[backfill]
chunk_rows = 100
chunk_hours = 24
"""

TABLE = """
CREATE TABLE n (e text, t timestamp, k text, v float8, PRIMARY KEY (e, k, t));
INSERT INTO n SELECT 's1', t, 'a', 1 FROM generate_series('2026-01-01'::timestamp, '2026-01-20', '1 hour') AS t;
CREATE INDEX ON n (t);
ANALYZE n;
"""

WHERES = pytest.mark.parametrize("where", ["", 'where = { e = ["s1"] }'], ids=["a plain rule", "row by row"])


@WHERES
def test_what_is_still_to_be_filled_in_is_left_out_and_the_rest_is_compared(
    database: str, tmp_path: Path, where: str
) -> None:
    plant = Plant(database, tmp_path / "half.toml", FILE.format(dsn=database, where=where))
    plant.execute(TABLE)
    plant.prepare()
    command = ["verify", str(plant.file)]
    said = CliRunner().invoke(app, command)
    assert (said.exit_code, "nothing was compared" in said.output) == (1, True), said.output
    assert "of the backfill are still to be merged" in " ".join(said.output.split())
    plant.execute("UPDATE widebeam.chunks SET state = 'void' WHERE chunk > 8")
    plant.backfill()
    plant.execute("UPDATE widebeam.chunks SET state = 'planned' WHERE state = 'void'")
    report = plant.verify(0)
    assert (report.differences, report.right, report.left_out > 0, report.unfilled > 0) == (0, False, True, True)
    assert 0 < report.cells < 457
    plant.execute("UPDATE wide.s1__1 SET a = 2 WHERE t = (SELECT min(t) FROM wide.s1__1)")
    assert plant.verify(0).differences == 1
    plant.backfill()
    assert (plant.verify(0).differences, plant.verify(0).left_out) == (1, 0)


def test_an_empty_table_proves_nothing(database: str, tmp_path: Path) -> None:
    plant = Plant(database, tmp_path / "none.toml", FILE.format(dsn=database, where=""))
    plant.execute(TABLE + "DELETE FROM n;")
    plant.prepare()
    plant.backfill()
    said = CliRunner().invoke(app, ["verify", str(plant.file)])
    assert (said.exit_code, "there is no reading to compare" in said.output) == (1, True), said.output
    assert "nothing captures now" in said.output
