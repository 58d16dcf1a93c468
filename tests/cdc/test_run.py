"""Capture as a process: acknowledging, pushing back, standing by, ending, starting again."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from cdc.halt import Cause, Halt
from cdc.journal import PostgresJournal, Report, Superseded
from cdc.log import topic as topics
from cdc.log.transport import DeliveryFailed
from cdc.lsn import Lsn
from cdc.record.envelope import decode
from cdc.record.record import Changes
from cdc.run import Capture
from cdc.source import slot
from cdc.standby import SlotInUse
from cdc.wire import stream as wire
from cdc.wire.stream import Stream, StreamEnded, _narrow_window
from tests.faults.proxy import Proxy
from tests.waiting import until
from widebeam.lab.kafka import KafkaBroker

INSERT = "INSERT INTO tenant.readings (ship_id, channel, created_time) SELECT 's', 'c' || g, '2026-01-01' FROM {} g"


def insert(connector: Any, low: int, high: int) -> Lsn:
    """Insert channels c<low>..c<high>; the WAL end after it."""
    connector.admin.execute(INSERT.format(f"generate_series({low}, {high})"))
    return connector.wal_end()


def test_what_is_delivered_is_acknowledged(connector: Any, log: Any) -> None:
    end = insert(connector, 1, 100)
    with connector.capturing(log):
        connector.wait_confirmed(end)
    assert len(log.rows) == 100


def test_confirmed_flush_never_passes_what_is_not_delivered(connector: Any, log: Any) -> None:
    log.hold = True
    before = connector.wal_end()
    insert(connector, 1, 10)
    with connector.capturing(log, drain_seconds=0.1):
        log.wait(lambda it: len(it.rows) == 10)
        insert(connector, 11, 20)
        log.wait(lambda it: len(it.rows) == 20)
        connector.admin.execute("SELECT pg_sleep(0.3)")  # several acknowledgement intervals
        assert connector.confirmed() <= before
    assert connector.confirmed() <= before


def test_a_clean_stop_drains_and_acknowledges(connector: Any, log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing becomes durable before somebody waits for it, which capture only does at its end."""
    deliver = log.delivered

    def delivered(timeout: float = 0.0) -> list[int]:
        return deliver(timeout) if timeout else []

    monkeypatch.setattr(log, "delivered", delivered)
    insert(connector, 1, 10)
    with connector.capturing(log, ack_seconds=60.0):
        log.wait(lambda it: len(it.rows) == 10)
    end = Lsn(log.records[-1].stamp.position + 1)
    with connector.journal() as journal:
        assert journal.load().acknowledged >= end
    connector.wait_confirmed(end)
    assert log.closed


def test_an_idle_table_in_a_busy_database_does_not_hold_wal(connector: Any, log: Any) -> None:
    connector.admin.execute("CREATE TABLE tenant.busy (x int)")
    with connector.capturing(log):
        for _ in range(3):
            connector.admin.execute("INSERT INTO tenant.busy SELECT generate_series(1, 1000)")
            connector.wait_confirmed(connector.wal_end())
    assert log.published == []


