"""The command, with short times of the supervisor and a wall clock that a test can set.

The file that WIDEBEAM_TEST_CLOCK names holds one double: the seconds by which time.time() is off.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import time
from functools import partial
from pathlib import Path

from cdc import run
from cdc.source import session
from snapshot.settings import BackfillSettings
from widebeam.cli import main
from widebeam.process import child, restarts
from widebeam.run import parts


def _set_clock(file: Path) -> None:
    with file.open("rb") as opened:
        shared = mmap.mmap(opened.fileno(), 8, access=mmap.ACCESS_READ)
    seconds, nanoseconds = time.time, time.time_ns
    time.time = lambda: seconds() + struct.unpack("d", shared[:8])[0]
    time.time_ns = lambda: nanoseconds() + int(struct.unpack("d", shared[:8])[0] * 1e9)


if __name__ == "__main__":
    _set_clock(Path(os.environ["WIDEBEAM_TEST_CLOCK"]))
    child.COMMAND = (sys.executable, __file__)
    restarts.FIRST_PAUSE = 0.2  # type: ignore[misc]
    session.ANSWER, run._ASKING = 5.0, 0.5
    parts.BackfillSettings = partial(BackfillSettings, backoff=0.01)  # type: ignore[assignment,misc]
    main()
