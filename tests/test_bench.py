"""The benches run, and say what they should; how fast anything is, is not asked here."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import psycopg
import pytest

from tests.bench import page, peers, plot, reference
from tests.bench.ideas import IDEAS
from tests.bench.report import load, reporting
from tests.bench.run import STAGES, wanted

ROOT = Path(__file__).parents[1]


def test_a_stage_alone_says_rates_costs_memory_and_the_limit(tmp_path: Path) -> None:
    kept = tmp_path / "lines"
    command = [sys.executable, "-m", "tests.bench.run", "--only", "backfill.one_worker", "--rows", "4000"]
    done = subprocess.run(
        [*command, "--json", str(kept)], capture_output=True, text=True, check=False, cwd=ROOT, timeout=240
    )
    assert done.returncode == 0, done.stderr + done.stdout
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert said == load(kept)
    about, line = said
    assert {"date", "commit", "cpu", "cores", "memory_gb", "postgres"} <= about["about"].keys()
    assert (line["stage"], line["rows"]) == ("backfill.one_worker", 4000)
    assert all(line[name] > 0 for name in ("rows_s", "seconds", "peak_mb"))
    assert line["limit"]["rows_s"] > 0
    assert line["processes"].keys() == {"backfill"}
    assert line["servers_cpu_us_row"].keys() == {"postgres"}


def test_stages_are_chosen_by_name_or_by_the_first_part_of_it() -> None:
    assert wanted([]) == STAGES
    assert list(wanted(["capture.updates", "latency"])) == ["capture.updates", *[f"latency.{n}k" for n in (1, 10, 50)]]


def test_a_record_and_a_narrow_row_of_the_same_number_are_the_same_reading(database: str) -> None:
    fleet = reference.Fleet(ships=2, channels=30)
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(reference.DDL)
        reference.write(database, 0, 3 * fleet.tick_rows, per_transaction=7, fleet=fleet)
        columns = ", ".join(f"{name}::text" for name in reference.TABLE.columns)
        found = session.execute(f"SELECT {columns} FROM tenant.tbl_data_timeseries").fetchall()
    made = [(*wide.values(), *row[1:]) for tick in range(3) for wide, rows in fleet.wide_rows(tick) for row in rows]
    as_text = {"t": "true", "f": "false"}
    assert sorted(found, key=str) == sorted((tuple(as_text.get(v, v) for v in row) for row in made), key=str)


def test_a_bar_compares_with_its_goal_and_does_not_hold_where_a_stage_failed() -> None:
    line = {"rows_s": 100, "peak_mb": 10}
    assert peers.Bar(line, {"rows_s": 10}, "rows_s", least=6).judged() == {"value": 10, "goal": ">= 6", "holds": True}
    assert not peers.Bar(line, {"peak_mb": 15}, "peak_mb", most=0.5).judged()["holds"]
    assert peers.Bar({"failed": "x"}, line, "rows_s", least=6).judged() == {
        "value": None,
        "goal": ">= 6",
        "holds": False,
    }


def test_the_page_says_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever edits the page by hand, or keeps other figures without it, is told."""
    written = page.PAGE.read_text()
    drawn = {each.file.name: each.file.read_bytes() for each in plot.PLOTS if each.file.exists()}
    kept = tmp_path / "performance"
    if page.KEPT.exists():
        shutil.copytree(page.KEPT, kept)
    for module in (page, plot):
        monkeypatch.setattr(module, "KEPT", kept)
    monkeypatch.setattr(page, "PAGE", tmp_path / "performance.md")
    page.write()
    assert page.PAGE.read_text() == written
    assert {each.file.name: each.file.read_bytes() for each in plot.PLOTS if each.file.exists()} == drawn


def test_a_plot_of_the_same_figures_is_the_same_on_any_day(monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(date):
        @classmethod
        def today(cls) -> Later:
            return cls(2031, 7, 9)

    curves = {"sink": {1_000: 2e5, 10_000: 1e5}}
    drawn = plot.drawn(plot.PLOTS[0], curves)
    monkeypatch.setattr("pygal.svg.date", Later)
    assert plot.drawn(plot.PLOTS[0], curves) == drawn


def test_each_way_that_was_not_taken_stands_beside_ours(tmp_path: Path) -> None:
    kept = tmp_path / "lines"
    some = ["tuples", "copy_form", "few", "fillfactor"]
    command = [sys.executable, "-m", "tests.bench.ideas", "--only", *some, "--rows", "4000", "--json", str(kept)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=240)
    assert done.returncode == 0, done.stderr + done.stdout
    found = {line["idea"]: line for line in load(kept)[1:]}
    assert list(found) == some
    assert found.keys() < IDEAS.keys()
    for line in found.values():
        assert line["ours"] in line["ways"]
        assert len(line["ways"]) == 2
        assert all(cost["us"] > 0 for cost in line["ways"].values())


ABOUT = {"date": "d", "commit": "c", "cpu": "x", "cores": 2, "memory_gb": 1, "system": "s", "python": "3",
         "postgres": "18", "load": 0.1}  # fmt: skip


def test_the_page_names_what_failed_and_what_breaks_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    each = {"cpu_us_row": 2.0, "peak_mb": 70}
    limit = {"rows_s": 1_000_000, "what": "COPY out | COPY in"}
    rate = {"cpu_us_row": 2.0, "processes": {"part": each}, "servers_cpu_us_row": {"postgres": 3.0}, "limit": limit}
    lines = [
        {"about": ABOUT},
        {"stage": "capture.grouped", "rows_s": 100_000, **rate},
        {"stage": "capture.single_row", "rows_s": 50_000, **rate},
        {"stage": "sink.whole_rows", "rows_s": 500_000, **rate},
        {"stage": "chain", "rows_s": 100_000, "bytes_row": {"wal": 200.0, "kafka": 15.0}, **rate},
        {"stage": "capture.updates", "failed": "Stalled: capture ended"},
    ]
    cost = {"us": 1.5, "server_cpu_us": 1.25, "client_cpu_us": 0.5}
    idea = {
        "idea": "x",
        "says": "This or that.",
        "why": "So.",
        "each": "cell",
        "ours": "this",
        "ways": {"this": cost, "that": cost},
    }
    ideas = [{"about": ABOUT}, idea, {"idea": "y", "failed": "OSError: disk full"}]
    (tmp_path / "ideas.jsonl").write_text("".join(json.dumps(line) + "\n" for line in ideas))
    (tmp_path / "bench.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for module in (page, plot):
        monkeypatch.setattr(module, "KEPT", tmp_path)
    monkeypatch.setattr(page, "PAGE", tmp_path / "performance.md")
    page.write()
    written = page.PAGE.read_text()
    assert r"COPY out \| COPY in" in written
    assert "**Failed**: capture.updates: `Stalled: capture ended`" in written
    assert "if each row is a transaction of its own, would have 4.6 times what it can take" in written
    assert "**4 replication slots**" in written
    assert "This or that. Ours is **this**. So.\n\n| way |" in written
    assert "| this | 1.5 | 1.25 | 0.5 | cell |  |\n| that |" in written
    assert "**Failed**: y: `OSError: disk full`" in written


def test_what_was_measured_before_a_failure_is_kept(tmp_path: Path) -> None:
    given = argparse.Namespace(keep=False, json=tmp_path / "lines")
    with pytest.raises(OSError, match="disk"), reporting(given, "bench") as report:
        report.say({"stage": "one"})
        raise OSError("disk full")
    assert load(tmp_path / "lines")[1:] == [{"stage": "one"}]
