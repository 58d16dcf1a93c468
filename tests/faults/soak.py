"""A soak: a storm of all faults against a live writer for as long as asked, and then the proof that nothing was lost.

`make soak SECONDS=600 SEED=7`. What happens goes to stderr; the last line, on stdout, is JSON. The exit code is 0 if
all held, 1 if a problem was found.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import SystemRandom
from statistics import median
from typing import Any, Final

import psycopg

from cdc.failpoint import ENVIRONMENT
from tests import pipeline
from tests.faults import every, left_over, of_runs
from tests.faults.blows import TOKENS
from tests.faults.fault import Fault
from tests.faults.recovery import Recovery
from tests.faults.stand import Stand, stand
from tests.faults.storm import Storm
from tests.faults.witness import Sample
from tests.waiting import StillNot, until

ALL: Final = (*every.FAULTS, *of_runs.FAULTS, of_runs.FAULTS[-1])
"""A halt more than once, since the gap after it is what gives backfill work."""

ROWS: Final = 60_000
RATE: Final = 400
MEGABYTES: Final = 1_500
CHUNK_ATTEMPTS: Final = 1_000
"""A chunk that meets a fault at each attempt is not given up: that is for one that can never be done."""

LOG: Final = Path(".lab/soak.log")
MOST_MEGABYTES: Final = 300
LONG: Final = 300.0
"""Seconds from which on memory is compared, late with early: both thirds see all kinds of faults then."""


def soak(
    seconds: float, seed: int, which: Sequence[Fault] = ALL, *, rows: int = ROWS, log: Path | None = None
) -> dict[str, Any]:
    """Do it; what came of it, with all that is wrong in `problems`. What widebeam said is kept in `log`."""
    with (
        stand(rows=rows, rate=RATE, megabytes=MEGABYTES, chunk_attempts=CHUNK_ATTEMPTS) as made,
        _log_kept(made, log),
    ):
        for directory in (TOKENS, "tmp"):
            (made.directory / directory).mkdir()
        made.environment = {
            ENVIRONMENT: f"*=crash,once:{made.directory / TOKENS}/", "TMPDIR": str(made.directory / "tmp")
        }  # fmt: skip
        made.running()
        until(lambda: made.pipeline.applied() > 0)
        with Recovery(made) as recovery:
            storm = Storm(made, recovery, seed, time.monotonic() + seconds)
            storm.rage(which)
            recovery.settle()
            report = _report(storm, recovery, made.witness.samples, seconds)
            problems = [*recovery.problems, *_problems_of(report, made), *_settled(made)]
        report |= _compared(made, problems)
        report["left_over"] = _left_over(made, problems)
        report["problems"] = problems
        return report


@contextmanager
def _log_kept(made: Stand, log: Path | None) -> Iterator[None]:
    try:
        yield
    finally:
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(made.log, log)


def _report(storm: Storm, recovery: Recovery, samples: list[Sample], seconds: float) -> dict[str, Any]:
    peaks, growth = {}, {}
    for verb in sorted({sample.verb for sample in samples}):
        of_verb = [sample for sample in samples if sample.verb == verb]
        peaks[verb] = round(max(sample.megabytes for sample in of_verb))
        early, late = _usual(of_verb, 0), _usual(of_verb, 2)
        if seconds >= LONG and early and late:
            growth[verb] = round(late / early, 2)
    return {
        "faults": storm.struck.total(),
        "recovered": recovery.recovered,
        "halted": storm.halted,
        "seed": storm.seed,
        "seconds": seconds,
        "peak_mb": peaks,
        "growth": growth,
        "slowest_recovery_s": round(recovery.slowest, 1),
        "effect_unseen": storm.unseen,
        "in_vain": storm.in_vain,
        "kinds": dict(sorted(storm.struck.items())),
        "rows_written": storm.stand.writer.rows,
    }


def _usual(samples: list[Sample], third: int) -> float | None:
    """The median of the memory in this third of the time.

    (What is above it comes and goes with what the storm happens to write, and has a bound of its own.)
    """
    first, last = samples[0].seconds, samples[-1].seconds
    length = (last - first) / 3
    within = [each.megabytes for each in samples if 0 <= each.seconds - first - third * length <= length]
    return median(within) if len(within) > 20 else None


def _problems_of(report: dict[str, Any], made: Stand) -> list[str]:
    problems = [f"a position went back: {each}" for each in made.witness.went_back]
    if not made.witness.awake or made.witness.looks == 0:
        problems.append("nobody was looking at positions and memory at the end: the witness has failed")
    if report["recovered"] < report["faults"] + len(report["effect_unseen"]):
        problems.append("not all faults were recovered from")
    problems += [f"{verb} took {peak} MB" for verb, peak in report["peak_mb"].items() if peak > MOST_MEGABYTES]
    problems += [f"{verb} grew by a factor of {by}" for verb, by in report["growth"].items() if by > 1.3]
    unexpected = {line for line in made.said().splitlines() if "unexpected:" in line and "Injected" not in line}
    return problems + [f"a fault of ours: {line}" for line in sorted(unexpected)[:10]]


def _settled(made: Stand) -> list[str]:
    """The writer stops, all chunks and all that was written arrives, the run ends; what is wrong with that."""
    made.writer.end()
    try:
        until(lambda: _chunks_left(made) == 0, 180)
        made.recovered(180)
    except StillNot as error:
        return [f"it does not converge: {error!r}, {_chunks_left(made)} chunks are left"]
    code = made.end()
    made.run = None
    return [] if code == 0 else [f"`widebeam run` ended with {code} at the end"]


def _chunks_left(made: Stand) -> int:
    with suppress(psycopg.OperationalError):
        return int(made.pipeline.one("SELECT count(*) FROM widebeam.chunks WHERE state NOT IN ('merged', 'void')"))
    return -1


def _compared(made: Stand, problems: list[str]) -> dict[str, Any]:
    """By DuckDB's pivot and by `widebeam verify`."""
    narrow, wide = made.pipeline.narrow(), made.pipeline.wide()
    lost = [cell for cell in narrow if cell not in wide]
    wrong = [cell for cell in narrow.keys() | wide.keys() if narrow.get(cell) != wide.get(cell)]
    problems += [f"cell {cell}: {narrow.get(cell)} and {wide.get(cell)}" for cell in sorted(wrong)[:5]]
    done = subprocess.run(
        [sys.executable, "-m", "widebeam", "verify", "--json", str(made.pipeline.file)],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    verified = json.loads(done.stdout.splitlines()[-1])["differences"] if done.stdout.strip() else None
    if done.returncode != 0:
        problems.append(f"verify ended with {done.returncode}, {verified} differences: {done.stderr[-500:]}")
    return {"lost": len(lost), "differences": len(wrong), "verify_differences": verified, "cells": len(narrow)}


def _left_over(made: Stand, problems: list[str]) -> dict[str, int]:
    """What is left when it has ended, and after `widebeam drop`. Servers clean up after their own deaths in a while."""
    left = _awaited(lambda: left_over.at_rest(made))
    dropped = made.command("drop", "--yes").wait(120)
    if dropped != 0:
        problems.append(f"drop ended with {dropped}: {made.said()[-500:]}")
    left |= {f"{name}, after drop": number for name, number in _awaited(lambda: left_over.after_drop(made)).items()}
    if left:
        problems.append(f"left over: {left}")
    return left


def _awaited(look: Callable[[], dict[str, int]]) -> dict[str, int]:
    with suppress(StillNot):
        until(lambda: not look(), 90)
        return {}
    return look()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--log", type=Path, default=LOG, help="Where to keep what widebeam said.")
    given = parser.parse_args()
    seed = SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    print(f"the seed is {seed}", file=sys.stderr)
    pipeline.PATIENCE = 45.0  # what a fault waits for may never come, since others are in its way
    report = soak(given.seconds, seed, log=given.log)
    print(json.dumps(report))
    sys.exit(1 if report["problems"] else 0)


if __name__ == "__main__":
    main()
