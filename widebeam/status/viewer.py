"""Looks at a connector from outside: the control tables, the slot and Kafka. Changes nothing, and outlives restarts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import psycopg
from confluent_kafka import KafkaException

from cdc.refusal import BrokerRefused
from cdc.source import slot_waits
from cdc.source.session import BOUNDED, connect
from sink.state import notices
from widebeam.config.connector import Connector
from widebeam.config.options.server import Server
from widebeam.finding import first_line
from widebeam.state import restart_log, signs
from widebeam.state.sign import Sign
from widebeam.state.twins import twins
from widebeam.status import source_view, target_view
from widebeam.status.facts import Facts, Waits
from widebeam.status.judge import CAPTURES, judge
from widebeam.status.lag import WalClock, behind
from widebeam.status.log_view import LogView
from widebeam.status.source_view import SlotSeen
from widebeam.status.status import Partition, Status, Stream
from widebeam.status.target_view import Row

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_SECONDS: Final = 5


@dataclass(slots=True)
class _Look:
    """What one look has gathered beside the target's own rows."""

    at: datetime
    problems: list[str] = field(default_factory=list)
    slot: SlotSeen | None = None
    held_up: tuple[str, ...] = ()
    ends: dict[int, int] = field(default_factory=dict)
    next: dict[int, float | None] = field(default_factory=dict)
    """By partition in which something waits: when that was committed (Unix time); None where it cannot be told."""

    @property
    def now(self) -> float:
        """Unix time by the source's clock, whose commit times are compared with it."""
        return self.at.timestamp() if self.slot is None else self.slot.now


