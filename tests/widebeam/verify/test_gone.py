"""What a dropped partition leaves in the wide tables is told as a range, and stays there once somebody says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cdc.source.session import connect
from sink.state import notices
from sink.state.notices import Notice
from tests.plant import Plant
from tests.widebeam.verify.test_unfinished import FILE, WHERES
from widebeam import terminal
from widebeam.cli import app
from widebeam.verify.cells import Sums
from widebeam.verify.gone_runs import GoneRuns, Run
from widebeam.verify.proof import Gone, VerifyReport

TABLE = """
CREATE TABLE n (e text, t timestamp, k text, v float8, PRIMARY KEY (e, k, t)) PARTITION BY RANGE (t);
CREATE TABLE n1 PARTITION OF n FOR VALUES FROM ('2025-12-01') TO ('2026-01-11');
CREATE TABLE n2 PARTITION OF n FOR VALUES FROM ('2026-01-11') TO ('2026-01-14');
CREATE TABLE n3 PARTITION OF n FOR VALUES FROM ('2026-01-14') TO ('2026-02-01');
INSERT INTO n SELECT e, t, 'a', 1 FROM unnest('{s1,s2}'::text[]) AS e,
    generate_series('2026-01-01'::timestamp, '2026-01-20', '6 hours') AS t WHERE e = 's1' OR extract(day FROM t) < 5;
CREATE INDEX ON n (t);
ANALYZE n;
"""
FIRST, LAST = "2026-01-01 00:00:00", "2026-01-10 18:00:00"


def _one(cells: int) -> Sums:
    return Sums(cells, cells * 7)


@pytest.mark.parametrize(
    ("bounds", "taken", "runs"),
    [
        ((), [({1: 2, 2: 1}, []), ({3: 1}, [])], [(1, 3, 3, 4)]),
        ((), [({1: 2, 3: 1}, [2])], [(1, 1, 1, 2), (3, 3, 1, 1)]),
        ((), [({1: 2}, []), ({}, [5]), ({7: 1}, [])], [(1, 1, 1, 2), (7, 7, 1, 1)]),
        (((2, 3),), [({1: 1, 2: 1, 3: 1, 4: 1}, [])], [(1, 1, 1, 1), (2, 3, 2, 2), (4, 4, 1, 1)]),
        (((2, 9),), [({1: 1}, []), ({20: 1}, [])], [(1, 1, 1, 1), (20, 20, 1, 1)]),
    ],
    ids=["over two ranges", "rows between", "a range with rows between", "what is known is cut out", "beyond it"],
)
def test_a_run_ends_where_there_are_rows_and_at_the_ends_of_what_is_known(bounds, taken, runs):
    made = GoneRuns(bounds)
    for gone, there in taken:
        made.take({moment: _one(cells) for moment, cells in gone.items()}, there)
        if not gone:
            made.pass_rows()
    assert made.runs == [Run(*run, run[-1] * 7) for run in runs]


def _dropped(plant: Plant, *partitions: str) -> None:
    for each in partitions:
        plant.execute(f"DROP TABLE {each}")
        with connect(plant.dsn, autocommit=True) as session:
            notices.add(session, plant.connector.name, Notice("public.n", "gone", f"public.{each}", f"{each} is gone"))


@WHERES
def test_what_a_dropped_partition_leaves_is_a_range_that_may_stay_as_it_is(database: str, tmp_path: Path, where: str):
    where = where and 'where = { e = ["s1", "s2"] }'
    plant = Plant(database, tmp_path / "kept.toml", FILE.format(dsn=database, where=where))
    plant.execute(TABLE)
    plant.prepare()
    plant.backfill()
    assert plant.verify(0).differences == 0
    _dropped(plant, "n1")
    report = plant.verify(0)
    assert [(each.lower, each.upper, each.moments, each.cells) for each in report.gone] == [(FIRST, LAST, 40, 40 + 16)]
    assert (report.differences, report.right) == (0, False)

    def said(*options: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["verify", str(plant.file), *options])
        return done.exit_code, " ".join(done.output.split())

    code, text = said()
    assert code == 1
    assert f"{FIRST} to {LAST}: 56 cells in the wide tables, and no narrow row" in text
    assert "0 differences, and 1 range of which the source has no row any more" in text
    assert said("--acknowledge")[0] == 0
    code, text = said()
    assert (code, "may stay, said postgres at " in text, "is gone" in text) == (0, True, False), text

    _dropped(plant, "n2")  # beside it: the next month
    report = plant.verify(0)
    assert [(each.cells, each.acknowledged) for each in report.gone] == [(56, True), (12, False)]
    assert said("--acknowledge")[0] == 0

    plant.execute("UPDATE wide.s1__1 SET a = 2 WHERE t IN (%s, '2026-01-15')", LAST)
    report = plant.verify(0)
    assert report.differences == 1, "of what the source has, each cell is compared"
    assert [(each.cells, each.had, each.acknowledged) for each in report.gone] == [(56, 56, False), (12, 12, True)]
    plant.execute("UPDATE wide.s1__1 SET a = 1 WHERE t IN (%s, '2026-01-15')", LAST)
    assert plant.verify(0).right

    plant.execute("CREATE TABLE n1 PARTITION OF n FOR VALUES FROM ('2025-12-01') TO ('2026-01-11')")
    plant.execute("INSERT INTO n1 VALUES ('s1', %s, 'a', 3), ('s1', '2026-01-02', 'a', NULL)", LAST)
    report = plant.verify(0)
    assert report.differences == 3, "at a moment that has a row, also one without a value, every cell is compared"
    assert [each.acknowledged for each in report.gone] == [*[False] * (len(report.gone) - 1), True]


def test_the_sum_of_many_hashes_fits_into_json():
    report = VerifyReport("one", gone=[Gone(FIRST, LAST, 1, 2**40, total=2**96)])
    assert f'"total":"{2**96}"' in terminal.json(report.as_dict())


def test_what_is_gone_without_a_notice_is_a_difference(database: str, tmp_path: Path):
    plant = Plant(database, tmp_path / "kept.toml", FILE.format(dsn=database, where=""))
    plant.execute(TABLE)
    plant.prepare()
    plant.backfill()
    plant.execute("DELETE FROM n WHERE t < '2026-01-03'")
    report = plant.verify(0)
    assert (report.differences, report.gone) == (16, [])
