"""`widebeam run`: the parts as child processes, started again when they die, halted when that is no use.

One thread, one queue: the lines and ends of the children, signals, and what is seen of the servers come as messages.
It never asks a server itself, so that a silent one does not keep it from minding the parts.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final, Protocol

from cdc.halt import CONNECTOR, Cause, Halt
from cdc.trouble import TROUBLES
from widebeam.process.child import Child, Ended, Line, Looked, Message, Part, Wake
from widebeam.process.part_state import PartState, State, state
from widebeam.process.poller import Poller
from widebeam.process.restarts import Policy, Record, death

TICK: Final = 1.0
"""Seconds between two looks at the parts."""

DRAIN: Final = 40.0
"""Seconds that parts get to end after SIGTERM, unless it is configured otherwise."""

HALTED: Final = 3
"""The exit code of a part that halted. The cause is in the target."""

USAGE: Final = 2

_LOG: Final = logging.getLogger(__name__)


class Watch(Protocol):
    """Who looks on: `look` is called in a thread of its own, the others in that of the supervisor."""

    def look(self) -> bool:
        """Look once, show it; True when the run has reached its goal. Raises Halt."""

    def line(self, text: str) -> None:
        """Show a line of a part's log."""

    def died(self, part: str, how: str, times: int) -> None:
        """Note that a part died, for the how manieth time in this run. Waits for nobody."""


class Attend(Protocol):
    """Who is told about once a second how the parts are, and whether the run ends."""

    def __call__(self, part_states: Sequence[PartState], *, ends: bool) -> None:
        """Take note. Waits for nobody."""


def _nobody(part_states: Sequence[PartState], *, ends: bool) -> None:
    """Nobody is told."""


class PartRefused(Exception):
    """A part ended by a mistake in its use or configuration: trying again is no use."""


class _PartHalted(Exception):
    """A part halted. What for is read once all parts have ended: it may take its time."""

    def __init__(self, end: Ended) -> None:
        super().__init__(end)
        self.end = end