class Viewer:
    """Sessions that are made when they are needed and made again when they broke. `ours` is a process of the connector
    that looks for itself: it lives, whether or not its sign could be written."""

    def __init__(self, connector: Connector, ours: str | None = None) -> None:
        self._connector = connector
        self._name = connector.name
        self._ours = ours
        self._began = datetime.now(UTC)
        self._sessions: dict[str, Session] = {}
        self._log: LogView | None = None
        self._clock = WalClock()

    def read(self) -> Status:
        """One look. What cannot be reached is named in `problems` and left out."""
        look = _Look(datetime.now(UTC))
        try:
            target = self._session("target", self._connector.options.target)
            found = target_view.connector(target, self._name)
            if found is None:
                look.problems.extend(twins(target, self._connector))
                return self._without(look, "absent", "it is not set up", f"widebeam run {self._name}")
            self._source(look, found["slot"])
            rows = target_view.progress(target, self._name)
            self._topic(look, found["topic"], rows)
            return self._status(target, found, rows, look)
        except psycopg.Error as error:
            self._forget("target")
            look.problems.append(f"target: {first_line(error)}")
            return self._without(look, "unreachable", look.problems[-1], f"widebeam check {self._name}")

    def close(self) -> None:
        """End the sessions."""
        for name in list(self._sessions):
            self._forget(name)
        if self._log is not None:
            self._log.close()
            self._log = None

    def _without(self, look: _Look, state: Any, cause: str, command: str) -> Status:
        """A status of which nothing is known but that."""
        return Status(
            self._name, state, look.at, self._connector.transport, cause=cause, command=command,
            problems=tuple(look.problems),
        )  # fmt: skip

    def _status(self, target: Session, found: Row, rows: list[Row], look: _Look) -> Status:
        told, lives = notices.load(target, self._name), self._signs(target)
        partitions = tuple(_partition(row, look.ends.get(row["partition"])) for row in rows)
        counts, (halted, halt) = target_view.backfill(target, self._name), target_view.halt(found)
        stream = self._stream(found, rows, partitions, look, lives)
        phase = target_view.phase(found, counts, filling=any(one.kind == "filling" for one in told))
        facts = Facts(
            self._name,
            phase,
            found["slot"],
            found["transport"],
            dropping=bool(found["settings"].get("dropping")),
            halt=halt,
            unreachable=tuple(look.problems),
            read_only=found["read_only"],
            slot=None if look.slot is None else look.slot.fact,
            held_up=look.held_up,
            signs=lives,
            waits=tuple(_waits(found, rows, look)),
            lag_records=stream.lag_records,
            refused=target_view.refused(target, self._name),
            chunks_open=counts.planned + counts.failed,
            chunks_given_up=counts.given_up,
            mapped=target_view.mapped(found),
        )
        verdict = judge(facts)
        return Status(
            connector=self._name,
            state=verdict.state,
            at=look.at,
            transport=found["transport"],
            phase=phase,
            cause=verdict.cause,
            command=verdict.command,
            generation=found["generation"],
            cutoff=found["cutoff"],
            converged_at=found["converged_at"],
            backfill=counts,
            stream=stream,
            slot=None if look.slot is None else look.slot.shown,
            latency_ms=target_view.latency(rows),
            partitions=partitions,
            quarantine=target_view.quarantined(target, self._name),
            halt=halted if verdict.state == "halted" else None,
            notices=(
                *(one.what for one in told),
                *target_view.not_widened(target, self._name),
                *target_view.notes(found),
            ),
            restarts=restart_log.load(target, self._name),
            signs=lives or (),
            problems=tuple(dict.fromkeys([*look.problems, *verdict.also])),
        )

    def _signs(self, target: Session) -> tuple[Sign, ...] | None:
        if not signs.there(target):
            return None
        found = signs.load(target, self._name)
        if self._ours is None or any(one.fresh and one.part == self._ours for one in found):
            return found
        return (Sign(self._ours, "", 0, 0.0, (datetime.now(UTC) - self._began).total_seconds(), "at work"), *found)

    def _stream(
        self,
        found: Row,
        rows: list[Row],
        partitions: tuple[Partition, ...],
        look: _Look,
        lives: tuple[Sign, ...] | None,
    ) -> Stream:
        lags = [partition.lag for partition in partitions if partition.lag is not None]
        held = found["waiting_since"]
        known = lives is None or any(one.fresh and one.kind in CAPTURES for one in lives)
        waits = [None if since is None else max(look.now - since, 0.0) for since in look.next.values()]
        seen, unseen = look.slot, None if found["topic"] is None or look.ends else [None]
        if seen is not None and not known:
            seen = seen._replace(wal=seen.wal._replace(streams=False))
        return Stream(
            lag_bytes=None if look.slot is None else look.slot.behind,
            lag_seconds=behind(
                None if seen is None else seen.wal,
                self._clock,
                look.now,
                held=None if held is None else max(look.now - held, 0.0),
                waits=[*waits, *(unseen or ())],
            ),
            lag_records=sum(lags) if lags else None,
            records=found["records"],
            changes=found["changes"],
            rows=sum(row["rows"] for row in rows),
            cells=sum(row["cells"] for row in rows),
            skipped=sum(row["skipped"] for row in rows),
        )

    def _source(self, look: _Look, slot: str) -> None:
        try:
            source = self._session("source", self._connector.options.source)
            look.held_up = tuple(slot_waits.held_up(source, slot))
            look.slot = source_view.look(source, slot)
        except psycopg.Error as error:
            self._forget("source")
            look.problems.append(f"source: {first_line(error)}")
        if look.slot is not None:
            self._clock.see(look.now, look.slot.wal.end)

    def _topic(self, look: _Look, topic: str | None, rows: list[Row]) -> None:
        """Where the log ends, and since when what is next there waits."""
        if topic is None or self._connector.options.kafka is None:
            return
        try:
            if self._log is None:
                self._log = LogView(self._connector.kafka_client(), topic)
            look.ends = self._log.ends()
            wanted = {
                row["partition"]: row["next_offset"]
                for row in rows
                if look.ends.get(row["partition"], 0) > row["next_offset"]
            }
            look.next = dict.fromkeys(wanted)
            look.next.update(self._log.committed(wanted))
        except (KafkaException, BrokerRefused, TimeoutError, KeyError) as error:
            why = error.args[0] if isinstance(error, KafkaException) else error
            look.problems.append(f"Kafka: {getattr(why, 'str', lambda: why)()}")

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


def _waits(found: Row, rows: list[Row], look: _Look) -> Iterable[Waits]:
    """What waits in the log, and in capture's hands: on the direct transport until it is applied."""
    still = {row["partition"]: row["still"] for row in rows}
    for partition, since in look.next.items():
        if since is not None:
            age = max(look.now - since, 0.0)
            yield Waits(f"partition {partition}", age, age if still[partition] is None else still[partition])
    if found["waiting_since"] is not None:
        age, applied = (
            max(look.now - found["waiting_since"], 0.0),
            [each for each in still.values() if each is not None],
        )
        moved = min([*applied, *([] if found["still"] is None else [found["still"]])], default=age)
        where = "from the source to the wide tables" if found["topic"] is None else "on the way into the topic"
        yield Waits(where, age, moved)


def _partition(row: Row, end: int | None) -> Partition:
    lag = None if end is None else max(end - row["next_offset"], 0)
    kept = ("partition", "next_offset", "high", "epoch", "generation", "broken", "rows", "commit_time", "applied_at")
    return Partition(end_offset=end, lag=lag, **{name: row[name] for name in kept})
