"""The forms of records: Avro on Kafka, from capture to the wide tables; in memory, what cannot be read is no gap."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from confluent_kafka import Consumer, TopicPartition

from cdc.halt import Cause, Halt
from tests.pipeline import change_some, command, pipeline_over
from tests.plant import Plant
from tests.readings import FILE, NARROW
from tests.waiting import until
from widebeam.run.parts import _ours, run_stream


def test_avro_is_carried_and_replayed_and_so_is_json_beside_it(database, kafka, topic, tmp_path):
    pipeline = pipeline_over(database, tmp_path, kafka=kafka.bootstrap, topic=topic)
    plain = pipeline.file.read_text()
    pipeline.file.write_text(plain + 'format = "avro"\nschema_id = 300\n')
    pipeline.converge()
    change_some(database)
    pipeline.converge()
    pipeline.file.write_text(plain)
    change_some(database)
    pipeline.converge()
    pipeline.prove()
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "forms"})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(4)])
    firsts = {message.value()[:5] for message in consumer.consume(100_000, 5) if message.value()}
    consumer.close()
    assert b"\0\0\0\x01\x2c" in firsts
    assert any(first.startswith(b"{") for first in firsts)
    replayed = command(pipeline, "replay", pipeline.file.stem, "--from-offset", "0", "--yes")
    assert replayed.returncode == 0, replayed.stderr
    pipeline.converge()
    pipeline.prove()


def test_in_memory_a_record_that_cannot_be_read_halts_instead_of_costing_what_follows():
    with pytest.raises(Halt) as halt:
        _ours(b"{broken")
    assert halt.value.cause is Cause.UNDECODABLE_STREAM


def test_in_memory_a_record_that_cannot_be_read_halts_the_run(database, tmp_path, monkeypatch):
    plant = Plant(database, tmp_path / "broken.toml", FILE.format(dsn=database))
    plant.execute(NARROW)
    plant.prepare()
    monkeypatch.setattr("cdc.record.envelope.MAX_BYTES", 20_000)
    plant.execute("INSERT INTO tenant.readings SELECT 's', 'k' || n, '2024-01-01', n FROM generate_series(1, 2000) n")
    stop = Event()
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(run_stream, plant.connector, plant.ready, stop)
        try:
            until(running.done)
        finally:
            stop.set()
    with pytest.raises(Halt) as halt:
        running.result()
    assert halt.value.cause is Cause.UNDECODABLE_STREAM
