"""The witness: looks at positions and memory all the while, whatever happens to the servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

import psutil
import psycopg

from cdc.lsn import Lsn

_LOOK_EVERY: Final = 0.2
_POSITIONS: Final = """
SELECT 'partition ' || partition, epoch, next_offset, high::text, generation FROM widebeam.progress
UNION ALL SELECT 'acknowledged', 0, 0, coalesce(acknowledged, cutoff)::text, generation FROM widebeam.connectors
"""


class Witness:
    """Samples every `_LOOK_EVERY` seconds until `close`. `target` is a connection string past the proxy."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._watched: Callable[[], list[psutil.Popen]] = list
        self._began = time.monotonic()
        self._before: dict[str, tuple[Any, ...]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.went_back: list[str] = []
        self.peaks: dict[str, int] = {}
        self.samples: list[Sample] = []
        self.looks = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    @property
    def awake(self) -> bool:
        """Whether it still looks."""
        return self._thread.is_alive()

    def watch(self, processes: Callable[[], list[psutil.Popen]]) -> None:
        """Measure the memory of these processes, whatever they are at the time, and of their children."""
        self._watched = processes

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                with psycopg.connect(self._target, autocommit=True, connect_timeout=5) as session:
                    while not self._stop.wait(_LOOK_EVERY):
                        self._measure()
                        self._look(session)
            except psycopg.Error:
                self._stop.wait(_LOOK_EVERY)  # the server is away, as the fault wants it

    def _look(self, session: psycopg.Connection[Any]) -> None:
        for name, epoch, offset, high, generation in session.execute(_POSITIONS).fetchall():
            if high is None:  # a gap is being gone over: there is no position until the new stream's cutoff is known
                continue
            now = (epoch, offset, Lsn.parse(high), generation)
            before = self._before.get(name, now)
            if epoch > before[0]:  # a gap was gone over: what counts from there on begins anew
                before = (*before[:2], Lsn(0), before[3])
            if any(new < old for new, old in zip(now, before, strict=True)):
                self.went_back.append(f"{name} went from {before} to {now}")
            self._before[name] = now
        self.looks += 1

    def _measure(self) -> None:
        """Processes come and go while they are looked at."""
        for process in self._watched():
            with suppress(psutil.Error):
                for each in [process, *process.children()]:
                    with suppress(psutil.Error):
                        self._sample(each)

    def _sample(self, process: psutil.Process) -> None:
        verb = next((each for each in process.cmdline() if each in _VERBS), None)
        if verb is not None:
            megabytes = process.memory_info().rss / 2**20
            self.peaks[verb] = max(self.peaks.get(verb, 0), int(megabytes))
            self.samples.append(Sample(time.monotonic() - self._began, verb, process.pid, megabytes))


class Sample(NamedTuple):
    """The resident memory of a process at a time, in seconds since the witness began."""

    seconds: float
    verb: str
    pid: int
    megabytes: float


_VERBS: Final = ("run", "capture", "sink", "backfill", "stream", "resume")
