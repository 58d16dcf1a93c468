"""How the parts of a run are: what systemd and whoever asks for its health are told. Pure: time comes from outside."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final, Literal, NamedTuple, TypeAlias

from widebeam.process import heartbeat

SILENT: Final = 60.0
"""Seconds without a heartbeat, of one a second, after which a part counts as stopped."""

STARTING: Final = 180.0
"""Seconds that a part may take to be at work or to die."""

State: TypeAlias = Literal["starting", "at work", "pausing", "done", "silent", "hung", "failed"]

ALIVE: Final = frozenset[State](("starting", "at work", "pausing", "done", "failed"))
AT_WORK: Final = frozenset[State](("at work", "done"))


class PartState(NamedTuple):
    """A part: `pausing` is one that died and starts again in a moment, `failed` one without which the run goes on."""

    part: str
    state: State
    progressed_at: datetime | None = None


def state(sign: bytes, *, started: float, felt: float, now: float) -> State:
    """What the last sign of a part's heartbeat means, felt then, of a part that started then."""
    if sign == heartbeat.STARTING:
        return "starting" if now - started <= STARTING else "silent"
    if now - felt > SILENT:
        return "silent"
    return "hung" if sign == heartbeat.HUNG else "at work"


def alive(part_states: Iterable[PartState]) -> bool:
    """Whether none of them stands still."""
    return all(one.state in ALIVE for one in part_states)


def at_work(part_states: Iterable[PartState]) -> bool:
    """Whether each of them does what it is there for, or has done it."""
    return all(one.state in AT_WORK for one in part_states)


def not_so(part_states: Iterable[PartState], good: frozenset[State]) -> list[str]:
    """Those that are in another state, for a person: `sink 1 is silent`."""
    return [f"{one.part} is {one.state}" for one in part_states if one.state not in good]


def newest(part_states: Iterable[PartState]) -> datetime | None:
    """When any of them last got on."""
    return max((one.progressed_at for one in part_states if one.progressed_at is not None), default=None)
