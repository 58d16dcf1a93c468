"""What does not stand in the way of a run, and costs its user time or disk sooner or later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import psycopg

from cdc.source.session import connect
from widebeam.check.service import service
from widebeam.config.catalog import members
from widebeam.config.connector import Connector
from widebeam.finding import Finding
from widebeam.plan import time_index

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_SECONDS: Final = 10


def advice(connector: Connector) -> list[Finding]:
    """Advice on the source; none where it cannot be reached, which the findings say."""
    source = connector.options.source
    try:
        with connect(source.conninfo(), autocommit=True, connect_timeout=_SECONDS) as session:
            where = f"source ({source.shown})"
            return [
                each._replace(where=where)
                for look in (no_time_index, unbounded_slot, idle_slot)
                for each in look(session, connector)
            ]
    except psycopg.Error:
        return []


def no_time_index(session: Session, connector: Connector) -> Iterator[Finding]:
    """Chunks are ranges of the time: without an index that leads with its column, each reads the whole table."""
    for table in members(session, connector):
        times = table.time if connector.options.source.alternatives else table.time[:1]
        for each in time_index.lacking(session, table, times):
            if each.rows >= time_index.MANY:
                yield Finding(
                    f"no index of {each.table.text} begins with {each.time}: each chunk of the backfill, and each range"
                    f" of verify, reads all of its {each.rows:,.0f} rows",
                    "",
                    each.statement(session),
                )


def unbounded_slot(session: Session, _: Connector) -> Iterator[Finding]:
    """A connector that stands still holds WAL until the source's disk is full, unless that has a bound."""
    if session.execute("SHOW max_slot_wal_keep_size").fetchone() == ("-1",):
        yield Finding(
            "max_slot_wal_keep_size is -1: while nobody runs the connector, its slot holds WAL until the disk is full",
            "",
            _changed(
                session,
                "max_slot_wal_keep_size",
                "200GB",
                " choose what the disk can spare: beyond it the slot is lost",
            ),
        )


def idle_slot(session: Session, _: Connector) -> Iterator[Finding]:
    """PostgreSQL 18 can invalidate a slot that nobody has used for so long."""
    row = session.execute("SELECT setting FROM pg_settings WHERE name = 'idle_replication_slot_timeout'").fetchone()
    if row is not None and row[0] != "0":
        yield Finding(
            f"idle_replication_slot_timeout is {row[0]} s: a connector that is stopped for longer loses its slot, and"
            " only `widebeam resume --backfill-gap` goes on then",
            "",
            _changed(session, "idle_replication_slot_timeout", "0", " or longer than any stop may last"),
        )


def _changed(session: Session, name: str, value: str, more: str) -> str:
    managed = service(session)
    if managed is None:
        return f"ALTER SYSTEM SET {name} = '{value}'; SELECT pg_reload_conf(); --{more}"
    return f"set {name} = {value} in {managed.place}:{more}"
