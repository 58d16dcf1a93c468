"""The demo, act by act: servers, history, live writer, pipeline, convergence, a stop with a backlog, proof."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from widebeam.demo.gauge import Gauge, Reading, percentiles, rate
from widebeam.demo.history import load
from widebeam.demo.pipeline import Pipeline, PipelineFailed
from widebeam.demo.report import Figures, Rates, Reporter
from widebeam.demo.sample import HISTORY, LIVE, moments
from widebeam.demo.stage import Stage
from widebeam.demo.ticker import Ticker
from widebeam.demo.writer import Writer


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asks for. `rate` in rows a second, `steady` in seconds, `backlog` in rows."""

    rows: int = 2_000_000
    rate: int = 5_000
    steady: float = 8
    backlog: int = 500_000
    direct: bool = False
    keep: bool = False
    as_json: bool = False


@dataclass(slots=True)
class _Show:
    """One performance: what it runs on, and what was measured so far."""

    wishes: Wishes
    reporter: Reporter
    stage: Stage
    began: float

    def pipeline(self) -> Pipeline:
        """`widebeam run`, on the terminal only if somebody watches."""
        watched = self.reporter.console.is_terminal and not self.wishes.keep and not self.wishes.as_json
        log = None if watched else self.stage.directory / "run.log"
        return Pipeline(self.stage.connector_file, log, leashed=not self.wishes.keep)


def perform(wishes: Wishes) -> int:
    """The whole demo: 0 if the wide tables equal the pivot of the narrow one, 1 if not."""
    reporter = Reporter(as_json=wishes.as_json)
    began = time.monotonic()
    servers = "PostgreSQL" if wishes.direct else "PostgreSQL and Kafka"
    with reporter.step(f"Start {servers} on free loopback ports") as step:
        stage = Stage.set(direct=wishes.direct, leashed=not wishes.keep, watch=step.at)
    kept = False
    try:
        show = _Show(wishes, reporter, stage, began)
        figures, pipeline = _acts(show)
        reporter.result(figures, moments(stage.dsn, LIVE))
        if pipeline is not None:
            stage.keep(pipeline.pid)
            kept = True
            _say_how_to_stop(reporter, stage)
        return 0 if figures.differences == 0 else 1
    finally:
        if not kept:
            stage.strike()


def _acts(show: _Show) -> tuple[Figures, Pipeline | None]:
    """All acts; the pipeline is still running if it is to be kept."""
    with show.reporter.step(f"Load a narrow history of {show.wishes.rows:,} readings of 8 ships") as step:
        history = load(show.stage.dsn, show.wishes.rows, watch=lambda rows: step.at(f"{rows:,} readings"))
    writer = Writer(show.stage.dsn, history, rate=show.wishes.rate)
    gauge = Gauge(show.stage.dsn)
    pipelines: list[Pipeline] = []
    try:
        lag = _follow_live(show, writer, gauge, pipelines)
        capture, sink = _catch_up(show, writer, gauge, pipelines)
        with show.reporter.step("Verify: compare both sides cell by cell"):
            proof = _verify(show)
        rates = Rates(backfill=round(gauge.backfill_rate()), capture=capture, sink=sink)
        figures = _figures(show, proof, rates, lag)
        if not show.wishes.keep:
            with show.reporter.step("Stop the pipeline"):
                pipelines[-1].stop()
        return figures, pipelines.pop() if show.wishes.keep else None
    finally:
        gauge.close()
        for pipeline in pipelines:
            pipeline.end()


def _follow_live(show: _Show, writer: Writer, gauge: Gauge, pipelines: list[Pipeline]) -> dict[str, float]:
    """Backfill beside a live writer until converged, then a while of steady writing. Gives the latency of that."""
    with _writing(writer) as alive:
        pipeline = show.pipeline()
        pipelines.append(pipeline)
        lives = _both(pipeline.alive, alive)
        with show.reporter.step(
            f"widebeam run: 2 backfill workers and 2 sinks, beside {show.wishes.rate:,} rows/s"
        ) as step:
            gauge.follow(lambda _: gauge.filled() > 0, lives, seconds=900)
            _say_first(show, gauge)
            gauge.follow(partial(_converged, gauge, step), lives, seconds=900)
        show.reporter.sample(moments(show.stage.dsn, HISTORY))
        with show.reporter.step("Catch up with what was written meanwhile"):
            gauge.settle(lives, seconds=900)
        with show.reporter.step(f"Follow the live writer for {show.wishes.steady:.0f} s"):
            before = gauge.latencies()
            end = time.monotonic() + show.wishes.steady
            gauge.follow(lambda _: time.monotonic() > end, lives, seconds=900)
            lag = percentiles(before, gauge.latencies())
        with show.reporter.step("Stop the pipeline, not the writer"):
            pipeline.stop()
    return lag


