"""What a bench says: a line of JSON for each stage, printed as it comes and kept in a file, under what it ran on."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tests.bench.process import ROOT, Line
from widebeam.lab.postgres import newest_binaries

KEPT = ROOT / "docs" / "performance"
"""Where the figures of docs/performance.md lie."""


@dataclass
class Report:
    """The lines of one run. `file` gets them at the end; None keeps nothing."""

    file: Path | None = None
    lines: list[Line] = field(default_factory=list)
    failed: int = 0

    def stage(self, run: Callable[[], Line], **head: Any) -> Line:
        """Run it, and say its figures below `head`; if it fails, say why, and go on: the others are worth having."""
        try:
            return self.say(head | run())
        except Exception as error:  # noqa: BLE001  whatever it is, it is said
            traceback.print_exc()
            self.failed += 1
            return self.say(head | {"failed": f"{type(error).__name__}: {str(error).strip()[-400:]}"})

    def say(self, line: Line) -> Line:
        print(json.dumps(line, ensure_ascii=False), flush=True)
        self.lines.append(line)
        return line

    def keep(self) -> None:
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self.lines))


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """The options that all benches have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="a file for all lines")
    parser.add_argument("--keep", action="store_true", help="keep them in docs/performance, and write the page anew")
    return parser


@contextmanager
def reporting(given: argparse.Namespace, name: str) -> Iterator[Report]:
    """A report that begins with the machine, the day and the commit. With --keep, `name` is its file's in docs."""
    report = Report(KEPT / f"{name}.jsonl" if given.keep else given.json)
    report.say({"about": about()})
    try:
        yield report
    finally:
        report.keep()  # also what was measured before something between two stages failed


def load(file: Path) -> list[Line]:
    """The lines that were kept; none if there is no such file."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def about() -> Line:
    """On what a bench runs."""
    changed = bool(_git("status", "--porcelain", "--", "cdc", "sink", "snapshot", "widebeam", "tests/bench"))
    postgres = subprocess.run([newest_binaries() / "postgres", "--version"], capture_output=True, text=True, check=True)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else ""),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgres": postgres.stdout.split()[-1],
        "load": round(os.getloadavg()[0], 1),
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout.strip() or ("" if done.returncode == 0 else "unknown")


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return models[0].partition(":")[2].strip() if models else platform.machine()
