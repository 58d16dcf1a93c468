"""How the parts of a run are: what systemd and whoever asks for its health are told. Pure: time comes from outside."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final, Literal, NamedTuple, TypeAlias

from widebeam import pulse

SILENT: Final = 60.0
"""Seconds without a pulse, of one a second, after which a part counts as stopped."""

STARTING: Final = 180.0
"""Seconds that a part may take to be at work or to die."""

State: TypeAlias = Literal["starting", "at work", "pausing", "done", "silent", "hung"]

ALIVE: Final = frozenset[State](("starting", "at work", "pausing", "done"))
AT_WORK: Final = frozenset[State](("at work", "done"))


class Vital(NamedTuple):
    """A part: `pausing` is one that died and starts again in a moment."""

    part: str
    state: State
    progressed_at: datetime | None = None


def state(sign: bytes, *, started: float, felt: float, now: float) -> State:
    """What the last sign of a part's pulse means, felt then, of a part that started then."""
    if sign == pulse.STARTING:
        return "starting" if now - started <= STARTING else "silent"
    if now - felt > SILENT:
        return "silent"
    return "hung" if sign == pulse.HUNG else "at work"


def alive(vitals: Iterable[Vital]) -> bool:
    """Whether none of them stands still."""
    return all(one.state in ALIVE for one in vitals)


def at_work(vitals: Iterable[Vital]) -> bool:
    """Whether each of them does what it is there for, or has done it."""
    return all(one.state in AT_WORK for one in vitals)


def not_so(vitals: Iterable[Vital], good: frozenset[State]) -> list[str]:
    """Those that are in another state, for a person: `sink 1 is silent`."""
    return [f"{one.part} is {one.state}" for one in vitals if one.state not in good]


def newest(vitals: Iterable[Vital]) -> datetime | None:
    """When any of them last got on."""
    return max((one.progressed_at for one in vitals if one.progressed_at is not None), default=None)
