"""Room for locks in the target: what locks all wide tables in one transaction needs it.

A chunk of the backfill is merged in one transaction, whatever entities it has, and so is a truncate. (A sink's batch
is cut, and tables are made in portions.)
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from sink.apply import MOST_TABLES

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_A_TABLE: Final = 2
"""Locks for a table that is written: its own, and its key's."""


class Lack(NamedTuple):
    """More locks are `needed` than there is `room` for; with `setting` for max_locks_per_transaction there is."""

    needed: int
    room: int
    setting: int


def lack(target: Session, tables: int, workers: int, sinks: int) -> Lack | None:
    """Whether so many workers of the backfill and sinks lack room, if there are so many wide tables."""
    row = target.execute(_ROOM).fetchone()
    sessions, each = (1, 64) if row is None else row
    needed = _A_TABLE * (tables * workers + min(tables, MOST_TABLES) * sinks)
    return Lack(needed, sessions * each, -(-needed * 5 // 4 // sessions)) if needed > sessions * each else None


_ROOM: Final = (
    "SELECT current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int,"
    " current_setting('max_locks_per_transaction')::int"
)
