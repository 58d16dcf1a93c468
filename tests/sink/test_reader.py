"""What only Kafka can do to a reader: forget records, be another topic, be gone."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient

from cdc.halt import Cause, Halt
from cdc.log import topic as log
from cdc.log.kafka import KafkaPublisher
from cdc.log.topic import TopicPlan, create, delete
from sink.reader import KafkaReader
from tests.waiting import PATIENCE


class Owner:
    def __init__(self, offset=0, error=None):
        self.offset, self.error = offset, error

    def assigned(self, partitions):
        if self.error is not None:
            raise self.error
        return dict.fromkeys(partitions, self.offset)

    def revoked(self, partitions):
        pass


@pytest.fixture
def client(kafka, topic):
    """A topic of one partition that holds the records 0 to 9."""
    settings = {"bootstrap.servers": kafka.bootstrap, "topic.metadata.refresh.interval.ms": 300}
    create(settings, TopicPlan(topic, 1))
    publisher = KafkaPublisher(settings, topic, 1)
    for n in range(10):
        assert publisher.publish(0, None, b"%d" % n, n)
    tokens: list[int] = []
    while len(tokens) < 10:
        tokens += publisher.delivered(1.0)
    publisher.close()
    return settings


@pytest.fixture
def reading(client, topic):
    made: list[KafkaReader] = []

    def start(**owner):
        made.append(KafkaReader(client, topic, f"group of {topic}", Owner(**owner)))
        return made[-1]

    yield start
    for reader in made:
        reader.close()


def records(reader, count):
    """Poll until there are so many."""
    got = []
    deadline = time.monotonic() + PATIENCE
    while len(got) < count:
        assert time.monotonic() < deadline
        got += reader.poll(100, 0.1)
    return got


def halted(reader):
    with pytest.raises(Halt) as halt:
        records(reader, 1)
    return halt.value


def test_a_record_that_is_older_than_the_log_halts_as_a_retention_gap(client, topic, reading):
    admin = AdminClient(client)
    (done,) = admin.delete_records([TopicPartition(topic, 0, 5)]).values()
    done.result(timeout=30)
    halt = halted(reading(offset=3))
    assert halt.cause is Cause.RETENTION_GAP
    assert "from offset 3, and the log begins at 5" in halt.what


def test_an_offset_behind_the_log_s_end_halts_as_another_topic(reading):
    halt = halted(reading(offset=11))
    assert halt.cause is Cause.TOPIC_RECREATED
    assert "from offset 11, and the log ends at 10" in halt.what


def test_the_log_s_end_is_a_good_place_to_read_from(reading):
    assert reading(offset=10).poll(10, 1.0) == []


def test_a_broker_that_knows_nothing_of_the_topic_is_asked_again_before_anything_halts(
    client, topic, reading, monkeypatch
):
    reader, looked, nobody = reading(), log.inspect, [None, None]
    monkeypatch.setattr(log, "inspect", lambda *asked: nobody.pop() if nobody else looked(*asked))
    seen = []
    monkeypatch.setattr(reader, "identify", seen.append)
    reader._news(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), 0)
    assert [int(each.value) for each in records(reader, 10)] == list(range(10))
    assert not nobody
    assert [each.partitions for each in seen] == [1], "and it is looked at whether it is the same one"


def test_a_topic_that_is_deleted_halts(client, topic, reading, monkeypatch):
    monkeypatch.setattr(log, "SOUGHT", 0.5)
    reader = reading()
    records(reader, 10)
    delete(client, topic)
    assert halted(reader).cause is Cause.TOPIC_RECREATED


def test_what_the_owner_raises_comes_out_of_poll_and_nothing_is_read(reading):
    reader = reading(error=LookupError("no such partition"))
    with pytest.raises(LookupError, match="no such partition"):
        records(reader, 1)
    assert reader.poll(100, 0.5) == []


def test_the_group_s_own_offsets_are_not_believed_but_told(client, topic, reading):
    group = Consumer({**client, "group.id": f"group of {topic}"})
    group.commit(offsets=[TopicPartition(topic, 0, 9)], asynchronous=False)
    reader = reading(offset=2)
    assert [each.offset for each in records(reader, 8)] == list(range(2, 10))
    reader.applied({0: 7})
    deadline = time.monotonic() + PATIENCE
    while group.committed([TopicPartition(topic, 0)], timeout=60)[0].offset != 7:
        assert time.monotonic() < deadline
        reader.poll(1, 0.1)
    group.close()
