"""What a process has used: CPU seconds and its highest memory, for us and for our peers alike."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
LOOK = 0.02
"""Seconds between two looks at something that cannot be waited for."""


class Stalled(Exception):
    """A process ended or made no progress; the message has the end of what it said."""


@dataclass(frozen=True)
class Usage:
    """Of one or more processes together: CPU seconds, and the sum of their highest memory in MB."""

    cpu: float
    peak_mb: int


@dataclass
class Measured:
    """A process at work, its output in a file."""

    process: subprocess.Popen[bytes]
    log: Path
    start_cpu: float = 0.0
    highest_mb: int = 0

    def cpu(self) -> float:
        """CPU seconds so far, of the process alone."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def peak_mb(self) -> int:
        """The highest resident memory so far; that of the last look, once it has ended (it has no memory then)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        found = [int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM")]
        self.highest_mb = max([self.highest_mb, *found])
        return self.highest_mb

    def began(self) -> None:
        """What was used until now is the start, and not counted."""
        self.start_cpu = self.cpu()

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


@contextmanager
def running(command: Iterable[str], log: Path, env: Mapping[str, str] | None = None) -> Iterator[Measured]:
    """A process that ends with the block."""
    with log.open("ab") as out, subprocess.Popen(
        list(command), stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT, env=env,
    ) as process:  # fmt: skip
        try:
            yield Measured(process, log)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def widebeam(*arguments: str) -> list[str]:
    """The command line of a part of ours."""
    return [sys.executable, "-m", "widebeam", *arguments]


def used(processes: Iterable[Measured]) -> Usage:
    """What these have used since their start."""
    some = list(processes)
    return Usage(sum(each.cpu() - each.start_cpu for each in some), sum(each.peak_mb() for each in some))


def until(condition: Callable[[], Any], processes: Iterable[Measured], seconds: float = 600) -> float:
    """Wait until it holds; the moment (of time.monotonic) when it did. Stalled if a process ends first."""
    deadline = time.monotonic() + seconds
    while not condition():
        for each in processes:
            if each.process.poll() is not None:
                raise Stalled(f"ended with {each.process.returncode}:\n{each.said()}")
        if time.monotonic() > deadline:
            raise Stalled("\n".join(each.said() for each in processes) or "no progress")
        time.sleep(LOOK)
    return time.monotonic()


def figures(rows: int, seconds: float, usage: Usage) -> dict[str, float]:
    """Rates and costs of so many rows."""
    return {
        "rows": rows,
        "seconds": round(seconds, 2),
        "rows_s": round(rows / seconds),
        "cpu_us_row": round(usage.cpu * 1e6 / rows, 2),
        "peak_mb": usage.peak_mb,
        "cores": os.cpu_count() or 0,
    }