def test_pushing_back_does_not_keep_the_server_from_hearing_of_us(
    connector: Any, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_STATUS_SECONDS", 0.1)
    log.full = True
    insert(connector, 1, 30_000)
    with connector.capturing(log):
        until(lambda: log.refused)  # from now on it only pushes back
        for _ in range(2):
            heard = connector.heard()
            until(lambda before=heard: connector.heard() > before)
        log.full = False
        log.wait(lambda it: it.published and len(it.rows) == 30_000)


def test_a_failed_delivery_ends_the_run_and_the_next_one_brings_everything_again(connector: Any, log: Any) -> None:
    log.hold = True
    insert(connector, 1, 5)
    with pytest.raises(DeliveryFailed), connector.capturing(log):
        log.wait(lambda it: len(it.rows) == 5)
        log.failed = True
        log.wait(lambda it: it.closed)
    assert log.closed
    again = connector.captured()
    assert [row[3] for row in again.rows] == [f"c{n}" for n in range(1, 6)]
    stamps = [record.stamp for record in again.records if isinstance(record, Changes)]
    assert [(stamp.generation, stamp.sequence) for stamp in stamps] == [(2, 0)]


def test_a_terminated_walsender_ends_the_run_with_its_error(connector: Any, log: Any) -> None:
    with pytest.raises(psycopg.OperationalError), connector.capturing(log):
        connector.fence(log)
        connector.admin.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
        log.wait(lambda it: it.closed)


def test_a_second_capture_stands_by_and_takes_over(connector: Any, log: Any) -> None:
    standby = type(log)()
    with connector.capturing(log) as stop:
        insert(connector, 1, 5)
        log.wait(lambda it: len(it.rows) == 5)
        with connector.capturing(standby, slot_seconds=None):
            connector.fence(log, "while the first one lives")
            assert standby.published == []
            stop.set()
            log.wait(lambda it: it.closed)
            connector.fence(standby, "after it")
    assert {record.stamp.generation for record in standby.records} == {2}
    assert standby.rows == []


def test_a_capture_that_stands_by_can_be_stopped(connector: Any, log: Any) -> None:
    standby = type(log)()
    with connector.capturing(log):
        connector.fence(log)
        with connector.capturing(standby, slot_seconds=None):
            connector.admin.execute("SELECT pg_sleep(0.2)")
    assert standby.closed


def test_waiting_for_the_slot_is_bounded_and_says_who_holds_it(connector: Any, log: Any) -> None:
    with connector.capturing(log):
        connector.fence(log)
        with pytest.raises(SlotInUse, match=r"in use by PID \d+: widebeam-capture at "):
            capture(connector, type(log)(), slot_seconds=0.5)


def capture(connector: Any, log: Any, **changes: Any) -> None:
    """A run in this thread, for runs that end by themselves."""
    with connector.journal() as journal:
        Capture(connector.settings(**changes), log, journal).run(threading.Event())


def halted(connector: Any, log: Any, cause: Cause) -> str:
    with pytest.raises(Halt) as caught:
        capture(connector, log)
    assert caught.value.cause is cause, str(caught.value)
    return str(caught.value)


def test_a_slot_that_is_gone_halts(connector: Any, log: Any) -> None:
    slot.drop(connector.admin, connector.name)
    assert connector.name in halted(connector, log, Cause.SLOT_GONE)


def test_a_slot_that_somebody_else_moved_halts(connector: Any, log: Any) -> None:
    insert(connector, 1, 5)
    connector.admin.execute("SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())", [connector.name])
    assert str(connector.cutoff.lsn) in halted(connector, log, Cause.SLOT_AHEAD)


def test_a_slot_that_was_made_anew_halts(connector: Any, log: Any) -> None:
    slot.drop(connector.admin, connector.name)
    insert(connector, 1, 5)
    slot.create(connector.dsn, connector.name)
    halted(connector, log, Cause.SLOT_AHEAD)


def test_another_incarnation_halts(connector: Any, log: Any) -> None:
    connector.admin.execute("UPDATE widebeam.connectors SET timeline = timeline + 1")
    assert "timeline" in halted(connector, log, Cause.OTHER_INCARNATION)


def test_a_slot_of_another_plugin_halts(connector: Any, log: Any) -> None:
    slot.drop(connector.admin, connector.name)
    connector.admin.execute("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", [connector.name])
    halted(connector, log, Cause.OTHER_INCARNATION)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP PUBLICATION {}", "is gone"),
        ("ALTER PUBLICATION {} DROP TABLE tenant.readings", "is not in publication"),
        ("ALTER PUBLICATION {} SET (publish = 'insert')", "lacks update, delete, truncate"),
        ("ALTER PUBLICATION {} SET TABLE tenant.readings WHERE (ship_id <> 'x')", "has a row filter"),
        ("ALTER PUBLICATION {} SET TABLE tenant.readings (ship_id, channel, created_time)", "lacks double_v"),
    ],
)
def test_a_publication_that_does_not_bring_everything_halts(connector: Any, log: Any, change: str, said: str) -> None:
    connector.admin.execute(change.format(connector.name))
    assert said in halted(connector, log, Cause.NOT_PUBLISHED)


