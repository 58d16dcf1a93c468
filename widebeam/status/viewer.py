"""Looks at a connector from outside: the control tables, the slot and Kafka. Changes nothing, and outlives restarts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import psycopg
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin._listoffsets import OffsetSpec
from psycopg.rows import dict_row

from cdc.refusal import Admin
from cdc.source.session import BOUNDED, connect
from sink.state import notices
from sink.state.latency import added, percentile
from snapshot.chunks import ledger
from widebeam.config.connector import Connector
from widebeam.config.options.server import Server
from widebeam.finding import first_line
from widebeam.state import restart_log
from widebeam.status.status import Backfill, HaltSeen, Partition, Slot, State, Status, Stream

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_SECONDS: Final = 5
_LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_IDLE_BYTES: Final = 64 * 1024
"""WAL that an idle database writes between two acknowledgements: no lag in seconds is made of it."""

_RATE: Final = (
    "SELECT sum(rows) FILTER (WHERE merged_at > now() - interval '30 s') / 30.0, "
    "sum(rows) / greatest(extract(epoch FROM max(merged_at) - min(merged_at - seconds * interval '1 s')), 0.001) "
    "FROM widebeam.chunks WHERE connector = %s AND state = 'merged'"
)
_SLOT: Final = (
    "SELECT active, confirmed_flush_lsn::text, (pg_current_wal_lsn() - restart_lsn)::bigint, wal_status, "
    "greatest(pg_current_wal_lsn() - confirmed_flush_lsn, 0)::bigint FROM pg_replication_slots WHERE slot_name = %s"
)


class Viewer:
    """Sessions that are made when they are needed and made again when they broke."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._sessions: dict[str, Session] = {}
        self._admin: Admin | None = None

    def read(self) -> Status:
        """One look. What cannot be reached is named in `problems` and left out."""
        problems: list[str] = []
        now = datetime.now(UTC)
        try:
            target = self._session("target", self._connector.options.target)
            found = self._row(target)
            if found is None:
                return Status(self._connector.name, "absent", now, self._connector.transport)
            slot, behind = self._slot(problems)
            ends = self._ends(found, problems)
            return self._status(target, found, now, slot, behind, ends, problems)
        except psycopg.Error as error:
            self._forget("target")
            problems.append(f"target: {first_line(error)}")
            return Status(self._connector.name, "absent", now, self._connector.transport, problems=tuple(problems))

    def close(self) -> None:
        """End the sessions."""
        for name in list(self._sessions):
            self._forget(name)

    def _status(
        self,
        target: Session,
        found: dict[str, Any],
        now: datetime,
        slot: Slot | None,
        behind: int | None,
        ends: dict[int, int],
        problems: list[str],
    ) -> Status:
        rows, told = self._progress(target), notices.load(target, self._connector.name)
        partitions = tuple(_partition(row, ends.get(row["partition"])) for row in rows)
        backfill = self._backfill(target)
        quarantine = target.execute(
            "SELECT count(*) FROM widebeam.quarantine WHERE connector = %s", [self._connector.name]
        ).fetchone()
        return Status(
            connector=self._connector.name,
            state=_state(found, backfill, filling=any(one.kind == "filling" for one in told)),
            at=now,
            transport=found["transport"],
            generation=found["generation"],
            cutoff=found["cutoff"],
            converged_at=found["converged_at"],
            backfill=backfill,
            stream=_stream(found, rows, partitions, behind, now),
            slot=slot,
            latency_ms=_latency(rows),
            partitions=partitions,
            quarantine=quarantine[0] if quarantine else 0,
            halt=_halt(found),
            notices=tuple(one.what for one in told),
            restarts=restart_log.load(target, self._connector.name),
            problems=tuple(problems),
        )

    def _row(self, target: Session) -> dict[str, Any] | None:
        if target.execute("SELECT to_regclass('widebeam.connectors')").fetchone() == (None,):
            return None
        with target.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(
                "SELECT transport, generation, cutoff::text, converged_at, planned_at, records, changes, topic, "
                "halt_cause, halt_what, halt_remedy, halted_at, settings FROM widebeam.connectors WHERE connector = %s",
                [self._connector.name],
            ).fetchone()

    def _progress(self, target: Session) -> list[dict[str, Any]]:
        with target.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(
                "SELECT partition, epoch, next_offset, high::text, generation, broken, commit_time, applied_at, rows, "
                "cells, skipped, latency FROM widebeam.progress WHERE connector = %s ORDER BY partition",
                [self._connector.name],
            ).fetchall()

    def _backfill(self, target: Session) -> Backfill:
        counts = ledger.counts(target, self._connector.name)
        recent, overall = target.execute(_RATE, [self._connector.name]).fetchone() or (None, None)
        rate = float(recent or overall or 0) if counts.open else float(overall or 0)
        return Backfill(
            chunks=counts.open + counts.given_up + counts.merged + counts.void,
            planned=counts.planned,
            failed=counts.failed,
            given_up=counts.given_up,
            merged=counts.merged,
            void=counts.void,
            rows=counts.rows,
            cells=counts.cells,
            rows_expected=counts.rows + counts.estimated_left,
            rows_s=rate or None,
            eta_s=counts.estimated_left / rate if rate and counts.open else None,
        )

    def _slot(self, problems: list[str]) -> tuple[Slot | None, int | None]:
        try:
            source = self._session("source", self._connector.options.source)
            row = source.execute(_SLOT, [self._connector.slot]).fetchone()
        except psycopg.Error as error:
            self._forget("source")
            problems.append(f"source: {first_line(error)}")
            return None, None
        return (None, None) if row is None else (Slot(row[0], row[1] or "0/0", row[2], row[3] or "lost"), row[4])

    def _ends(self, found: dict[str, Any], problems: list[str]) -> dict[int, int]:
        """The offsets after the last record of each partition; empty without Kafka."""
        if found["topic"] is None or self._connector.options.kafka is None:
            return {}
        try:
            admin = self._asked().client
            topics = admin.list_topics(found["topic"], timeout=_SECONDS).topics[found["topic"]]
            asked = {TopicPartition(found["topic"], number): _LATEST for number in topics.partitions}
            answers = admin.list_offsets(asked, request_timeout=_SECONDS)
            return {where.partition: answer.result().offset for where, answer in answers.items()}
        except KafkaException as error:
            why = self._asked().why(error)
            problems.append(f"Kafka: {why.args[0]}" if why is error else str(why))
            return {}

    def _asked(self) -> Admin:
        if self._admin is None:
            self._admin = Admin(self._connector.kafka_client())
        return self._admin

    def _session(self, name: str, server: Server) -> Session:
        session = self._sessions.get(name)
        if session is None or session.closed:
            session = connect(server.conninfo(), autocommit=True, **BOUNDED, application_name="widebeam-status")
            session.execute("SELECT set_config('statement_timeout', %s, false)", [f"{_SECONDS}s"])
            self._sessions[name] = session
        return session

    def _forget(self, name: str) -> None:
        session = self._sessions.pop(name, None)
        if session is not None:
            session.close()


