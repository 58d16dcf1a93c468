"""Waiting for a barrier: for what came before it to be in the wide tables."""

from __future__ import annotations

from threading import Event
from time import monotonic
from typing import Any, Final, TypeAlias

import psycopg

from cdc.lsn import Lsn
from sink.state.barrier import emit, passed

__all__ = ["BarrierTimeout", "emit", "passed", "wait"]

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_FIRST_PAUSE: Final = 0.005  # seconds; a barrier passes in some 20 ms when nothing is in its way
_LONGEST_PAUSE: Final = 0.25


class BarrierTimeout(Exception):
    """A barrier did not pass all partitions in time: capture or a sink does not run, or lags."""


def wait(target: Session, connector: str, barrier: Lsn, stop: Event, seconds: float) -> bool:
    """Wait until every partition has applied it; False when `stop` was set. Raises BarrierTimeout."""
    end, pause = monotonic() + seconds, _FIRST_PAUSE
    while not passed(target, connector, barrier):
        if monotonic() > end:
            raise BarrierTimeout(
                f"a barrier at {barrier} has not passed all partitions of {connector} after {seconds:.0f} s: "
                f"see `widebeam status {connector}` for what lags"
            )
        if stop.wait(pause):
            return False
        pause = min(2 * pause, _LONGEST_PAUSE)
    return True
