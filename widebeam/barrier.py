"""Barriers: a mark in the source's WAL that passes the whole pipeline, so that what came before it is known to have.

A transactional logical message becomes a record in every partition. Once all partitions have applied it, everything
that was committed before it is in the wide tables.
"""

from __future__ import annotations

from threading import Event
from time import monotonic
from typing import Any, Final, TypeAlias

import psycopg

from cdc.assembler import MESSAGE_PREFIX
from cdc.lsn import Lsn

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_FIRST_PAUSE: Final = 0.005  # seconds; a barrier passes in some 20 ms when nothing is in its way
_LONGEST_PAUSE: Final = 0.25


class BarrierTimeout(Exception):
    """A barrier did not pass all partitions in time: capture or a sink does not run, or lags."""


def emit(source: Session, content: str) -> Lsn:
    """Write a barrier, in a transaction of its own (`source` is in autocommit mode); the LSN of its message.

    The position at which partitions pass it is its commit's, which is not lower.
    """
    row = source.execute("SELECT pg_logical_emit_message(true, %s, %s)::text", [MESSAGE_PREFIX, content]).fetchone()
    if row is None:
        raise LookupError("pg_logical_emit_message answered nothing")
    return Lsn.parse(row[0])


def passed(target: Session, connector: str, barrier: Lsn) -> bool:
    """Whether every partition has applied it. `target` is in autocommit mode."""
    row = target.execute(
        "SELECT bool_and(barrier >= %s::pg_lsn) FROM widebeam.progress WHERE connector = %s", [str(barrier), connector]
    ).fetchone()
    return row is not None and bool(row[0])


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