def _converged(gauge: Gauge, step: Ticker, now: Reading) -> bool:
    step.at(f"{gauge.filled():,} rows of the history filled in, {now.applied:,} rows of the stream applied")
    return now.converged


def _say_first(show: _Show, gauge: Gauge) -> None:
    views, keys = gauge.shape()
    what = f"{gauge.filled():,} readings are in {views} wide tables, with {keys} keys as columns"
    show.reporter.say(f"First result after {time.monotonic() - show.began:.0f} s: {what}")


def _catch_up(show: _Show, writer: Writer, gauge: Gauge, pipelines: list[Pipeline]) -> tuple[int | None, int | None]:
    """Write a backlog while nothing runs, then start again. Gives the rates of capture and sink, rows a second."""
    before = gauge.read()
    if before is None:
        raise PipelineFailed("the connector is gone from the control schema")
    with show.reporter.step(f"Write a backlog of {show.wishes.backlog:,} rows while nothing runs") as step:
        backlog = writer.backlog(show.wishes.backlog, watch=lambda rows: step.at(f"{rows:,} rows"))
    with _writing(writer) as alive:
        pipeline = show.pipeline()
        pipelines.append(pipeline)
        with show.reporter.step("widebeam run again: resume and catch up") as step:

            def done(now: Reading) -> bool:
                step.at(f"{now.applied - before.applied:,} of {backlog:,} rows applied")
                return now.applied >= before.applied + backlog

            seen = gauge.follow(done, _both(pipeline.alive, alive), seconds=900)
    return _caught_up(seen, before, backlog)


def _caught_up(seen: list[Reading], before: Reading, backlog: int) -> tuple[int | None, int | None]:
    captured = [(now.captured, now.captured_at) for now in seen]
    applied = [(now.applied, now.applied_at) for now in seen]
    rates = (
        rate(captured, before.captured, before.captured + backlog),
        rate(applied, before.applied, before.applied + backlog),
    )
    capture, sink = (None if one is None else round(one) for one in rates)
    return capture, sink


@contextmanager
def _writing(writer: Writer) -> Iterator[Any]:
    """The writer at work in a thread; yields a check that it still is. Its error becomes ours."""
    stop, failed = threading.Event(), []

    def work() -> None:
        try:
            writer.run(stop)
        except Exception as error:  # noqa: BLE001 - raised again below, in the thread that can do something about it
            failed.append(error)

    def alive() -> None:
        if failed:
            raise failed[0]

    thread = threading.Thread(target=work, name="writer")
    thread.start()
    try:
        yield alive
    finally:
        stop.set()
        thread.join()
    alive()


def _both(*checks: Callable[[], None]) -> Callable[[], None]:
    def check() -> None:
        for one in checks:
            one()

    return check


def _verify(show: _Show) -> dict[str, Any]:
    """What `widebeam verify --json` says. It waits for a barrier first: all that was written is on both sides."""
    done = subprocess.run(
        [sys.executable, "-m", "widebeam", "verify", str(show.stage.connector_file), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1) or not done.stdout.strip():
        raise PipelineFailed(f"`widebeam verify` ended with {done.returncode}\n{done.stderr}")
    proof: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if not proof["fenced"]:
        raise PipelineFailed("what was written last did not come through the pipeline within a minute")
    return proof


def _figures(show: _Show, proof: dict[str, Any], rates: Rates, lag: dict[str, float]) -> Figures:
    return Figures(
        transport="direct" if show.wishes.direct else "kafka",
        rows=proof["rows"],
        cells=proof["cells"],
        rows_s=rates,
        lag_ms=lag,
        differences=proof["differences"],
        seconds=round(time.monotonic() - show.began, 1),
    )


def _say_how_to_stop(reporter: Reporter, stage: Stage) -> None:
    psql = stage.postgres.binaries / "psql"
    # As it was called, since it may not be in PATH.
    command = sys.argv[0] if sys.argv[0].endswith("/widebeam") else "widebeam"
    reporter.say(f"Left running in {stage.directory}, the writer excepted. To look at it:")
    reporter.say(f'  {psql} "{stage.dsn}"')
    reporter.say(f"  {command} status {stage.connector_file}")
    reporter.say(f"To stop it and remove it: {command} demo --stop {stage.directory}")
