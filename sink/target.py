"""Connections to the target database, with the settings under which sinks and backfill workers write."""

from __future__ import annotations

from typing import Any, TypeAlias

import psycopg

from cdc.source.session import connect

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_SETTINGS = (
    # A commit that is lost in a crash after the log was told of it would be lost for good.
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
    # Statements name hundreds of columns and touch few rows: to compile them takes longer than to run them.
    "SET jit = off",
    # A process that stands still in a transaction must not hold its partitions for ever. (As for one whose machine is
    # gone, see cdc/source/session.py.)
    "SET idle_in_transaction_session_timeout = '60s'",
    "SET temp_buffers = '32MB'",
)


def open_target(dsn: str, application_name: str) -> Connection:
    """Connect to the target, in autocommit."""
    connection = connect(dsn, autocommit=True, application_name=application_name)
    for setting in _SETTINGS:
        connection.execute(setting)
    return connection


def planned(connection: Connection, connector: str) -> bool:
    """Is the ledger complete? Nothing may be applied before: a cell cleared then would get no tombstone."""
    row = connection.execute("SELECT planned_at FROM widebeam.connectors WHERE connector = %s", [connector]).fetchone()
    if row is None:
        raise LookupError(f"connector {connector} is not in widebeam.connectors: prepare it first")
    return row[0] is not None
