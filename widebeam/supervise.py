"""`widebeam run`: the parts as child processes, started again when they die, halted when that is no use.

One thread, one queue: the lines and ends of the children and signals come as messages; between them the supervisor
looks, once a second, at how far the connector is.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final, Protocol

from cdc.halt import CONNECTOR, Cause, Halt
from widebeam.child import Child, Ended, Line, Message, Part, Wake
from widebeam.restarts import Record

LOOK: Final = 1.0
"""Seconds between two looks."""

DRAIN: Final = 40.0
"""Seconds that parts get to end after SIGTERM; capture drains up to 10, a chunk or a batch takes a few."""

HALTED: Final = 3
"""The exit code of a part that halted. The cause is in the target."""

USAGE: Final = 2

_LOG: Final = logging.getLogger(__name__)


class Watch(Protocol):
    """What is looked at between messages."""

    def look(self) -> bool:
        """Look once, show it; True when the run has reached its goal. Raises Halt."""

    def line(self, text: str) -> None:
        """Show a line of a part's log."""


class PartRefused(Exception):
    """A part ended by a mistake in its use or configuration: trying again is no use."""


class Supervisor:
    """Runs the parts until the goal, a signal or a halt. `recorded` reads the halt that a part wrote down."""

    def __init__(self, parts: list[Part], watch: Watch, recorded: Callable[[], Halt | None]) -> None:
        self._parts = parts
        self._watch = watch
        self._recorded = recorded
        self._messages: SimpleQueue[Message] = SimpleQueue()
        self._children: dict[str, Child] = {}
        self._records = {part.name: Record() for part in parts}
        self._due: dict[str, float] = {part.name: 0.0 for part in parts}
        self._signals = 0

    def run(self) -> None:
        """Return at the goal or after a signal, with all parts ended; raises Halt, PartRefused."""
        before = {one: signal.signal(one, self._signalled) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._supervise()
        finally:
            self._end_all()
            for one, handler in before.items():
                signal.signal(one, handler)

    def _supervise(self) -> None:
        next_look = time.monotonic()
        while not self._signals:
            now = time.monotonic()
            self._start_due(now)
            if now >= next_look:
                if self._watch.look():
                    return
                next_look = time.monotonic() + LOOK
            wakes = [next_look, *self._due.values()]
            self._take(max(min(wakes) - time.monotonic(), 0.0))

    def _start_due(self, now: float) -> None:
        for part in self._parts:
            if self._due.get(part.name, now + 1) <= now:
                del self._due[part.name]
                self._children[part.name] = Child(part, self._messages)

    def _take(self, seconds: float) -> None:
        """Take one message, if one comes in time."""
        try:
            message = self._messages.get(timeout=seconds)
        except Empty:
            return
        match message:
            case Line(text=text):
                self._watch.line(text)
            case Ended():
                self._ended(message)
            case Wake():
                pass

    def _ended(self, end: Ended) -> None:
        del self._children[end.part.name]
        match end.code:
            case 0 if end.part.finite:
                _LOG.info("%s has done its work", end.part.name)
            case 3:
                raise self._recorded() or Halt(
                    Cause.REPEATED_FAILURE,
                    f"{end.part.name} halted: {end.last}",
                    f"Mend that, then `widebeam run {CONNECTOR}`.",
                )
            case 2:
                raise PartRefused(end.last)
            case code:
                self._failed(end, code)

    def _failed(self, end: Ended, code: int) -> None:
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}: {end.last}"
        record = self._records[end.part.name]
        delay = record.failed(how, end.seconds)
        if delay is None:
            raise Halt(
                Cause.REPEATED_FAILURE,
                f"{end.part.name} failed {record.same} times in the same way: {how}",
                f"Mend that, then `widebeam run {CONNECTOR}`: it goes on from where it was.",
            )
        _LOG.warning("%s %s; it starts again in %.1f s", end.part.name, how, delay)
        self._due[end.part.name] = time.monotonic() + delay

    def _signalled(self, _: int, __: FrameType | None) -> None:
        self._signals += 1
        self._messages.put(Wake())

    def _end_all(self) -> None:
        """SIGTERM, and wait; SIGKILL at a second signal or when it takes too long."""
        self._tell(signal.SIGTERM)
        deadline, asked = time.monotonic() + DRAIN, self._signals
        killed = False
        while self._children:
            late = time.monotonic() > deadline or self._signals > max(asked, 1)
            if late and not killed:
                _LOG.warning("ending by force: %s", ", ".join(self._children))
                self._tell(signal.SIGKILL)
                killed = True
            try:
                message = self._messages.get(timeout=LOOK)
            except Empty:
                continue
            if isinstance(message, Line):
                self._watch.line(message.text)
            elif isinstance(message, Ended):
                del self._children[message.part.name]

    def _tell(self, how: signal.Signals) -> None:
        for child in self._children.values():
            child.send(how)