def test_a_table_taken_out_of_the_publication_halts_the_running_capture(connector: Any, log: Any) -> None:
    with pytest.raises(Halt) as caught, connector.capturing(log, watch_seconds=0.05):
        connector.fence(log)
        connector.admin.execute(f"ALTER PUBLICATION {connector.name} DROP TABLE tenant.readings")
        log.wait(lambda it: it.closed)
    assert caught.value.cause is Cause.NOT_PUBLISHED


def test_an_update_under_an_identity_that_does_not_say_its_cell_halts_and_an_insert_before_it_does_not(
    connector: Any, log: Any
) -> None:
    connector.admin.execute(f"ALTER PUBLICATION {connector.name} SET TABLE tenant.readings")
    connector.admin.execute("CREATE UNIQUE INDEX by_id ON tenant.readings (id)")
    connector.admin.execute("ALTER TABLE tenant.readings REPLICA IDENTITY USING INDEX by_id")
    insert(connector, 1, 1)
    with connector.capturing(log):
        connector.fence(log)
    connector.admin.execute("UPDATE tenant.readings SET double_v = 2")
    assert "--backfill-gap" in halted(connector, type(log)(), Cause.REPLICA_IDENTITY)


def test_a_dropped_column_halts(connector: Any, log: Any) -> None:
    connector.admin.execute(f"ALTER PUBLICATION {connector.name} SET TABLE tenant.readings")
    insert(connector, 1, 1)
    stop_at = type(log)()
    with connector.capturing(stop_at):
        connector.fence(stop_at)
    connector.admin.execute("ALTER TABLE tenant.readings DROP format")
    insert(connector, 2, 2)
    halted(connector, log, Cause.NOT_PUBLISHED)


def test_an_altered_type_halts_the_run_that_meets_it(connector: Any, log: Any) -> None:
    connector.admin.execute(f"ALTER PUBLICATION {connector.name} SET TABLE tenant.readings")  # a list forbids it
    with pytest.raises(Halt, match="double_v") as caught, connector.capturing(log):
        insert(connector, 1, 1)
        log.wait(lambda it: len(it.rows) == 1)
        connector.admin.execute("ALTER TABLE tenant.readings ALTER double_v TYPE text")
        insert(connector, 2, 2)
        log.wait(lambda it: it.closed)
    assert caught.value.cause is Cause.RELATION_CHANGED


def test_the_journal_is_written_before_the_slot_is_told(connector: Any, log: Any) -> None:
    end = insert(connector, 1, 10)
    with connector.capturing(log):
        connector.wait_confirmed(end)
        row = connector.admin.execute(
            "SELECT acknowledged >= confirmed_flush_lsn, records, changes, received >= acknowledged, generation"
            " FROM widebeam.connectors, pg_replication_slots WHERE slot = slot_name"
        ).fetchone()
    assert row == (True, 1, 10, True, 1)


def test_the_journal_fences_an_older_generation(connector: Any) -> None:
    with connector.journal() as old, connector.journal() as new:
        assert (old.take_generation(), new.take_generation()) == (1, 2)
        assert new.acknowledge(Report(Lsn(2000), Lsn(3000), 1, 2))
        with pytest.raises(Superseded):
            old.acknowledge(Report(Lsn(9000), Lsn(9000), 1, 2))
        assert new.acknowledge(Report(Lsn(1000), Lsn(3000), 1, 2))
        assert new.load().acknowledged == Lsn(2000)


