"""What a process has used: CPU seconds and its highest memory, for us and for our peers alike."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import psutil

Line: TypeAlias = dict[str, Any]

ROOT = Path(__file__).parents[2]
LOOK = 0.02
"""Seconds between two looks at something that cannot be waited for."""


class Stalled(Exception):
    """A process ended or made no progress; the message has the end of what it said."""


@dataclass
class Measured:
    """A process at work, its output in a file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    highest_mb: int = 0
    final_cpu: float = 0.0

    def ended(self) -> bool:
        """Whether it has ended; looks at its memory if not, since there is none to look at afterwards."""
        if self.process.returncode is None:
            self.highest_mb = max(self.highest_mb, self._peak())
            pid, status, spent = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                self.final_cpu = spent.ru_utime + spent.ru_stime
                self.process.returncode = os.waitstatus_to_exitcode(status)
        return self.process.returncode is not None

    def cpu(self) -> float:
        """CPU seconds so far, of the process alone."""
        if self.ended():
            return self.final_cpu
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def peak_mb(self) -> int:
        """The highest resident memory so far."""
        self.ended()
        return self.highest_mb

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def _peak(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return max((int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM")), default=0)


@dataclass(frozen=True)
class Served:
    """A server, with the processes that it starts."""

    name: str
    pid: int

    def cpu(self) -> float:
        """CPU seconds so far."""
        root = psutil.Process(self.pid)
        times = root.cpu_times()
        spent = float(times.user + times.system + times.children_user + times.children_system)
        for child in root.children():
            with suppress(psutil.NoSuchProcess):
                of_child = child.cpu_times()
                spent += float(of_child.user + of_child.system)
        return spent


class Meter:
    """What processes, and the servers beside them, use from now on."""

    def __init__(self, processes: Iterable[Measured], servers: Iterable[Served] = ()) -> None:
        self._processes, self._servers = list(processes), list(servers)
        self._before = [each.cpu() for each in (*self._processes, *self._servers)]
        self.began = time.monotonic()

    def cores(self) -> float:
        """How many cores the processes have kept busy."""
        return self._cpu()[0] / (time.monotonic() - self.began)

    def line(self, rows: int, ended: float) -> Line:
        """Rates and costs of so many rows until that moment (of time.monotonic)."""
        total, each = self._cpu()
        costs = [round(spent * 1e6 / rows, 3) for spent in each]
        peaks = [process.peak_mb() for process in self._processes]
        names = [process.name for process in self._processes]
        return {
            "rows": rows,
            "seconds": round(ended - self.began, 2),
            "rows_s": round(rows / (ended - self.began)),
            "cpu_us_row": round(total * 1e6 / rows, 2),
            "peak_mb": sum(peaks),
            "processes": {
                name: {"cpu_us_row": cost, "peak_mb": peak}
                for name, cost, peak in zip(names, costs, peaks, strict=False)
            },
            "servers_cpu_us_row": {
                server.name: cost for server, cost in zip(self._servers, costs[len(names) :], strict=True)
            },
        }

    def _cpu(self) -> tuple[float, Sequence[float]]:
        """Of the processes together, and of each process and server."""
        now = [each.cpu() for each in (*self._processes, *self._servers)]
        spent = [after - before for after, before in zip(now, self._before, strict=True)]
        return sum(spent[: len(self._processes)]), spent


@contextmanager
def running(name: str, command: Iterable[str], log: Path, env: Mapping[str, str] | None = None) -> Iterator[Measured]:
    """A process that ends with the block."""
    with log.open("ab") as out, subprocess.Popen(
        list(command), stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT, env=env,
    ) as process:  # fmt: skip
        try:
            yield Measured(name, process, log)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def widebeam(*arguments: str) -> list[str]:
    """The command line of a part of ours."""
    return [sys.executable, "-m", "widebeam", *arguments]


def until(
    condition: Callable[[], Any], processes: Iterable[Measured], *, may_end: bool = False, seconds: float = 900
) -> float:
    """Wait until it holds; the moment (of time.monotonic) when it did. Stalled if a process ends first, or badly."""
    deadline, watched = time.monotonic() + seconds, list(processes)
    while not condition():
        for each in watched:
            if each.ended() and (each.process.returncode or not may_end):
                raise Stalled(f"{each.name} ended with {each.process.returncode}:\n{each.said()}")
        if time.monotonic() > deadline:
            raise Stalled("\n".join(each.said() for each in watched) or "no progress")
        time.sleep(LOOK)
    return time.monotonic()
