"""What several processes would otherwise do at the same moment: one does it, the others wait and find it done."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def alone(place: Path) -> Iterator[None]:
    """Be the only process that makes `place`, until the end of the block; others wait at its beginning.

    The lock is a file beside `place`. The kernel lets go of it when a process ends, however it ends; the file stays,
    because removing it would part those who wait for it from those who come later.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f".{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
