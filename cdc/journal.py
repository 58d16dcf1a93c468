"""Capture's own durable record, in the target: its generation, and what it has acknowledged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

import psycopg
from psycopg.types.json import Jsonb

from cdc.lsn import Lsn
from cdc.source.slot import Incarnation

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]


class Superseded(Exception):
    """Another capture has taken a later generation: this run is over."""


class Account(NamedTuple):
    """What the connector's record says. `acknowledged` is the cutoff until something was acknowledged.

    `log_ends` are by partition the offsets behind the last record that the log had confirmed, if it keeps records.
    """

    incarnation: Incarnation
    acknowledged: Lsn
    log_ends: Mapping[int, int] = {}


class Report(NamedTuple):
    """How far a run of capture is; `records` and `changes` (narrow rows) count since the last report.

    All that is acknowledged lies before `log_ends` in the log; partitions that are not in it are as they were.
    `waiting_since` is the commit time (microseconds since 1970) of something that was read and is not durable yet.
    `ignored` are messages since the last report that had our prefix and were no barriers.
    """

    acknowledged: Lsn
    received: Lsn
    records: int
    changes: int
    log_ends: Mapping[int, int] = {}
    waiting_since: int | None = None
    ignored: int = 0


class Journal(Protocol):
    """The record of one connector."""

    def load(self) -> Account:
        """What is recorded."""

    def take_generation(self) -> int:
        """The number of a new run of capture: one more than that of any run before, durably."""

    def acknowledge(self, report: Report) -> bool:
        """Write the report down, before the slot is told. False: not now (busy), try again. Raises Superseded."""


class PostgresJournal:
    """The record in widebeam.connectors; the connection is the journal's own, in autocommit."""

    def __init__(self, connection: Connection, connector: str) -> None:
        self._connection = connection
        self._connector = connector
        self._generation = 0
        # Capture answers the server's keepalives on the same thread, so it must not wait for a lock here.
        connection.execute("SET lock_timeout = '1s'")

    def load(self) -> Account:
        """What is recorded."""
        row = self._connection.execute(
            "SELECT system_id, timeline, coalesce(acknowledged, cutoff)::text, log_ends"
            " FROM widebeam.connectors WHERE connector = %s",
            [self._connector],
        ).fetchone()
        if row is None or row[2] is None:
            raise LookupError(f"connector {self._connector} is not prepared: its slot is not recorded in the target")
        ends = {int(partition): int(end) for partition, end in row[3].items()}
        return Account(Incarnation(row[0], row[1]), Lsn.parse(row[2]), ends)

    def take_generation(self) -> int:
        """The number of a new run of capture."""
        row = self._connection.execute(
            "UPDATE widebeam.connectors SET generation = generation + 1 WHERE connector = %s RETURNING generation",
            [self._connector],
        ).fetchone()
        if row is None:
            raise LookupError(f"connector {self._connector} is gone from the target")
        self._generation = int(row[0])
        return self._generation

    def acknowledge(self, report: Report) -> bool:
        """Write the report down. The generation in the WHERE fences a capture that was thought dead."""
        try:
            written = self._connection.execute(
                "UPDATE widebeam.connectors SET acknowledged = greatest(acknowledged, %s::pg_lsn),"
                " received = %s::pg_lsn, received_at = now(), records = records + %s, changes = changes + %s,"
                " log_ends = log_ends || %s,"
                " ignored_messages = ignored_messages + %s,"
                " waiting_since = timestamptz 'epoch' + %s::bigint * interval '1 microsecond',"
                " advanced_at = CASE WHEN acknowledged < %s::pg_lsn OR %s > 0 THEN now() ELSE advanced_at END"
                " WHERE connector = %s AND generation = %s",
                [
                    str(report.acknowledged),
                    str(report.received),
                    report.records,
                    report.changes,
                    Jsonb({str(partition): end for partition, end in report.log_ends.items()}),
                    report.ignored,
                    report.waiting_since,
                    str(report.acknowledged),
                    report.records,
                    self._connector,
                    self._generation,
                ],
            )
        except psycopg.errors.LockNotAvailable:
            return False
        if written.rowcount == 0:
            raise Superseded(f"generation {self._generation} of {self._connector} is not the latest any more")
        return True
