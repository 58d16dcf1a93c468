"""A storm: whole faults one after the other, and blows beside them from outside and from within, all at the same time.

Each lane's order, kinds, places and durations follow from the seed alone; how they meet is up to the machine.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final

import psutil
import psycopg

from tests.faults.blows import COMMON, FAILPOINTS, TOKENS, Blow, blows
from tests.faults.fault import Fault
from tests.faults.recovery import Recovery
from tests.faults.stand import Stand

PAUSES: Final = (0.2, 3.0)
"""Seconds between two blows of a lane."""

GUST: Final = 14.0
LULL: Final = 6.0
"""Seconds with blows, and without: else whole faults wait for most of the time for what blows hold up."""


def faults(seed: str, all_of_them: Sequence[Fault]) -> Iterator[Fault]:
    """Without end: all of them, shuffled, and again in another order."""
    random = Random(seed)
    while True:
        yield from random.sample(all_of_them, len(all_of_them))


@dataclass
class Storm:
    """Its counters. `struck` is by kind; `unseen` are faults whose effect could not be seen, since others met them."""

    stand: Stand
    recovery: Recovery
    seed: int
    until: float
    """By time.monotonic()."""

    began: float = field(default_factory=time.monotonic)
    struck: Counter[str] = field(default_factory=Counter)
    unseen: list[str] = field(default_factory=list)
    halted: int = 0
    in_vain: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def rage(self, which: Sequence[Fault]) -> None:
        """Until its time is over. From the main thread, which starts servers again."""
        lanes = [
            threading.Thread(target=self._blow, args=[blows(f"{self.seed} {name}", kinds, PAUSES)], name=name)
            for name, kinds in (("outside", COMMON), ("within", FAILPOINTS))
        ]
        for lane in lanes:
            lane.start()
        try:
            for fault in faults(f"{self.seed} faults", which):
                if self._over:
                    break
                if fault.lacks(self.stand) is None:
                    self._inject(fault)
        finally:
            self.until = 0.0
            for lane in lanes:
                lane.join()
            self.calm()

    @property
    def _over(self) -> bool:
        return time.monotonic() >= self.until

    def calm(self) -> None:
        """Nothing is armed any more, and nobody stands still."""
        for token in (self.stand.directory / TOKENS).iterdir():
            token.unlink(missing_ok=True)
        self.stand.set_clock(0.0)

    def _inject(self, fault: Fault) -> None:
        self._tell(fault.name)
        began = time.monotonic()
        try:
            with fault.inject(self.stand):
                pass
        except Exception as error:  # noqa: BLE001  another fault was in the way: what counts is the recovery
            with self._lock:
                self.unseen.append(f"{fault.name} ({time.monotonic() - began:.0f} s): {error!r}")
            self._tell(f"{fault.name}: {error!r}")
        else:
            self._count(fault.name)
            self.halted += fault.promised == "halts"
        self._tidy()
        self.recovery.over(fault.name)

    def _tidy(self) -> None:
        """Take away what a fault has left behind that ended early."""
        for helper in self.stand.helpers:
            with suppress(psutil.NoSuchProcess):
                helper.kill()
            helper.wait()
        self.stand.helpers.clear()
        for server in (self.stand.source, self.stand.target):
            if not server.process.running:
                server.restart()
        if not self.stand.broker.process.running:
            self.stand.broker.restart()
        with suppress(ProcessLookupError):
            os.killpg(self.stand.broker.pid, signal.SIGCONT)
        with suppress(psycopg.Error), self.stand.on_source() as source:
            for (name,) in source.execute("SELECT gid FROM pg_prepared_xacts").fetchall():
                source.execute(psycopg.sql.SQL("ROLLBACK PREPARED {}").format(psycopg.sql.Literal(name)))
        with suppress(psycopg.Error), self.stand.on_target() as target:
            target.execute("DROP FUNCTION IF EXISTS public.fail() CASCADE")
        self.stand.set_clock(0.0)

    def _blow(self, lane: Iterator[Blow]) -> None:
        for blow in lane:
            while not self._over and (time.monotonic() - self.began) % (GUST + LULL) > GUST:
                time.sleep(0.1)
            if self._over:
                return
            try:
                struck = blow.strike(self.stand, blow.place, blow.seconds)
            except (psutil.Error, psycopg.OperationalError, OSError) as error:  # what it was for is away
                self._tell(f"{blow}: {error!r}")
                struck = False
            if not struck:
                self._tell(f"{blow}: nothing to hit")
                self.in_vain += 1
                continue
            self._tell(str(blow))
            self._count(blow.kind)
            self.recovery.over(f"{blow.kind} {blow.place}")
            time.sleep(min(blow.pause, max(self.until - time.monotonic(), 0.0)))

    def _count(self, kind: str) -> None:
        with self._lock:
            self.struck[kind] += 1

    def _tell(self, what: str) -> None:
        left = self.until - time.monotonic()
        print(f"{left:7.1f} s left, {self.struck.total():4} faults: {what}", file=sys.stderr, flush=True)
