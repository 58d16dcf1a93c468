"""The brokers lose what they had confirmed, and forget that they ever had it: capture sees it before it publishes."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from cdc.halt import Cause, Halt
from cdc.log import topic as topics
from cdc.log.kafka import KafkaPublisher
from cdc.log.transport import DeliveryFailed
from cdc.run import Capture
from widebeam.lab.kafka import KafkaBroker

INSERT = "INSERT INTO tenant.readings (ship_id, channel, created_time) SELECT 's', 'c' || g, '2026-01-01' FROM {} g"


def lose_the_last_records(broker: KafkaBroker, topic: str) -> None:
    """As a broker comes back whose disk had not yet got them, or as one is elected that never had them."""
    broker.kill()
    for log in (broker.directory / "data").glob(f"{topic}-0/*.log"):
        log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    for clean in (broker.directory / "data").glob(".kafka_cleanshutdown"):
        clean.unlink()
    broker.restart()


def test_capture_halts_when_the_log_has_lost_what_it_had_confirmed(connector: Any, broker: KafkaBroker) -> None:
    client = {"bootstrap.servers": broker.bootstrap}
    topics.create(client, topics.TopicPlan("lost", 1))
    for low in (1, 11):  # the second run finds all that the first one left
        connector.admin.execute(INSERT.format(f"generate_series({low}, {low + 9})"))
        end = connector.wal_end()
        with connector.capturing(KafkaPublisher(client, "lost", 1)):
            connector.wait_confirmed(end)
    with connector.journal() as journal:
        assert journal.load().log_ends == topics.ends(client, "lost", [0], 60)
    lose_the_last_records(broker, "lost")
    connector.admin.execute(INSERT.format("generate_series(21, 30)"))
    before, stop = connector.confirmed(), threading.Event()
    give_up = threading.Timer(30, stop.set)
    give_up.start()
    with connector.journal() as journal, pytest.raises(Halt, match="had confirmed: partition 0 ends at") as halted:
        Capture(connector.settings(), KafkaPublisher(client, "lost", 1), journal).run(stop)
    give_up.cancel()
    assert halted.value.cause is Cause.LOG_INCOMPLETE
    assert connector.confirmed() == before


def test_a_log_that_cannot_be_asked_ends_the_run_as_one_that_takes_nothing(
    connector: Any, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.run._SILENT", 0.2)
    monkeypatch.setattr(log, "has", lambda ends, timeout: False)
    with connector.journal() as journal, pytest.raises(DeliveryFailed, match="where it ends"):
        Capture(connector.settings(), log, journal).run(threading.Event())
    assert log.rows == []
