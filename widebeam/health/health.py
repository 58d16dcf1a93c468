"""Whether a run, or a part alone, lives and is at work: what GET /live and GET /ready answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Final, NamedTuple

from widebeam.config.connector import Connector
from widebeam.health.health_port import Health
from widebeam.process.heartbeat import Heartbeat
from widebeam.process.part_state import ALIVE, AT_WORK, SILENT, PartState, alive, at_work, newest, not_so, state
from widebeam.process.poller import Poller
from widebeam.status.status import Status
from widebeam.status.viewer import Viewer

OLD: Final = 60.0
"""Seconds after which what was seen of the servers says nothing about now."""

_EVERY: Final = 5.0
"""Seconds between two looks at the servers by a part alone."""

_WELL: Final = frozenset(("backfilling", "streaming", "converged"))


class Seen(NamedTuple):
    """What was seen of the connector, and when (monotonic seconds)."""

    status: Status
    at: float


def judge(
    connector: str, part_states: Sequence[PartState], seen: Seen | None, *, now: float, also: Sequence[str] = ()
) -> Health:
    """The health of these parts. `also` is what else keeps it from being ready."""
    shown = seen.status.state if seen is not None else "preparing"
    waits = [*also, *not_so(part_states, AT_WORK), *_unseen(seen, now)]
    progressed_at = newest(part_states)
    body = {
        "connector": connector,
        "state": shown,
        "lag_seconds": None if seen is None else seen.status.stream.lag_seconds,
        "lag_bytes": None if seen is None else seen.status.stream.lag_bytes,
        "last_progress": None if progressed_at is None else progressed_at.isoformat(timespec="milliseconds"),
        "halt": None if seen is None or seen.status.halt is None else seen.status.halt.cause,
        "parts": {one.part: one.state for one in part_states},
        "not_live": not_so(part_states, ALIVE),
        "not_ready": waits,
    }
    lives = alive(part_states)
    return Health(lives, lives and bool(part_states) and at_work(part_states) and not waits, body)


def _unseen(seen: Seen | None, now: float) -> list[str]:
    """What is wrong with what was seen of the servers."""
    if seen is None:
        return ["the servers were not seen yet"]
    if now - seen.at > OLD:
        return [f"the servers were not seen for {now - seen.at:.0f} s"]
    status = seen.status
    if status.state in _WELL and not status.cause:
        return []
    return [f"the connector is {status.state}" + (f": {status.cause}" if status.cause else "")]


class PartAlone:
    """The health of a part that no supervisor minds. Once it is asked for, a thread looks at the servers."""

    def __init__(self, connector: Connector, name: str, heartbeat: Heartbeat) -> None:
        self._connector = connector
        self._name = name
        self._pulse = heartbeat
        self._started = time.monotonic()
        self._viewer = Viewer(connector, ours=name)
        self._seen: Seen | None = None
        self._poller: Poller | None = None
        self._lock = threading.Lock()

    def look(self) -> bool:
        """One look at the servers."""
        self._seen = Seen(self._viewer.read(), time.monotonic())
        return False

    def health(self) -> Health:
        """As it is now."""
        with self._lock:
            if self._poller is None:
                self._poller = Poller(self, SimpleQueue(), every=_EVERY)
                self._poller.begin()
        now = time.monotonic()
        how = state(self._pulse.sign, started=self._started, felt=now, now=now)
        vital = PartState(self._name, how, self._pulse.progressed_at)
        return judge(self._connector.name, [vital], self._seen, now=now)


class RunHealth:
    """The health of a whole run, as its supervisor last found its parts. `seen` tells what the servers showed last."""

    def __init__(self, connector: str) -> None:
        self._connector = connector
        self._lock = threading.Lock()
        self._part_states: tuple[PartState, ...] = ()
        self._attended: float | None = None
        self._ends = False
        self.seen: Callable[[], Seen | None] = lambda: None

    def attend(self, part_states: Sequence[PartState], *, ends: bool) -> None:
        """The supervisor has looked at its parts."""
        with self._lock:
            self._part_states, self._attended, self._ends = tuple(part_states), time.monotonic(), ends

    def health(self) -> Health:
        """As it is now."""
        now = time.monotonic()
        with self._lock:
            part_states, attended, ends = self._part_states, self._attended, self._ends
        if attended is not None and now - attended > SILENT:
            part_states = (*part_states, PartState("supervisor", "silent"))
        also = ["it is being set up"] if attended is None else ["it ends"] if ends else []
        return judge(self._connector, part_states, self.seen(), now=now, also=also)
