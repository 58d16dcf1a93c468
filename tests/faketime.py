"""What libfaketime lacks for Python and for Kafka's client, preloaded beside it (tests/faketime.c)."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from widebeam.lab.jars import cache
from widebeam.lab.once import alone

_SOURCE: Final = Path(__file__).with_suffix(".c")
_PRELOAD: Final = "LD_PRELOAD"


def complete() -> None:
    """Under libfaketime, start this very command again with what it lacks; else do nothing.

    The monotonic clock is left alone: it only says how long something takes, and half of all waits would never end.
    Raises FileNotFoundError where no C compiler is.
    """
    preloaded = os.environ.get(_PRELOAD, "")
    library = cache() / f"faketime-{hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]}.so"
    if "libfaketime" not in preloaded or str(library) in preloaded:
        return
    with alone(library):
        if not library.exists():
            _compile(library)
    os.environ |= {_PRELOAD: f"{library}:{preloaded}", "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    os.execv(sys.executable, sys.orig_argv)


def _compile(library: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError(
            "libfaketime makes many a wait endless without tests/faketime.c: install gcc, libc6-dev"
        )
    made = library.with_name(f".{library.name}")
    subprocess.run([compiler, "-shared", "-fPIC", "-pthread", "-o", made, _SOURCE], check=True)
    made.rename(library)
