"""What can be seen of a connector from outside, in each of its states, and as texts."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from rich.console import Console
from rich.text import Text

from cdc.halt import Cause, Halt
from sink.mapping.wide import Column, Entity, Part
from sink.wide.widen import not_widened
from tests.readings import FILE, NARROW
from widebeam.config.config import load
from widebeam.config.connector import Connector
from widebeam.config.options.server import Dsn
from widebeam.setup.prepare import prepare
from widebeam.state import halts
from widebeam.state.restart_log import Restart
from widebeam.status import progress
from widebeam.status.progress import Bars, Lines, Rate, backfill_text, flow_text
from widebeam.status.quantity import count, duration, size
from widebeam.status.status import Backfill, HaltSeen, Status, Stream
from widebeam.status.view import page
from widebeam.status.viewer import Viewer


@pytest.fixture
def plant(database: str, tmp_path: Path) -> Connector:
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(NARROW)
    file = tmp_path / f"status_{uuid4().hex[:8]}.toml"
    file.write_text(FILE.format(dsn=database))
    return load(str(file), {})


def look(connector: Connector, ours: str | None = None) -> Status:
    """`ours`: a process of the connector that looks, so that somebody runs it."""
    viewer = Viewer(connector, ours)
    try:
        return viewer.read()
    finally:
        viewer.close()


def execute(connector: Connector, statement: str) -> None:
    with psycopg.connect(connector.options.target.conninfo(), autocommit=True) as session:
        session.execute(statement)


def test_the_states_from_absent_to_converged(plant):
    assert look(plant).state == "absent"
    prepare(plant)
    seen = look(plant, "run")
    assert (seen.state, seen.backfill.planned, len(seen.partitions), seen.generation) == ("backfilling", 1, 8, 0)
    execute(plant, "UPDATE widebeam.connectors SET planned_at = NULL")
    assert look(plant, "run").state == "preparing"
    execute(plant, "UPDATE widebeam.connectors SET planned_at = now()")
    execute(plant, "UPDATE widebeam.chunks SET state = 'merged', rows = 10, cells = 9, seconds = 2, merged_at = now()")
    seen = look(plant, "run")
    assert (seen.state, seen.backfill.rows, seen.backfill.eta_s) == ("streaming", 10, None)
    execute(plant, "UPDATE widebeam.connectors SET converged_at = now()")
    assert look(plant, "run").state == "converged"


def test_a_connector_that_nobody_runs_is_stopped_and_names_the_wal_that_it_holds(plant):
    prepare(plant)
    execute(plant, "UPDATE widebeam.connectors SET converged_at = now(); UPDATE widebeam.chunks SET state = 'merged'")
    seen = look(plant)
    assert (seen.state, seen.phase, seen.command) == ("stopped", "converged", f"widebeam run {plant.name}")
    assert "of WAL on the source" in seen.cause


def test_a_slot_that_is_gone_is_told_whether_or_not_somebody_runs_it(plant):
    prepare(plant)
    execute(plant, f"SELECT pg_drop_replication_slot('{plant.slot}')")
    for ours in ("run", None):
        seen = look(plant, ours)
        assert (seen.state, seen.command) == ("lost", f"widebeam resume {plant.name} --backfill-gap")


def test_a_target_that_takes_no_writes_is_told(plant):
    prepare(plant)
    with psycopg.connect(plant.options.target.conninfo(), autocommit=True) as session:
        row = session.execute("SELECT current_database()").fetchone()
        session.execute(f"ALTER DATABASE {row[0]} SET default_transaction_read_only = on")
    assert look(plant, "run").state == "stuck"
    assert "takes no writes" in look(plant, "run").cause


def test_rows_of_which_most_go_to_the_quarantine_are_an_alarm_that_names_the_column(plant):
    prepare(plant)
    execute(
        plant,
        "UPDATE widebeam.progress SET recent_rows = 5, recent_since = now() - interval '30 s';"
        "INSERT INTO widebeam.quarantine (connector, origin, position, reason, detail, raw)"
        " SELECT connector, '1:' || n || ':0', '0/1', 'null_wide_key', 'the time is NULL', '{}'"
        " FROM widebeam.connectors, generate_series(1, 30) n",
    )
    seen = look(plant, "run")
    assert seen.state == "impaired"
    assert "30 of the last 40 rows" in seen.cause and "time at" in seen.cause
    execute(plant, "UPDATE widebeam.progress SET recent_rows = 50")
    assert look(plant, "run").state == "backfilling"


def test_a_column_that_was_not_widened_is_named_as_long_as_readings_wait_for_it(plant):
    prepare(plant)
    entity = Entity('["s"]', "s", {1: Part('["s"]', 1, "wide", "s__1", "s")})
    reason, detail = not_widened(entity, Column(1, 1, "k", "k", "integer", "v"), "numeric", "it is too large: do so")
    execute(plant, f"""
        INSERT INTO widebeam.quarantine (connector, origin, position, reason, detail, raw)
        SELECT connector, n || '', '0/1', '{reason}', $${detail}$$, '{{}}'
        FROM widebeam.connectors, generate_series(1, 3) n""")  # fmt: skip
    (notice,) = look(plant, "run").notices
    assert notice.startswith('3 readings wait in the quarantine: the column "k" of "wide"."s__1" is a integer')
    assert notice.endswith("it is too large: do so")
    execute(plant, "DELETE FROM widebeam.quarantine")
    assert look(plant, "run").notices == ()


def test_a_halt_is_seen_with_its_cause_and_remedy_and_the_first_one_stands(plant):
    prepare(plant)
    target = plant.options.target.conninfo()
    halts.record(target, plant.name, Halt(Cause.SLOT_GONE, "it is gone", "make it anew"))
    halts.record(target, plant.name, Halt(Cause.TRUNCATE, "later", "whatever"))
    seen = look(plant)
    assert seen.state == "halted"
    assert (seen.halt.cause, seen.halt.what, seen.halt.remedy) == ("slot_gone", "it is gone", "make it anew")
    with psycopg.connect(target, autocommit=True) as session:
        halts.clear(session, plant.name, before=0.0)
        assert look(plant).state == "halted"
        halts.clear(session, plant.name)
    assert look(plant, "run").state == "backfilling"


def test_the_slot_and_the_lag_in_bytes_are_seen(plant):
    prepare(plant)
    before = look(plant)
    assert before.slot.active is False
    execute(plant, "CREATE TABLE tenant.noise AS SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
    after = look(plant)
    assert after.stream.lag_bytes > before.stream.lag_bytes + 900_000
    assert after.slot.retained_bytes >= after.stream.lag_bytes


def test_latency_and_progress_are_added_up_over_partitions(plant):
    prepare(plant)
    histogram = "{" + ",".join(["0"] * 20 + ["100"] + ["0"] * 51) + "}"
    execute(plant, f"UPDATE widebeam.progress SET rows = 5, cells = 4, latency = '{histogram}'")
    seen = look(plant)
    assert (seen.stream.rows, seen.stream.cells) == (40, 32)
    assert 1.25**19 <= seen.latency_ms["p50"] <= 1.25**20


def test_a_server_that_does_not_answer_is_a_problem_and_no_crash(plant, monkeypatch):
    prepare(plant)
    source = plant.options.source.model_copy(update={"dsn": Dsn("host=127.0.0.1 port=1 dbname=x")})
    options = plant.options.model_copy(update={"source": source})
    seen = look(Connector(plant.name, plant.file, options), "run")
    assert seen.state == "backfilling"
    assert seen.cause == seen.problems[0]
    assert seen.slot is None
    assert "source: " in seen.problems[0]
    target = plant.options.target.model_copy(update={"dsn": Dsn("host=127.0.0.1 port=1 dbname=x")})
    seen = look(Connector(plant.name, plant.file, plant.options.model_copy(update={"target": target})))
    assert seen.problems[0].startswith("target: ")
    assert seen.state == "unreachable"


def test_json_holds_everything_as_plain_values(plant):
    prepare(plant)
    seen = json.loads(json.dumps(look(plant).as_json()))
    assert seen["backfill"]["chunks"] == 1
    assert len(seen["partitions"]) == 8
    assert datetime.fromisoformat(seen["at"]).tzinfo is not None


def status(**more: object) -> Status:
    return Status("plant", "backfilling", datetime.now(UTC), "direct", **more)


def test_the_page_shows_names_as_text_and_the_halt_first():
    console = Console(width=100, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(page(status(halt=HaltSeen("slot_gone", "[red]the slot[/red]", "make it anew", None))))
    text = captured.get()
    assert "[red]the slot[/red]" in text
    assert text.index("make it anew") < text.index("quarantine")


def test_the_page_names_the_parts_that_were_started_again_and_of_what_they_died():
    died = Restart("host", "sink 1", 7, "was ended by SIGSEGV", datetime.now(UTC))
    console = Console(width=100)
    with console.capture() as captured:
        console.print(page(status(restarts=(died,))))
    assert "sink 1, 7 times, last at" in captured.get()
    assert "was ended by SIGSEGV" in captured.get()


def test_texts_for_people():
    backfill = Backfill(chunks=9, planned=6, merged=2, void=1, rows=1_234_567, rows_s=310_000.0, eta_s=12.4)
    assert backfill_text(status(backfill=backfill), 310_000) == (
        "backfill 3 of 9 chunks, 1.2 M rows, 310 k rows/s, 12 s left"
    )
    stream = Stream(lag_bytes=3_250_586, lag_seconds=0.21, rows=90)
    assert flow_text(status(stream=stream, quarantine=2), 12_345) == (
        "stream 12 k rows/s, 90 rows, 3.1 MB and 0.2 s behind, 2 in quarantine"
    )
    assert [count(n) for n in (0, 999, 1000, 10_000, 2e9)] == ["0", "999", "1.0 k", "10 k", "2.0 G"]
    assert [size(n) for n in (0, 2048, 5 << 30)] == ["0 B", "2.0 kB", "5.0 GB"]
    assert [duration(n) for n in (0.04, 42, 200, 7500)] == ["0.0 s", "42 s", "3 min 20 s", "2 h 5 min"]


def test_a_rate_is_of_the_last_ten_seconds():
    rate = Rate()
    assert rate.see(0, 0.0) == 0
    assert rate.see(1000, 1.0) == 1000
    for second in range(2, 30):
        last = rate.see(1000, float(second))
    assert last == 0


def test_without_a_terminal_a_line_comes_every_few_seconds(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = Lines(sys.stderr)
    for _ in range(12):
        lines.show(status())
        now[0] += 1.0
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 3
    assert shown[0].startswith("plant backfilling: backfill 0 of 0 chunks")


def test_on_a_terminal_two_bars_fit_80_columns_and_the_log_is_above_them():
    out = io.StringIO()
    bars = Bars(Console(file=out, force_terminal=True, width=80))
    backfill = Backfill(chunks=9, planned=6, merged=3, rows=1_234_567, rows_expected=3_000_000, eta_s=200.0)
    bars.show(status(backfill=backfill, stream=Stream(lag_bytes=3_250_586, lag_seconds=0.21)))
    bars.line("a line of a [part]")
    bars.close()
    shown = Text.from_ansi(out.getvalue()).plain
    assert "3 of 9 chunks, 1.2 M rows, 0 rows/s, 3 min 20 s left" in shown
    assert "backfilling, 0 rows/s, 3.1 MB and 0.2 s behind" in shown
    assert "a line of a [part]" in shown
