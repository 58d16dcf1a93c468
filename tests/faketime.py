"""What libfaketime lacks for Kafka's client, preloaded beside it (tests/faketime.c)."""

from __future__ import annotations

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

    Raises FileNotFoundError where no C compiler is: the client would wait for ever.
    """
    preloaded = os.environ.get(_PRELOAD, "")
    library = cache() / "faketime.so"
    if "libfaketime" not in preloaded or str(library) in preloaded:
        return
    with alone(library):
        if not library.exists():
            _compile(library)
    os.environ[_PRELOAD] = f"{library}:{preloaded}"
    os.execv(sys.executable, sys.orig_argv)


def _compile(library: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("under libfaketime Kafka's client waits for ever without tests/faketime.c; install gcc")
    made = library.with_name(f".{library.name}")
    subprocess.run([compiler, "-shared", "-fPIC", "-pthread", "-o", made, _SOURCE], check=True)
    made.rename(library)
