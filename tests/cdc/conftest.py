"""A prepared connector on a fresh database, and a log that only remembers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from cdc.journal import PostgresJournal
from cdc.log.transport import DeliveryFailed, Publisher
from cdc.lsn import Lsn
from cdc.record.envelope import decode
from cdc.record.record import Changes, Record
from cdc.run import Capture
from cdc.settings import CaptureSettings
from cdc.source import publication, slot
from cdc.source.narrow import NarrowTable
from cdc.source.session import connect
from tests.beside import beside

TABLE = NarrowTable(
    "tenant", "readings", ("ship_id",), ("created_time",), ("channel",), ("double_v", "str_v"), ("format",)
)
CONTROL = Path(__file__).parents[2] / "sink" / "control.sql"


@dataclass
class Remembering:
    """A Publisher that keeps what it gets. `hold`: nothing becomes durable; `full`: nothing is taken."""

    partitions: int = 3
    hold: bool = False
    full: bool = False
    failed: bool = False
    refused: bool = False
    """Something was not taken."""

    closed: bool = False
    published: list[tuple[int, bytes | None, bytes]] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def publish(self, partition: int, key: bytes | None, value: bytes, token: int) -> bool:
        with self.changed:
            if self.full:
                self.refused = True
                return False
            self.published.append((partition, key, value))
            self.pending.append(token)
            self.changed.notify_all()
            return True

    def delivered(self, timeout: float = 0.0) -> list[int]:
        with self.changed:
            if self.failed:
                raise DeliveryFailed("as the test wished")
            self.changed.wait_for(lambda: self.pending and not self.hold, timeout)
            done, self.pending = ([], self.pending) if self.hold else (self.pending, [])
            return done

    @property
    def ends(self) -> dict[int, int]:
        return {}

    def has(self, ends: object, timeout: float) -> bool:
        return True

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    @property
    def records(self) -> list[Record]:
        return [decode(value) for _, _, value in self.published]

    @property
    def rows(self) -> list[list[Any]]:
        """Every row with its wide key before it: [ship, time, op, channel, double, str, format]."""
        return [
            [*record.wide.values(), *row]
            for record in self.records
            if isinstance(record, Changes)
            for row in record.rows
        ]

    def wait(self, enough: Callable[[Remembering], bool]) -> None:
        """Until what was published is enough."""
        with self.changed:
            assert self.changed.wait_for(lambda: enough(self), 120), f"not enough came: {self.published[-5:]}"


@dataclass
class Connector:
    """Names and connections of one prepared connector; source and target are the same database."""

    dsn: str
    admin: psycopg.Connection[tuple[Any, ...]]
    cutoff: slot.Cutoff
    name: str

    def settings(self, **changes: Any) -> CaptureSettings:
        quick = {"ack_seconds": 0.05, "idle_seconds": 0.05, "drain_seconds": 5.0, "slot_seconds": 20.0}
        return CaptureSettings(self.name, self.dsn, self.name, self.name, (TABLE,), **{**quick, **changes})

    @contextmanager
    def journal(self) -> Iterator[PostgresJournal]:
        with connect(self.dsn, autocommit=True) as connection:
            yield PostgresJournal(connection, self.name)

    @contextmanager
    def capturing(self, publisher: Publisher, **changes: Any) -> Iterator[threading.Event]:
        """A capture on a thread of its own; what it raises is raised at the end."""

        def run(stop: threading.Event) -> None:
            with self.journal() as journal:
                Capture(self.settings(**changes), publisher, journal).run(stop)

        with beside(run) as stop:
            yield stop

    def captured(self, *statements: str, **changes: Any) -> Remembering:
        """Run the statements, one transaction each, and answer what a capture makes of them."""
        log = Remembering()
        for statement in statements:
            self.admin.execute(statement)
        with self.capturing(log, **changes):
            self.fence(log)
        return log

    def fence(self, log: Remembering, content: str = "fence") -> None:
        """Emit a barrier and wait until it has come out: everything before it has as well."""
        self.admin.execute("SELECT pg_logical_emit_message(true, 'widebeam', %s)", [content])
        mark = f'"barrier":"{content}"'.encode()
        log.wait(lambda it: sum(value.endswith(mark + b"}") for _, _, value in it.published) >= it.partitions)

    def wait_confirmed(self, position: Lsn) -> None:
        """Until the slot is acknowledged up to `position`; the test's time-out ends it otherwise."""
        while self.confirmed() < position:
            self.admin.execute("SELECT pg_sleep(0.02)")

    def confirmed(self) -> Lsn:
        state = slot.inspect(self.admin, self.name)
        assert state is not None
        return state.confirmed_flush

    def heard(self) -> datetime:
        """When the stream's server heard of us last, by its own clock."""
        row = self.admin.execute(
            "SELECT reply_time FROM pg_stat_replication JOIN pg_replication_slots ON active_pid = pid"
            " WHERE slot_name = %s",
            [self.name],
        ).fetchone()
        assert row is not None, "nobody streams"
        return row[0] or datetime.min.replace(tzinfo=UTC)

    def wal_end(self) -> Lsn:
        row = self.admin.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
        assert row is not None
        return Lsn.parse(row[0])


def prepare(dsn: str, extra: str = "") -> Connector:
    """The narrow table, publication, slot and control row of a connector, on an empty database."""
    name = f"wb_{conninfo_to_dict(dsn)['dbname']}"
    admin = connect(dsn, autocommit=True)
    admin.execute("CREATE SCHEMA tenant")
    admin.execute(
        "CREATE TABLE tenant.readings (id bigserial, ship_id text, channel text, created_time timestamp,"
        " double_v float8, str_v text, format varchar(50), PRIMARY KEY (ship_id, channel, created_time))"
    )
    admin.execute("ALTER TABLE tenant.readings ALTER str_v SET STORAGE EXTERNAL")
    if extra:
        admin.execute(extra)
    publication.create(admin, name, TABLE)
    cutoff, incarnation = slot.create(dsn, name), slot.incarnation(dsn)
    admin.execute(CONTROL.read_text())
    admin.execute(
        "INSERT INTO widebeam.connectors (connector, transport, partitions, slot, publication, system_id, timeline,"
        " cutoff, cutoff_snapshot, settings)"
        " VALUES (%(name)s, 'direct', 3, %(name)s, %(name)s, %(system)s, %(timeline)s, %(lsn)s::pg_lsn,"
        " %(snapshot)s::pg_snapshot, '{}')",
        {
            "name": name,
            "system": incarnation.system_id,
            "timeline": incarnation.timeline,
            "lsn": str(cutoff.lsn),
            "snapshot": cutoff.snapshot,
        },
    )
    return Connector(dsn, admin, cutoff, name)


@pytest.fixture
def prepared() -> Iterator[Callable[..., Connector]]:
    """Makes a connector on a database of the test's own choice."""
    made: list[Connector] = []

    def make(dsn: str, extra: str = "") -> Connector:
        made.append(prepare(dsn, extra))
        return made[-1]

    yield make
    for connector in made:
        connector.admin.close()


@pytest.fixture
def connector(database: str) -> Iterator[Connector]:
    """A connector with the primary key as replica identity."""
    made = prepare(database)
    yield made
    made.admin.close()


@pytest.fixture
def full_connector(database: str) -> Iterator[Connector]:
    """A connector with REPLICA IDENTITY FULL."""
    made = prepare(database, "ALTER TABLE tenant.readings REPLICA IDENTITY FULL")
    yield made
    made.admin.close()


@pytest.fixture
def log() -> Remembering:
    """A log in memory that takes everything."""
    return Remembering()
