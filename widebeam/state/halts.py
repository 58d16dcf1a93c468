"""A connector's halt as it is written down: one part sees it, every part and every viewer knows it."""

from __future__ import annotations

from typing import Any, Final

import psycopg

from cdc.halt import LASTING, Cause, Halt
from cdc.source.session import connect

_WAIT: Final = "10s"


def record(target: str, connector: str, halt: Halt) -> None:
    """Write the halt down; the first one stands, since the later ones follow from it. Again is written as the time.
    One of the backfill alone gives way: the stream went on.

    psycopg.errors.LockNotAvailable if somebody holds the row: a halted part has to end all the same.
    """
    with connect(target, autocommit=True, connect_timeout=5) as session:
        session.execute("SELECT set_config('lock_timeout', %s, false)", [_WAIT])
        session.execute(
            "UPDATE widebeam.connectors SET halt_cause = %(cause)s, halt_what = %(what)s, halt_remedy = %(remedy)s, "
            "halted_at = now() WHERE connector = %(name)s"
            " AND (halt_cause IS NULL OR halt_cause IN (%(cause)s, %(beside)s))",
            {
                "cause": halt.cause.value,
                "what": halt.what,
                "remedy": halt.remedy,
                "name": connector,
                "beside": Cause.CHUNKS_FAILED.value,
            },
        )


def recorded(session: psycopg.Connection[tuple[Any, ...]], connector: str) -> Halt | None:
    """The halt that is written down; None if the connector may run or is not there."""
    row = session.execute(
        "SELECT halt_cause, halt_what, halt_remedy FROM widebeam.connectors "
        "WHERE connector = %s AND halt_cause IS NOT NULL",
        [connector],
    ).fetchone()
    return None if row is None else Halt(Cause(row[0]), row[1] or "", row[2] or "")


def read(target: str, connector: str) -> Halt | None:
    """`recorded`, over a session of its own; None if the target cannot be asked."""
    try:
        with connect(target, autocommit=True, connect_timeout=5) as session:
            return recorded(session, connector)
    except psycopg.Error:
        return None


def clear(session: psycopg.Connection[tuple[Any, ...]], connector: str, *, before: float | None = None) -> None:
    """Forget it (only one from before that time, in seconds since 1970). What is still wrong halts again, loudly."""
    session.execute(
        "UPDATE widebeam.connectors SET halt_cause = NULL, halt_what = NULL, halt_remedy = NULL, halted_at = NULL "
        "WHERE connector = %(name)s AND halt_cause IS NOT NULL "
        "AND (%(before)s::float8 IS NULL OR halted_at < to_timestamp(%(before)s::float8))",
        {"name": connector, "before": before},
    )


def refuse_lasting(session: psycopg.Connection[tuple[Any, ...]], connector: str) -> None:
    """Raise a halt that is written down and whose gap stays, even if its cause is not to be seen any more."""
    halt = recorded(session, connector)
    if halt is None or halt.cause not in LASTING:
        return
    if halt.cause is Cause.LOG_INCOMPLETE and session.execute(_COMES_AGAIN, [connector]).fetchone() == (True,):
        return
    raise halt


# What a partition lacks stands behind its last position, so it was not acknowledged if nothing behind that was.
_COMES_AGAIN: Final = """
SELECT bool_and(coalesce(acknowledged, cutoff) <= high)
FROM widebeam.progress JOIN widebeam.connectors USING (connector) WHERE connector = %s AND broken
"""
