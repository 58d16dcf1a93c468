"""Many runs of capture in one process, as they end by themselves and by the source: each lets go of all it had."""

from __future__ import annotations

import threading
from itertools import cycle
from typing import Any

import psycopg
import pytest

from cdc import run as runs
from cdc.log import topic as topics
from cdc.log.kafka import KafkaPublisher
from cdc.run import Capture
from tests.footprint import assert_nothing_is_left
from widebeam.lab.kafka import KafkaBroker

INSERT = "INSERT INTO tenant.readings (ship_id, channel, created_time) VALUES ('s', 'c', clock_timestamp())"
END = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = current_database()"


def test_nothing_is_left_of_a_run_of_capture_that_ended(
    connector: Any, kafka: KafkaBroker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_PATIENCE", 0.01)  # it looks at what was delivered as often
    client = {"bootstrap.servers": kafka.bootstrap}
    topics.create(client, topics.TopicPlan(topic, 2))
    terminated = cycle([False, True])

    def run(stop: threading.Event) -> None:
        with connector.journal() as journal:
            try:
                Capture(connector.settings(), KafkaPublisher(client, topic, 2), journal).run(stop)
            except psycopg.OperationalError:
                assert ends_by_the_source

    ends_by_the_source = False

    def once() -> None:
        nonlocal ends_by_the_source
        ends_by_the_source, stop = next(terminated), threading.Event()
        connector.admin.execute(INSERT)
        end = connector.wal_end()
        thread = threading.Thread(target=run, args=[stop])
        thread.start()
        connector.wait_confirmed(end)
        if ends_by_the_source:
            connector.admin.execute(END)
        else:
            stop.set()
        thread.join(60)
        assert not thread.is_alive()

    assert_nothing_is_left(once, 25)