class Supervisor:
    """Runs the parts until the goal, a signal or a halt. `recorded` reads the halt that a part wrote down."""

    def __init__(
        self,
        parts: list[Part],
        watch: Watch,
        recorded: Callable[[], Halt | None],
        policy: Policy = Policy(),  # noqa: B008  it cannot change
        drain: float = DRAIN,
        attend: Attend = _nobody,
    ) -> None:
        self._parts = parts
        self._watch = watch
        self._recorded = recorded
        self._policy = policy
        self._drain = drain
        self._attend = attend
        self._progress: dict[str, datetime | None] = {}
        self._messages: SimpleQueue[Message] = SimpleQueue()
        self._poller = Poller(watch, self._messages)
        self._children: dict[str, Child] = {}
        self._records = {part.name: Record() for part in parts}
        self._due: dict[str, float] = {part.name: 0.0 for part in parts}
        self._signals = 0
        self._reached = False
        self._without: dict[str, Halt] = {}

    def run(self) -> None:
        """Return at the goal or after a signal, with all parts ended; raises Halt, PartRefused.

        The halt of a part beside the others is raised at the end of the run.
        """
        before = {one: signal.signal(one, self._signalled) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._supervise()
        except _PartHalted as halted:
            self._end_all()
            raise self._halt(halted.end) from None
        finally:
            self._end_all()
            for one, handler in before.items():
                signal.signal(one, handler)
        for halt in self._without.values():
            raise halt

    def _supervise(self) -> None:
        self._poller.begin()
        while not self._signals and not self._reached:
            now = time.monotonic()
            self._start_due(now)
            self._poller.complain(now)
            self._attend(self._part_states(), ends=False)
            wakes = [now + TICK, *self._due.values()]
            self._take(max(min(wakes) - time.monotonic(), 0.0))

    def _start_due(self, now: float) -> None:
        for part in self._parts:
            if self._due.get(part.name, now + 1) <= now:
                del self._due[part.name]
                self._children[part.name] = Child(part, self._messages)

    def _part_states(self) -> list[PartState]:
        return [PartState(part.name, *self._vital(part.name)) for part in self._parts]

    def _vital(self, name: str) -> tuple[State, datetime | None]:
        progressed_at, child = self._progress.get(name), self._children.get(name)
        if child is None:
            how: State = "failed" if name in self._without else "pausing" if name in self._due else "done"
            return how, progressed_at
        how = state(child.sign, started=child.started, felt=child.felt, now=time.monotonic())
        return how, child.progressed_at or progressed_at

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
            case Looked(error=error):
                if error is not None:
                    raise error
                self._reached = True
            case Wake():
                pass

    def _ended(self, end: Ended) -> None:
        child = self._children.pop(end.part.name)
        self._progress[end.part.name] = child.progressed_at or self._progress.get(end.part.name)
        match end.code:
            case 0 if end.part.finite:
                _LOG.info("%s has done its work", end.part.name)
            case 3 if end.part.beside:
                self._go_on_without(end.part.name, self._unread(end))
            case 3:
                raise _PartHalted(end)
            case 2:
                raise PartRefused(end.last)
            case _:
                self._failed(end)

    def _halt(self, end: Ended) -> Halt:
        return self._recorded() or self._unread(end)

    def _unread(self, end: Ended) -> Halt:
        """What a part that halted has said at last."""
        return Halt(
            Cause.REPEATED_FAILURE,
            f"{end.part.name} halted: {end.last}",
            f"Mend that, then `widebeam run {CONNECTOR}`.",
        )

    def _failed(self, end: Ended) -> None:
        found = death(end.code, end.last, end.seconds, progressed=end.progressed)
        record = self._records[end.part.name]
        pause = record.died(found, time.monotonic(), self._policy)
        self._watch.died(end.part.name, found.how, record.restarts)
        if pause is None:
            often = f"died {len(record.alike)} times within {self._policy.within:g} s by the same cause"
            halt = Halt(
                Cause.REPEATED_FAILURE,
                f"{end.part.name} {f'was not let in for {self._policy.within:g} s' if found.refused else often}, "
                f"and did not get on between: {found.how}",
                f"Mend that, then `widebeam run {CONNECTOR}`: it goes on from where it was.",
            )
            if not end.part.beside:
                raise halt
            self._go_on_without(end.part.name, halt)
            return
        _LOG.warning("%s %s; it starts again in %.1f s", end.part.name, found.how, pause)
        self._due[end.part.name] = time.monotonic() + pause

    def _go_on_without(self, name: str, halt: Halt) -> None:
        """A part beside the others is given up: they go on, and whoever looks is told."""
        self._without[name] = halt
        TROUBLES.hold(name, f"it is given up, and the stream goes on without it: {halt.what}")
        _LOG.error("%s is given up, and the stream goes on without it: %s. %s", name, halt.what, halt.remedy)

    def _signalled(self, _: int, __: FrameType | None) -> None:
        self._signals += 1
        self._messages.put(Wake())

    def _end_all(self) -> None:
        """SIGTERM, and wait; SIGKILL at a second signal or when it takes too long."""
        self._poller.end()
        self._tell(signal.SIGTERM)
        deadline, asked = time.monotonic() + self._drain, self._signals
        killed = False
        while self._children:
            self._attend(self._part_states(), ends=True)
            late = time.monotonic() > deadline or self._signals > max(asked, 1)
            if late and not killed:
                _LOG.warning("ending by force: %s", ", ".join(self._children))
                self._tell(signal.SIGKILL)
                killed = True
            try:
                message = self._messages.get(timeout=TICK)
            except Empty:
                continue
            if isinstance(message, Line):
                self._watch.line(message.text)
            elif isinstance(message, Ended):
                del self._children[message.part.name]

    def _tell(self, how: signal.Signals) -> None:
        for child in self._children.values():
            child.send(how)
