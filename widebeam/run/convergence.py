"""Convergence: all chunks are merged, and a barrier emitted after that has passed every partition."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import psycopg

from cdc.halt import Cause, Halt
from snapshot.chunks import ledger

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_SHOWN: Final = 5


def chunks_left(target: Session, connector: str) -> int:
    """Chunks that are still to be merged; a Halt when only chunks are left that were given up."""
    counts = ledger.counts(target, connector)
    if counts.open == 0 and counts.given_up:
        failures = ledger.given_up(target, connector, _SHOWN)
        shown = "; ".join(f"{one.chunk} ({one.lower} to {one.upper}): {one.error}" for one in failures)
        raise Halt(
            Cause.CHUNKS_FAILED,
            f"{counts.given_up} chunks failed at every attempt: {shown}",
            f"Mend the cause, then `widebeam run {connector}` tries them again; the stream has gone on.",
        )
    return counts.open + counts.given_up


def record(target: Session, connector: str) -> None:
    """Write down that the connector has converged; the first time stands."""
    target.execute(
        "UPDATE widebeam.connectors SET converged_at = now() WHERE connector = %s AND converged_at IS NULL", [connector]
    )