def test_a_journal_that_is_locked_says_not_now(connector: Any) -> None:
    with connector.journal() as journal:
        journal.take_generation()
        with connector.admin.transaction():
            connector.admin.execute("SELECT FROM widebeam.connectors FOR UPDATE")
            assert not journal.acknowledge(Report(Lsn(1), Lsn(1), 0, 0))


PROCESS = """
import json, sys, threading
from cdc.journal import PostgresJournal
from cdc.log.kafka import KafkaPublisher
from cdc.source.narrow import NarrowTable
from cdc.run import Capture
from cdc.source.session import connect
from cdc.settings import CaptureSettings
given = json.loads(sys.argv[1])
table = NarrowTable(**{key: tuple(v) if isinstance(v, list) else v for key, v in given["table"].items()})
settings = CaptureSettings(given["name"], given["dsn"], given["name"], given["name"], (table,), ack_seconds=0.05,
    idle_seconds=0.05)
publisher = KafkaPublisher({"bootstrap.servers": given["kafka"]}, given["topic"], 3)
journal = PostgresJournal(connect(given["dsn"], autocommit=True), given["name"])
Capture(settings, publisher, journal).run(threading.Event())
"""


def test_a_killed_capture_starts_again_as_a_new_generation_and_nothing_is_missing(
    connector: Any, kafka: KafkaBroker, topic: str
) -> None:
    topics.create({"bootstrap.servers": kafka.bootstrap}, topics.TopicPlan(topic, 3))
    table = {name: getattr(connector.settings().tables[0], name) for name in connector.settings().tables[0].__slots__}
    given = {"dsn": connector.dsn, "name": connector.name, "kafka": kafka.bootstrap, "topic": topic, "table": table}
    command = [sys.executable, "-c", PROCESS, json.dumps(given)]
    for attempt in range(3):
        start = connector.confirmed()
        insert(connector, attempt * 30_000, attempt * 30_000 + 29_999)
        with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as process:
            while connector.confirmed() == start and process.poll() is None:
                connector.admin.execute("SELECT pg_sleep(0.01)")
            insert(connector, -attempt - 1, -attempt - 1)
            if attempt == 2:
                connector.wait_confirmed(connector.wal_end())
            process.kill()
    records = consumed(kafka, topic)
    assert {row[1] for record in records for row in record.rows} == {f"c{n}" for n in range(-3, 90_000)}
    assert {record.stamp.generation for record in records} == {1, 2, 3}
    for generation in (1, 2, 3):
        sequences = sorted(r.stamp.sequence for r in records if r.stamp.generation == generation)
        assert sequences == list(range(len(sequences)))  # one wide key: all in one partition


def consumed(kafka: KafkaBroker, topic: str) -> list[Changes]:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": topic, "enable.auto.commit": False})
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=60)[1] for p in range(3)]
    consumer.assign([TopicPartition(topic, p, 0) for p in range(3)])
    messages: list[Any] = []
    while len(messages) < sum(ends):
        messages += consumer.consume(1000, 1)
    consumer.close()
    records = [decode(message.value()) for message in messages]
    return [record for record in records if isinstance(record, Changes)]


def test_the_catalog_is_looked_at_before_a_change_is_read(connector: Any, log: Any) -> None:
    insert(connector, 1, 10)

    def look(_: object) -> bool:
        raise Halt(Cause.RELATION_CHANGED, "as the test wished", "")

    with pytest.raises(Halt, match="as the test wished"), connector.capturing(log, survey=look):
        pass
    assert not log.published


def test_the_catalog_is_looked_at_when_the_stream_describes_a_table_anew(connector: Any, log: Any) -> None:
    looks = threading.Semaphore(0)

    def look(_: object) -> bool:
        looks.release()
        return False

    with connector.capturing(log, survey=look, watch_seconds=3600.0):
        assert looks.acquire(timeout=60), "the first look"
        insert(connector, 1, 1)
        assert looks.acquire(timeout=60), "it describes a table first"
        connector.admin.execute("ALTER TABLE tenant.readings ADD COLUMN more int")
        insert(connector, 2, 2)
        assert looks.acquire(timeout=60)