def _state(found: dict[str, Any], backfill: Backfill, *, filling: bool) -> State:
    if found["settings"].get("dropping"):
        return "dropping"
    if found["halt_cause"] is not None:
        return "halted"
    if found["cutoff"] is None or found["planned_at"] is None:
        return "preparing"
    if backfill.planned or backfill.failed or backfill.given_up or filling:
        return "backfilling"
    return "streaming" if found["converged_at"] is None else "converged"


def _partition(row: dict[str, Any], end: int | None) -> Partition:
    lag = None if end is None else max(end - row["next_offset"], 0)
    kept = ("partition", "next_offset", "high", "epoch", "generation", "broken", "rows", "commit_time", "applied_at")
    return Partition(end_offset=end, lag=lag, **{name: row[name] for name in kept})


def _stream(
    found: dict[str, Any],
    rows: list[dict[str, Any]],
    partitions: tuple[Partition, ...],
    behind: int | None,
    now: datetime,
) -> Stream:
    lags = [partition.lag for partition in partitions if partition.lag is not None]
    return Stream(
        lag_bytes=behind,
        lag_seconds=_lag_seconds(partitions, behind, now),
        lag_records=sum(lags) if lags else None,
        records=found["records"],
        changes=found["changes"],
        rows=sum(row["rows"] for row in rows),
        cells=sum(row["cells"] for row in rows),
        skipped=sum(row["skipped"] for row in rows),
    )


def _latency(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    together: list[int] = []
    for row in rows:
        together = added(together, row["latency"])
    return {name: percentile(together, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}


def _lag_seconds(partitions: tuple[Partition, ...], behind: int | None, now: datetime) -> float | None:
    """How old the newest change is that is visible, if anything waits; 0 if nothing does; None if nobody knows."""
    waiting = [partition for partition in partitions if partition.lag]
    if not waiting and behind is None:
        return None
    if not waiting and behind is not None and behind <= _IDLE_BYTES:
        return 0.0
    times = [partition.commit_time for partition in waiting or partitions if partition.commit_time is not None]
    if not times:
        return None
    oldest = min(times) if waiting else max(times)
    return max((now - oldest).total_seconds(), 0.0)


def _halt(found: dict[str, Any]) -> HaltSeen | None:
    if found["halt_cause"] is None:
        return None
    return HaltSeen(found["halt_cause"], found["halt_what"] or "", found["halt_remedy"] or "", found["halted_at"])
