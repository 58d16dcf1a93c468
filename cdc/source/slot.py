"""The replication slot: made with its cutoff, looked at, checked against our own record, dropped."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import sql

from cdc.halt import OVER_THE_GAP, Cause, Halt
from cdc.lsn import Lsn
from cdc.patience import LockHeld, writers
from cdc.source import slot_waits
from cdc.source.session import answered, connect

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

PLUGIN: Final = "pgoutput"

PATIENCE: Final = 600.0
"""Seconds that making a slot waits for one transaction: a batch that writes may take long, and is no mistake."""

_FAILOVER: Final = 170_000
"""The server version that brought slots that standbys can keep a copy of."""


class Cutoff(NamedTuple):
    """Where the stream of a new slot begins: commits below `lsn` are what the exported snapshot sees.

    `snapshot` is the text of pg_current_snapshot() in the exported snapshot, which gate G compares with.
    """

    lsn: Lsn
    snapshot: str


class Incarnation(NamedTuple):
    """Which history LSNs belong to: the cluster's system identifier and its timeline."""

    system_id: str
    timeline: int


class SlotState(NamedTuple):
    """A slot as pg_replication_slots shows it. `active_pid` is None while nobody streams from it."""

    plugin: str
    database: str
    confirmed_flush: Lsn
    restart: Lsn | None
    active_pid: int | None
    wal_status: str
    invalidation: str | None


def create(dsn: str, slot: str, *, failover: bool = True, patience: float = PATIENCE) -> Cutoff:
    """Make the slot and answer its cutoff. Waits for the transactions that write just now, for each so many seconds.

    With `failover`, standbys can keep a copy of it (where the server knows that, from 17 on): it takes nothing more.

    The exported snapshot lives until the next command on the connection that made the slot, so it is read by a
    second one. If that fails, the slot is dropped again: without the cutoff it is of no use. Raises LockHeld. For whom
    it waits is told meanwhile.
    """
    with connect(dsn, autocommit=True, replication="database", application_name=slot_waits.MAKER) as maker:
        copied = failover and maker.info.server_version >= _FAILOVER
        form = "CREATE_REPLICATION_SLOT {} LOGICAL pgoutput " + (
            "(SNAPSHOT 'export', FAILOVER true)" if copied else "EXPORT_SNAPSHOT"
        )
        maker.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(f"{patience * 1000:.0f}ms")))
        try:
            with slot_waits.told(dsn, slot):
                made = maker.execute(sql.SQL(form).format(sql.Identifier(slot))).fetchone()
        except psycopg.errors.LockNotAvailable as error:
            with connect(dsn, autocommit=True) as reader:
                raise LockHeld(f"making the slot {slot}", writers(reader)) from error
        assert made is not None  # noqa: S101 - the command answers one row or raises
        try:
            return Cutoff(Lsn.parse(made[1]), _read_snapshot(dsn, made[2]))
        except BaseException:
            maker.execute(sql.SQL("DROP_REPLICATION_SLOT {}").format(sql.Identifier(slot)))
            raise


def _read_snapshot(dsn: str, exported: str) -> str:
    with connect(dsn, application_name="widebeam-prepare") as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(exported)))
        row = reader.execute("SELECT pg_current_snapshot()::text").fetchone()
        assert row is not None  # noqa: S101
        return str(row[0])


def inspect(connection: Connection, slot: str) -> SlotState | None:
    """The slot's state, None if there is no such logical slot."""
    row = connection.execute(
        "SELECT to_jsonb(s) FROM pg_replication_slots s WHERE slot_name = %s AND slot_type = 'logical'", [slot]
    ).fetchone()
    if row is None:
        return None
    found: dict[str, Any] = row[0]  # as JSON, since each version of the server has other columns
    restart = found["restart_lsn"]
    return SlotState(
        plugin=found["plugin"],
        database=found["database"],
        confirmed_flush=Lsn.parse(found["confirmed_flush_lsn"] or "0/0"),
        restart=None if restart is None else Lsn.parse(restart),
        active_pid=found["active_pid"],
        wal_status=found["wal_status"] or "lost",
        invalidation=found.get("invalidation_reason"),
    )


