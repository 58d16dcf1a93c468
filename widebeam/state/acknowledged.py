"""What somebody has said may stay in the wide tables though the source has it no more; written down in the target."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg.types.json import Jsonb

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_THERE: Final = "SELECT to_regclass('widebeam.acknowledged')"
_LOAD: Final = (
    "SELECT lower, upper, cells, total::text, by_role, at::text FROM widebeam.acknowledged WHERE connector = %s"
    " ORDER BY at, lower"
)
_CLEAR: Final = "DELETE FROM widebeam.acknowledged WHERE connector = %s"
_ADD: Final = (
    "INSERT INTO widebeam.acknowledged (connector, lower, upper, cells, total, by_role, at)"
    " VALUES (%s, %s, %s, %s, %s, coalesce(%s, current_user), coalesce(%s::timestamptz, now()))"
)
_AUDIT: Final = "INSERT INTO widebeam.audit (connector, action, detail) VALUES (%s, 'verify --acknowledge', %s)"


class Acknowledged(NamedTuple):
    """A range of the wide tables' time, both ends in it (texts), the number of its cells and the sum of their hashes.

    `by` and `at` are the target's, and None for one that is still to be written down.
    """

    lower: str
    upper: str
    cells: int
    total: int
    by: str | None = None
    at: str | None = None


def load(session: Session, connector: str) -> list[Acknowledged]:
    """All ranges, the oldest first; none in a control schema from before there were any."""
    if session.execute(_THERE).fetchone() == (None,):
        return []
    rows = session.execute(_LOAD, [connector]).fetchall()
    return [Acknowledged(lower, upper, cells, int(total), by, at) for lower, upper, cells, total, by, at in rows]


def replace(session: Session, connector: str, ranges: Iterable[Acknowledged]) -> None:
    """From now on only these, with a line in the audit for those that are new; in the open transaction."""
    session.execute(_CLEAR, [connector])
    for each in ranges:
        session.execute(_ADD, [connector, *each])
        if each.by is None:
            session.execute(_AUDIT, [connector, Jsonb({"from": each.lower, "to": each.upper, "cells": each.cells})])
