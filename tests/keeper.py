"""Parts of a connector as processes that are started again as soon as they are killed: for crashes by the dozen.

The supervisor of `widebeam run` waits longer after each death, and gives up after ten, as it should.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

from cdc.failpoint import ENVIRONMENT, Failpoint
from tests.beside import beside
from tests.pipeline import Pipeline, until
from tests.waiting import StillNot, watched


class Keeper:
    """Keeps parts of one connector running. A failpoint is armed in all of them by a file of its name in `tokens`."""

    def __init__(self, pipeline: Pipeline, tokens: Path) -> None:
        tokens.mkdir(exist_ok=True)
        self.tokens = tokens
        self._pipeline = pipeline
        self._running: dict[str, psutil.Popen] = {}
        self._threads: list[threading.Thread] = []
        self._ending = threading.Event()
        self.deaths = 0
        self.ended_badly: list[str] = []

    def keep(self, *verbs: str) -> None:
        """Start these parts, and start them again whenever they are killed."""
        for verb in verbs:
            self._threads.append(threading.Thread(target=self._keep, args=(verb,), name=verb))
            self._threads[-1].start()

    def arm(self, *points: Failpoint, how: str = "crash") -> None:
        """Each of these points fires once, in whichever part reaches it first."""
        for point in points:
            made = self.tokens / f".{point}"
            made.write_text(how)
            made.rename(self.tokens / point)

    @property
    def armed(self) -> set[str]:
        """The points that have not fired yet."""
        return {file.name for file in self.tokens.iterdir() if not file.name.startswith(".")}

    def await_fired(self, meanwhile: Callable[[], object] = lambda: None, seconds: float = 150) -> None:
        """Until all that were armed have fired; `meanwhile` is done again and again."""
        with suppress(StillNot):
            until(lambda: not self.armed or (meanwhile() and False), seconds)
        assert not self.armed, f"never reached: {self.armed} after {self.deaths} deaths\n{self._pipeline.said()}"

    def pid(self, verb: str) -> int:
        """The process of a part, as soon as there is one."""
        return int(until(lambda: (process := self._running.get(verb)) is not None and process.pid))

    def await_stopped(self, verb: str) -> psutil.Process:
        """Until a part stands still at a failpoint that hangs."""
        process = psutil.Process(self.pid(verb))
        until(lambda: process.status() == psutil.STATUS_STOPPED)
        return process

    def end(self) -> None:
        """SIGTERM for all, and wait for them; those who are killed by a failpoint now are not started again."""
        self._ending.set()
        for process in list(self._running.values()):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        for thread in self._threads:
            thread.join(60)

    def kill(self) -> None:
        """Whatever is still there goes."""
        self._ending.set()
        for process in list(self._running.values()):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for thread in self._threads:
            thread.join(60)

    def _keep(self, verb: str) -> None:
        with self._pipeline.file.with_suffix(".log").open("ab") as log:
            while not self._ending.is_set():
                self._running[verb] = psutil.Popen(
                    [sys.executable, "-m", "widebeam", verb, str(self._pipeline.file)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                    env={**os.environ, "WIDEBEAM_PARENT": str(os.getpid()), "WIDEBEAM_PART": verb,
                         ENVIRONMENT: f"*=crash,once:{self.tokens}/"},
                )  # fmt: skip
                code = self._running[verb].wait()
                self.deaths += 1
                if code == 0 and verb == "backfill":
                    return
                if code != -signal.SIGKILL and not self._ending.is_set():
                    self.ended_badly.append(f"{verb} ended with {code}")
                    return


@contextmanager
def kept(pipeline: Pipeline, tokens: Path) -> Iterator[Keeper]:
    """A keeper that leaves nothing behind."""
    keeper = Keeper(pipeline, tokens)
    try:
        with watched(lambda: f"{keeper.ended_badly}\n{pipeline.said()}" if keeper.ended_badly else None):
            yield keeper
        keeper.end()
        assert not keeper.ended_badly, f"{keeper.ended_badly}\n{pipeline.said()}"
    finally:
        keeper.kill()


@contextmanager
def positions_only_grow(dsn: str) -> Iterator[None]:
    """Looks all the time at every position: none goes back, and the slot is never ahead of the journal."""
    wrong = list[str]()

    def look(stop: threading.Event) -> None:
        before: dict[str, int] = {}
        with psycopg.connect(dsn, autocommit=True) as session:
            while not stop.wait(0.05):
                now = dict(session.execute(_SLOT).fetchall())  # first: it is told last
                now |= dict(session.execute(_JOURNAL).fetchall()) | dict(session.execute(_PROGRESS).fetchall())
                wrong.extend(f"{name}: {now[name]} after {was}" for name, was in before.items() if now[name] < was)
                if now["slot"] > now["journal"]:
                    wrong.append(f"the slot is at {now['slot']}, and the journal at {now['journal']}")
                before = now

    with beside(look):
        yield
    assert not wrong, wrong[:5]


_SLOT = (
    "SELECT 'slot', (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE database = current_database()"
)
_JOURNAL = "SELECT 'journal', (coalesce(acknowledged, cutoff) - '0/0')::bigint FROM widebeam.connectors"
_PROGRESS = """
SELECT 'offset of ' || partition, next_offset FROM widebeam.progress
UNION ALL SELECT 'high of ' || partition, (high - '0/0')::bigint FROM widebeam.progress
UNION ALL SELECT 'generation of ' || partition, generation FROM widebeam.progress
"""