def holder(connection: Connection, slot: str, pid: int) -> str:
    """A sentence on who streams from the slot."""
    row = connection.execute(
        "SELECT application_name, client_addr::text, backend_start::text FROM pg_stat_activity WHERE pid = %s", [pid]
    ).fetchone()
    name, address, since = row or (None, None, None)
    who = (
        f"{name or 'a process'} at {address or 'the same machine'} since {since}" if row else "a process that just went"
    )
    return f"replication slot {slot} is in use by PID {pid}: {who}"


def drop(connection: Connection, slot: str) -> bool:
    """Drop the slot; False if there was none. Fails while somebody streams from it."""
    found = connection.execute(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", [slot]
    )
    return found.rowcount > 0


def drop_unfinished(connection: Connection, slot: str) -> None:
    """Drop a slot that was made for somebody who was killed, or that is still being made for him."""
    slot_waits.abandon(connection, slot)
    drop(connection, slot)


def incarnation(dsn: str) -> Incarnation:
    """Which history the server that `dsn` names is in."""
    with connect(dsn, autocommit=True, replication="database") as connection, answered(connection):
        row = connection.execute("IDENTIFY_SYSTEM").fetchone()
        assert row is not None  # noqa: S101
        return Incarnation(str(row[0]), int(row[1]))


def check(slot: str, state: SlotState | None, recorded: Lsn) -> SlotState:
    """The slot can go on from `recorded`, the position that we last acknowledged (or the cutoff); else a Halt."""
    if state is None:
        raise Halt(Cause.SLOT_GONE, f"replication slot {slot} is gone", OVER_THE_GAP)
    if state.invalidation is not None or state.wal_status == "lost":
        why = state.invalidation or "its WAL was removed"
        raise Halt(Cause.SLOT_INVALIDATED, f"replication slot {slot} was invalidated: {why}", OVER_THE_GAP)
    if state.plugin != PLUGIN:
        raise Halt(Cause.OTHER_INCARNATION, f"replication slot {slot} is of plugin {state.plugin} now", OVER_THE_GAP)
    if state.confirmed_flush > recorded:
        raise Halt(
            Cause.SLOT_AHEAD,
            f"replication slot {slot} was acknowledged up to {state.confirmed_flush}, beyond our record {recorded}: "
            "somebody else read from it, or the target was restored from a backup",
            OVER_THE_GAP,
        )
    return state


def check_incarnation(recorded: Incarnation, found: Incarnation) -> None:
    """The server is in the history in which the connector was prepared; else a Halt."""
    if recorded != found:
        raise Halt(
            Cause.OTHER_INCARNATION,
            f"the source is system {found.system_id} timeline {found.timeline}, "
            f"and positions are of system {recorded.system_id} timeline {recorded.timeline}",
            f"Point `dsn` of [source] at the right server; after a restore or a failover, {OVER_THE_GAP}",
        )


def switch_point(dsn: str, before: Incarnation, now: Incarnation) -> Lsn | None:
    """Where timeline `before` ended and a later one began from which `now` comes; None if it does not come from it.

    Source: PostgreSQL documentation, "Streaming Replication Protocol", TIMELINE_HISTORY: lines of a timeline's number,
    the position at which the next one began, and why.
    """
    if before.system_id != now.system_id or now.timeline <= before.timeline:
        return None
    with connect(dsn, autocommit=True, replication="database") as connection:
        row = connection.execute(
            sql.SQL("TIMELINE_HISTORY {}").format(sql.SQL(str(int(now.timeline))))  # a number, never quoted
        ).fetchone()
    text = row[1] if row is not None else ""
    lines = (text.decode() if isinstance(text, bytes) else str(text)).splitlines()
    fields = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return next((Lsn.parse(each[1]) for each in fields if each[0] == str(before.timeline)), None)
