"""The quarantine: readings and records that cannot be placed, kept whole, each once however often it is delivered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import psycopg

from sink.misfit import Misfit

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_DETAIL_LIMIT: Final = 1000

_INSERT: Final = (
    "INSERT INTO widebeam.quarantine (connector, origin, position, reason, detail, raw)"
    " VALUES (%s, %s, %s::pg_lsn, %s, %s, %s) ON CONFLICT (connector, origin, reason) DO NOTHING"
)


def write(connection: Connection, connector: str, misfits: Iterable[Misfit]) -> None:
    """Put them away, in the open transaction."""
    rows = [
        [
            connector,
            each.origin,
            None if each.position is None else str(each.position),
            each.reason,
            _short(each),
            each.raw,
        ]
        for each in misfits
    ]
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(_INSERT, rows)


def _short(misfit: Misfit) -> str:
    """A text column holds everything but NUL."""
    return misfit.detail.replace("\0", "\\0")[:_DETAIL_LIMIT]


def _position(misfit: Misfit) -> str | None:
    return None if misfit.position is None else str(misfit.position)
