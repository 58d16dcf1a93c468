"""Turns: one process at a time changes wide tables, and nobody queues for long behind it.

Locks on the tables are asked for by short attempts: whoever waits for one makes all others wait behind him. Merges
share a lock of their own, so that a change of types or names stops them as a whole, between two batches. The locks are
on tables that hold nothing: an advisory one could be held by anybody who may connect.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import psycopg
from psycopg import errors, sql
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOCK_TIMEOUT: Final = "200ms"
_BATCH_TIMEOUT: Final = "20s"
GIVE_UP_AFTER: Final = 120.0
"""Seconds of attempts."""

CLASH: Final = (
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.UniqueViolation,
    errors.DuplicateTable,
    errors.InvalidObjectDefinition,  # the range of a partition that is just being detached
)
"""What others are in the way by, and what may be over at the next attempt."""


def attempts() -> Retrying:
    """Attempts until one does not clash with others; the last clash is raised."""
    return Retrying(
        retry=retry_if_exception_type(CLASH),
        stop=stop_after_delay(GIVE_UP_AFTER),
        wait=wait_random_exponential(0.05, max=2),
        reraise=True,
    )


def take(connection: Connection) -> None:
    """In the open transaction, before all else: nobody else changes tables until its end."""
    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(_LOCK_TIMEOUT)))
    connection.execute("LOCK TABLE widebeam.turn_columns IN EXCLUSIVE MODE")


def stop_the_others(connection: Connection) -> None:
    """Wait for our own sessions that are in the middle of a batch, longer than for readers; then they wait."""
    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(_BATCH_TIMEOUT)))
    connection.execute("LOCK TABLE widebeam.turn_types IN EXCLUSIVE MODE")
    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(_LOCK_TIMEOUT)))


def share(connection: Connection) -> None:
    """Be one of those others until the open transaction's end; wait for whoever has stopped them."""
    connection.execute("LOCK TABLE widebeam.turn_types IN ROW SHARE MODE")
