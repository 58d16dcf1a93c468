"""Faults of the servers: restarts, ended sessions, locks, limits."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import LiteralString

import psycopg
from psycopg import sql

from tests.faults.stand import Stand
from tests.pipeline import NARROW, until

_SINKS: LiteralString = "application_name LIKE 'widebeam sink%'"
_WAITING = sql.SQL("SELECT 1 FROM pg_stat_activity WHERE {} AND wait_event_type = 'Lock'").format(sql.SQL(_SINKS))


@contextmanager
def terminate_walsender(stand: Stand) -> Iterator[None]:
    """pg_terminate_backend of the walsender; over when the next generation is at work."""
    generation = stand.generation()
    with stand.on_source() as source:
        until(lambda: source.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_replication").fetchone())
    until(lambda: stand.generation() > generation)
    yield


@contextmanager
def restart_source(stand: Stand) -> Iterator[None]:
    """The source crashes, and comes back."""
    stand.source.restart("immediate")
    yield


@contextmanager
def restart_target(stand: Stand) -> Iterator[None]:
    """The target crashes, and comes back."""
    generation = stand.generation()
    stand.target.restart("immediate")
    until(lambda: stand.generation() > generation)  # capture finds out when it writes its journal
    yield


@contextmanager
def restart_broker(stand: Stand) -> Iterator[None]:
    """The broker is shut down in order, and comes back."""
    stand.broker.restart()
    yield


@contextmanager
def kill_broker(stand: Stand) -> Iterator[None]:
    """The broker crashes, and comes back."""
    stand.broker.kill()
    stand.broker.restart()
    yield


@contextmanager
def stop_broker(stand: Stand) -> Iterator[None]:
    """SIGSTOP of the broker until a delivery has timed out."""
    until(lambda: _times_out(stand))
    yield


def _times_out(stand: Stand) -> bool:
    """Whether one does; on a slow machine the source may give capture up before, and then no delivery is under way."""
    stand.recovered()
    since = stand.log.stat().st_size
    os.killpg(stand.broker.pid, signal.SIGSTOP)
    try:
        until(lambda: re.search("_MSG_TIMED_OUT|capture (was )?ended", stand.said(since)))
        return "_MSG_TIMED_OUT" in stand.said(since)
    finally:
        os.killpg(stand.broker.pid, signal.SIGCONT)


@contextmanager
def terminate_in_copy(stand: Stand) -> Iterator[None]:
    """A sink's session is terminated in the middle of a COPY (of which a slow line makes a long one)."""
    copying = sql.SQL(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {} AND state = 'active' AND query LIKE 'COPY%'"
    ).format(sql.SQL(_SINKS))
    with stand.gates["target"].weathered(bandwidth=50_000), stand.on_target() as target:
        until(lambda: target.execute(copying).fetchone())
    yield


@contextmanager
def cancel_statements(stand: Stand) -> Iterator[None]:
    """Statements of the sinks end as at a time-out (the same error)."""
    cancel = sql.SQL("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {} AND state = 'active'")
    since = stand.log.stat().st_size
    with stand.on_target() as target:
        until(lambda: target.execute(cancel.format(sql.SQL(_SINKS))).fetchall() and "canceling" in stand.said(since))
    yield


@contextmanager
def fail_serialisation(stand: Stand) -> Iterator[None]:
    """Each batch fails with a serialisation failure, as under a stricter isolation level."""
    since = stand.log.stat().st_size
    with stand.on_target() as target:
        target.execute(
            "CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION"
            " 'could not serialize access' USING ERRCODE = '40001'; END$$"
        )
        target.execute(
            "CREATE TRIGGER fail BEFORE UPDATE OF next_offset ON widebeam.progress EXECUTE FUNCTION public.fail()"
        )
        try:
            until(lambda: "could not serialize" in stand.said(since))
        finally:
            target.execute("DROP FUNCTION public.fail() CASCADE")
    yield


@contextmanager
def deadlock(stand: Stand) -> Iterator[None]:
    """Somebody has the wide tables and wants the progress, a sink has the progress and wants a wide table."""
    since = stand.log.stat().st_size
    with stand.on_target() as target, stand.on_target() as stranger:
        stranger.execute("SET deadlock_timeout = '1h'")  # so that it is the sink that finds the deadlock
        stranger.execute("SET lock_timeout = '5s'")  # a sink that looked for one too early looks no more
        tables = target.execute("SELECT schema_name, table_name FROM widebeam.tables").fetchall()

        def met() -> bool:
            with suppress(psycopg.errors.LockNotAvailable), stranger.transaction():
                for schema, table in tables:
                    stranger.execute(sql.SQL("LOCK {} IN EXCLUSIVE MODE").format(sql.Identifier(schema, table)))
                until(lambda: target.execute(_WAITING).fetchone(), 10)
                stranger.execute("SELECT 1 FROM widebeam.progress ORDER BY partition DESC FOR UPDATE")
            return "deadlock detected" in stand.said(since)

        until(met)
    yield


@contextmanager
def reader_in_the_way(stand: Stand) -> Iterator[None]:
    """A long reader holds every wide table while a new key asks for a column; other readers are not held up by it."""
    since = stand.log.stat().st_size
    with stand.on_target() as target, stand.on_target() as reader, stand.on_source() as source:
        target.execute("SET statement_timeout = '10s'")  # fifty times our own patience
        tables = target.execute("SELECT schema_name, table_name FROM widebeam.tables").fetchall()
        queued = "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"
        with reader.transaction():
            for schema, table in tables:
                reader.execute(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(sql.Identifier(schema, table)))
            source.execute(
                sql.SQL(
                    "INSERT INTO {} (ship_id, data_channel_id, created_time, double_v, value_format)"
                    " SELECT ship_id, 'LATE.' || {}, '2031-01-01', 1.5, 'Decimal' FROM {} GROUP BY ship_id"
                ).format(NARROW, sql.Literal(since), NARROW)
            )
            for _ in range(3):  # attempts, each of which queues before every reader
                until(lambda: target.execute(queued).fetchone())
                for schema, table in tables:
                    target.execute(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(sql.Identifier(schema, table)))
    yield


@contextmanager
def exhaust_connections(stand: Stand) -> Iterator[None]:
    """Others take every connection that the target has, those of the sinks too."""
    since = stand.log.stat().st_size
    terminate = sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {}").format(sql.SQL(_SINKS))
    with stand.on_target() as target, ExitStack() as others:

        def refused() -> bool:
            with suppress(psycopg.OperationalError):
                while True:
                    others.enter_context(psycopg.connect(stand.pipeline.dsn, autocommit=True))
            target.execute(terminate)
            return "too many clients" in stand.said(since)

        until(refused)
    yield