def test_a_change_of_another_table_than_the_one_written_down_halts(connector: Any, log: Any) -> None:
    insert(connector, 1, 1)
    with pytest.raises(Halt, match="another table"), connector.capturing(log, oids={"tenant.readings": 1}):
        log.wait(lambda it: it.closed)
    assert not log.published


def test_while_the_journal_cannot_be_written_the_slot_stays_where_it_is(
    connector: Any, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    acknowledge, refusing, refused = PostgresJournal.acknowledge, threading.Event(), threading.Semaphore(0)
    before = connector.confirmed()

    def busy(self: PostgresJournal, report: Report) -> bool:
        if not refusing.is_set():
            return acknowledge(self, report)
        refused.release()
        return False

    monkeypatch.setattr(PostgresJournal, "acknowledge", busy)
    refusing.set()
    end = insert(connector, 1, 10)
    with connector.capturing(log):
        log.wait(lambda it: len(it.rows) == 10)
        for _ in range(8):  # each is followed by a report to the server
            assert refused.acquire(timeout=60)
        assert connector.confirmed() == before
        refusing.clear()
        connector.wait_confirmed(end)


def test_a_server_that_is_silent_for_as_long_as_it_would_wait_for_us_ends_the_stream(connector: Any) -> None:
    with psycopg.connect(connector.dsn, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {admin.info.dbname} SET wal_sender_timeout = '3min'")
        proxy = Proxy(admin.info.port)
        through = psycopg.conninfo.make_conninfo(connector.dsn, host="127.0.0.1", port=proxy.port)
        stream = Stream.start(through, connector.name, connector.name, connector.cutoff.lsn)
        assert stream._patience == 180
        stream._patience = 0.5
        try:
            port = "SELECT client_port FROM pg_stat_replication WHERE application_name = 'widebeam-capture'"
            silent = proxy.silent("down", port=admin.execute(port).fetchone()[0])
            with silent, pytest.raises(StreamEnded, match="has not answered"):
                until(lambda: stream.read(10, 0.1) or stream.report(connector.cutoff.lsn))
        finally:
            stream.close()
            proxy.close()


SLOWEST = 2**32
"""Microseconds of a round trip that no server is farther away than."""


def receive_window(link: socket.socket) -> int:
    """Bytes, with Linux's own bookkeeping counted in."""
    return link.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


@pytest.fixture
def link() -> Iterator[socket.socket]:
    """A connection over loopback TCP that is not used."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as link:
        yield link


def test_a_near_server_cannot_send_far_ahead_of_our_reading(
    connector: Any, monkeypatch: pytest.MonkeyPatch, link: socket.socket
) -> None:
    """Rows that wait in a full window cost the walsender half of what rows cost that go out one by one."""
    monkeypatch.setattr("cdc.wire.stream._NEAR_MICROSECONDS", SLOWEST)  # how busy the machine is, is not asked
    stream = Stream.start(connector.dsn, connector.name, connector.name, connector.cutoff.lsn)
    try:
        with socket.socket(fileno=os.dup(stream._pgconn.socket)) as open_link:
            found = receive_window(open_link)
    finally:
        stream.close()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
    assert found == receive_window(link)  # what this kernel makes of it


@pytest.mark.parametrize(("near", "narrows"), [(-1, False), (SLOWEST, True)])
def test_only_a_server_that_is_near_gets_a_small_window(
    near: int, narrows: bool, monkeypatch: pytest.MonkeyPatch, link: socket.socket
) -> None:
    monkeypatch.setattr("cdc.wire.stream._NEAR_MICROSECONDS", near)
    before = receive_window(link)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    small = receive_window(link)
    assert small < before
    _narrow_window(link.fileno())
    assert (receive_window(link) > small) is narrows
