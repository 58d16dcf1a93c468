"""A connector's halt as it is written down: one part sees it, every part and every viewer knows it."""

from __future__ import annotations

from typing import Any

import psycopg

from cdc.halt import Cause, Halt
from cdc.session import connect


def record(target: str, connector: str, halt: Halt) -> None:
    """Write the halt down; the first one stands, since the later ones follow from it."""
    with connect(target, autocommit=True, connect_timeout=5) as session:
        session.execute(
            "UPDATE widebeam.connectors SET halt_cause = %s, halt_what = %s, halt_remedy = %s, halted_at = now() "
            "WHERE connector = %s AND halt_cause IS NULL",
            [halt.cause.value, halt.what, halt.remedy, connector],
        )


def recorded(session: psycopg.Connection[tuple[Any, ...]], connector: str) -> Halt | None:
    """The halt that is written down; None if the connector may run or is not there."""
    row = session.execute(
        "SELECT halt_cause, halt_what, halt_remedy FROM widebeam.connectors "
        "WHERE connector = %s AND halt_cause IS NOT NULL",
        [connector],
    ).fetchone()
    return None if row is None else Halt(Cause(row[0]), row[1] or "", row[2] or "")


def clear(session: psycopg.Connection[tuple[Any, ...]], connector: str) -> None:
    """Forget it: somebody starts the connector again. What is still wrong halts it again, loudly."""
    session.execute(
        "UPDATE widebeam.connectors SET halt_cause = NULL, halt_what = NULL, halt_remedy = NULL, halted_at = NULL "
        "WHERE connector = %s AND halt_cause IS NOT NULL",
        [connector],
    )
