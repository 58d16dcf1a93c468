"""Faults that an application makes: transactions that are large, half undone, or prepared and left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final

import psycopg
from psycopg import sql

from tests.faults.of_processes import kill_capture
from tests.faults.stand import Stand
from tests.pipeline import NARROW

LARGE: Final = 200_000
_SERIAL: Final = count(1)

_READINGS: Final = sql.SQL(
    "INSERT INTO {} (ship_id, data_channel_id, created_time, double_v, value_format)"
    " SELECT (SELECT min(ship_id) FROM {}), 'FAULT.' || n %% 10, {} + n / 10 * interval '1 s', n / 8.0, 'Decimal'"
    " FROM generate_series(0, %s - 1) n"
)


def _write(session: psycopg.Connection[Any], rows: int) -> None:
    """Readings at a time that nobody has used yet."""
    start = sql.SQL("timestamp '2040-01-01' + {} * interval '30 d'").format(sql.Literal(next(_SERIAL)))
    session.execute(_READINGS.format(NARROW, NARROW, start), [rows])


@contextmanager
def large_transaction(stand: Stand) -> Iterator[None]:
    """One transaction of `LARGE` rows."""
    with stand.on_source() as session:
        _write(session, LARGE)
    yield


@contextmanager
def aborted_subtransactions(stand: Stand) -> Iterator[None]:
    """Savepoints within savepoints, some rolled back: a part of a transaction never was."""
    with stand.on_source() as session, session.transaction():
        _write(session, 50)
        for _ in range(20):
            session.execute("SAVEPOINT outer_one")
            _write(session, 20)
            session.execute("SAVEPOINT inner_one")
            _write(session, 20)
            session.execute("ROLLBACK TO inner_one")
            _write(session, 20)
            session.execute("ROLLBACK TO outer_one")
            _write(session, 20)
    yield


@contextmanager
def two_phases(stand: Stand) -> Iterator[None]:
    """Transactions are prepared, capture dies, others commit meanwhile; then one is committed, one rolled back."""
    with stand.on_source() as session:
        for end in ("kept", "undone"):
            with session.transaction():
                _write(session, 100)
                session.execute(sql.SQL("PREPARE TRANSACTION {}").format(sql.Literal(end)))
        with kill_capture(stand):
            stand.recovered()
        session.execute("COMMIT PREPARED 'kept'")
        session.execute("ROLLBACK PREPARED 'undone'")
    yield
