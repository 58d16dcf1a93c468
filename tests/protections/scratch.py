"""A copy of the working tree in which protections are switched off, and pytest over it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree

from tests.protections.protection import ROOT, Edit
from widebeam.lab.account import new_directory

SECONDS: Final = 150
"""For one test. One that hangs without its protection is ended, which is no assertion."""

_ticks: Final = count(1)


class Case(NamedTuple):
    """One case of a test: `said` is None where it passed, else how its failure begins."""

    test: str
    said: str | None


class Scratch:
    """The copy; it goes with `scratch`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._report = root / "report.xml"

    @contextmanager
    def without(self, edits: Iterable[Edit]) -> Iterator[None]:
        """The copy with these edits, and as it was afterwards."""
        before: dict[Path, str] = {}
        try:
            for edit in edits:
                path = self._root / edit.path
                text = path.read_text()
                before.setdefault(path, text)
                _write(path, edit.applied(text))
            yield
        finally:
            for path, text in before.items():
                _write(path, text)

    @property
    def output(self) -> str:
        """The end of what pytest said in the last run."""
        return (self._root / "output.txt").read_text(errors="replace")[-400:]

    def run(self, tests: Iterable[str]) -> list[Case]:
        """Run these tests over the copy: no case if pytest itself fails, or takes too long."""
        self._report.unlink(missing_ok=True)
        names = sorted(set(tests))
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=line"]
        options = [f"--timeout={SECONDS}", f"--junitxml={self._report}"]
        # What a test starts has to find the copy, too, and not what is installed.
        environment = {**os.environ, "PYTHONPATH": str(self._root), "WIDEBEAM_LAB": _lab()}
        environment |= {"WIDEBEAM_TEST_PATIENCE": str(SECONDS / 3)}  # without a protection, much is awaited in vain
        with (self._root / "output.txt").open("wb") as output:
            process = subprocess.Popen(
                [*command, *options, *names], cwd=self._root, env=environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output,
            )  # fmt: skip
            try:
                process.wait(SECONDS * (1 + len(names)))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return _cases(self._report) if self._report.exists() else []


@contextmanager
def scratch() -> Iterator[Scratch]:
    """A copy of all files that are, or could be, under version control, as they are now."""
    directory = new_directory("wb-protections-")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, directory / name)
    try:
        yield Scratch(directory)
    finally:
        shutil.rmtree(directory)


def _write(path: Path, text: str) -> None:
    """Each time with a later time of change: Python would take the same size in the same second for the same file."""
    path.write_text(text)
    later = time.time() + 2 * next(_ticks)
    os.utime(path, (later, later))


def _lab() -> str:
    """Where servers are that were fetched: not once more for the copy."""
    return os.environ.get("WIDEBEAM_LAB", str(ROOT / ".lab"))


def _cases(report: Path) -> list[Case]:
    found: list[Case] = []
    for case in ElementTree.parse(report).iter("testcase"):
        said: str | None = None
        for kind in ("failure", "error", "skipped"):
            for each in case.iter(kind):
                message = each.get("message") or ""
                said = said or (message if kind == "failure" else f"{kind}: {message}")
        found.append(Case(re.sub(r"\[.*", "", case.get("name") or "", flags=re.DOTALL), said))
    return found
