from __future__ import annotations

import pytest
from confluent_kafka import Message, Producer

from cdc.log import topic as topics
from cdc.record.partition import murmur2, partition
from widebeam.lab.kafka import KafkaBroker


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_hashes_are_those_of_the_java_client(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected % (1 << 32)


def test_librdkafka_places_keys_alike(kafka: KafkaBroker, topic: str) -> None:
    client = {"bootstrap.servers": kafka.bootstrap}
    topics.create(client, topics.TopicPlan(topic, 7))
    keys = [b'["IMO%d","2026-01-01 00:00:%02d"]' % (n, n % 60) for n in range(200)] + [b"x" * n for n in range(1, 20)]
    placed: dict[bytes, int] = {}

    def note(_error: object, message: Message) -> None:
        placed[message.key()] = message.partition()

    producer = Producer({**client, "partitioner": "murmur2_random"})
    for key in keys:
        producer.produce(topic, b"", key, on_delivery=note)
    assert producer.flush(20) == 0
    assert placed == {key: partition(key, 7) for key in keys}
