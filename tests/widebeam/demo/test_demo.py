from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest

from tests.waiting import PATIENCE
from widebeam.demo.gauge import rate
from widebeam.demo.stage import Stage, strike_kept
from widebeam.lab.account import new_directory

SMALL = ["--rows", "20000", "--backlog", "20000", "--steady", "1", "--rate", "2000"]


def demo(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, with `place` for its directories."""
    return subprocess.run(
        [sys.executable, "-m", "widebeam", "demo", *arguments],
        env={**os.environ, "TMPDIR": str(place)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def of(place: Path) -> list[psutil.Process]:
    """Processes whose command line names `place`."""
    return [one for one in psutil.process_iter(["cmdline"]) if str(place) in " ".join(one.info["cmdline"] or [])]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for temporary files that every account can reach."""
    made = new_directory("wb-test-")
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("transport", ["kafka", "direct"])
def test_the_demo_proves_both_sides_equal_and_leaves_nothing(place: Path, transport: str) -> None:
    done = demo(place, "--json", *SMALL, *(["--direct"] if transport == "direct" else []))
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert set(figures) == {"transport", "rows", "cells", "rows_s", "lag_ms", "differences", "seconds"}
    assert (figures["differences"], figures["transport"]) == (0, transport)
    assert figures["rows"] > 40_000
    assert set(figures["rows_s"]) == {"backfill", "capture", "sink"}
    assert "wide: column of wide.IMO97" in done.stderr
    first, _, rest = done.stderr.partition("First result after ")
    assert "widebeam run: 2 backfill workers" in first
    assert "✓ widebeam run: 2 backfill workers" in rest
    assert not list(place.iterdir())
    assert not of(place)


@pytest.mark.parametrize(
    "how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.exhaustive), signal.SIGKILL]
)
def test_a_demo_that_is_interrupted_leaves_no_process(place: Path, how: signal.Signals) -> None:
    arguments = [sys.executable, "-m", "widebeam", "demo", "--direct", *SMALL]
    env = {**os.environ, "TMPDIR": str(place)}
    with subprocess.Popen(arguments, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not any("run" in one.info["cmdline"] for one in of(place)):
            assert process.poll() is None
        process.send_signal(how)
    left = of(place)  # a part ends with its supervisor, which may take it a moment
    _, alive = psutil.wait_procs(left, timeout=PATIENCE)
    assert not alive
    assert how == signal.SIGKILL or not list(place.iterdir())


def test_a_kept_demo_goes_on_until_it_is_stopped(place: Path) -> None:
    done = demo(place, "--keep", "--direct", *SMALL)
    try:
        assert done.returncode == 0, done.stderr
        assert of(place)
    finally:
        [directory] = place.iterdir()
        stopped = demo(place, "--stop", str(directory))
    assert f"widebeam demo --stop {directory}" in done.stdout.replace("\n", "")
    assert stopped.returncode == 0, stopped.stderr
    assert not of(place)
    assert not list(place.iterdir())


def test_what_is_kept_is_stopped_by_its_own_processes_alone() -> None:
    stage = Stage.set(direct=True, leashed=False)
    bystander = subprocess.Popen(["/bin/sleep", "60"])
    try:
        stage.keep(bystander.pid)  # as if the pipeline's process id had been given to another process meanwhile
        strike_kept(stage.directory)
        assert bystander.poll() is None
        assert not stage.directory.exists()
        assert not stage.postgres.process.running
    finally:
        bystander.kill()
        bystander.wait()


def test_a_directory_without_a_demo_is_not_removed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        strike_kept(tmp_path)
    assert tmp_path.exists()


def test_a_rate_counts_from_the_first_write_to_the_goal_and_not_beyond() -> None:
    start = datetime(2026, 1, 1)
    points = [
        (rows, start + timedelta(seconds=at)) for rows, at in [(100, 0), (150, 10), (350, 11), (550, 12), (560, 99)]
    ]
    assert rate(points, before=100, goal=500) == 200
    assert rate(points, before=100, goal=150) is None
    assert rate(points, before=100, goal=1000) is None
