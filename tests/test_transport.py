"""What capture and sink rely on in the log between them, whichever it is: Kafka or memory."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest

from cdc.log.direct import MemoryLog
from cdc.log.kafka import KafkaPublisher
from cdc.log.topic import TopicPlan, create
from sink.reader import KafkaReader

PARTITIONS = 4
PATIENCE = 45.0
"""Seconds for what a consumer group takes to settle on a busy machine."""


class Memory:
    """The log in memory."""

    def __init__(self) -> None:
        self._log = MemoryLog(PARTITIONS)

    def publisher(self):
        return self._log.publisher()

    def join(self, assignment):
        return self._log.join(assignment)


class Kafka:
    """A topic of its own on the broker."""

    def __init__(self, bootstrap, topic) -> None:
        self._client = {"bootstrap.servers": bootstrap}
        self._topic = topic
        create(self._client, TopicPlan(topic, PARTITIONS))

    def publisher(self):
        return KafkaPublisher(self._client, self._topic, PARTITIONS)

    def join(self, assignment):
        quick = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 200, "topic.metadata.refresh.interval.ms": 500}
        return KafkaReader({**self._client, **quick}, self._topic, f"group of {self._topic}", assignment)


class Owner:
    """A sink's part: knows from where to read, and which partitions it has. `applied` stands for the target."""

    def __init__(self, applied: dict[int, int]) -> None:
        self.applied, self.mine = applied, set[int]()

    def assigned(self, partitions):
        self.mine |= set(partitions)
        return {partition: self.applied.get(partition, 0) for partition in partitions}

    def revoked(self, partitions):
        self.mine -= set(partitions)


class Member:
    """A reader with its owner, and what it has got by partition."""

    def __init__(self, log, applied=None) -> None:
        self.owner = Owner({} if applied is None else applied)
        self.reader = log.join(self.owner)
        self.got: dict[int, list[Any]] = {partition: [] for partition in range(PARTITIONS)}

    def poll(self, limit=100, timeout=0.1):
        received = self.reader.poll(limit, timeout)
        for each in received:
            self.got[each.partition].append(each)
        return received

    def apply(self):
        """What was got is in the target."""
        offsets = {partition: got[-1].offset + 1 for partition, got in self.got.items() if got}
        self.owner.applied.update(offsets)
        self.reader.applied(offsets)

    def values(self, partition):
        return [each.value for each in self.got[partition]]


def until(condition, *members):
    """Poll until it is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        for member in members:
            member.poll()


@pytest.fixture(params=["memory", "kafka"])
def log(request):
    if request.param == "memory":
        return Memory()
    return Kafka(request.getfixturevalue("kafka").bootstrap, request.getfixturevalue("topic"))


@pytest.fixture
def member(log):
    made: list[Member] = []

    def join(applied=None):
        made.append(Member(log, applied))
        return made[-1]

    yield join
    for each in made:
        each.reader.close()


def publish(publisher, partition, *values, first_token=0):
    for token, value in enumerate(values, first_token):
        while not publisher.publish(partition, b"key", value, token):
            publisher.delivered(0.1)


def delivered(publisher, count):
    tokens: list[int] = []
    deadline = time.monotonic() + PATIENCE
    while len(tokens) < count:
        assert time.monotonic() < deadline
        tokens += publisher.delivered(0.1)
    return tokens


def test_records_come_in_order_within_a_partition_with_offsets_that_go_on(log, member):
    publisher, reader = log.publisher(), member()
    assert publisher.partitions == PARTITIONS
    values = [b"%d" % n for n in range(50)]
    for n, value in enumerate(values):
        publish(publisher, n % 2, value)
    until(lambda: len(reader.got[0]) + len(reader.got[1]) == 50, reader)
    for partition in (0, 1):
        assert reader.values(partition) == values[partition::2]
        assert [each.offset for each in reader.got[partition]] == list(range(25))
        assert {each.key for each in reader.got[partition]} == {b"key"}
        moments = [each.timestamp for each in reader.got[partition]]  # by the clock of the log, which is not ours
        assert 1_700_000_000_000 < moments[0] <= moments[-1]
        assert moments == sorted(moments)


def test_a_record_without_key_comes_without_one(log, member):
    publisher, reader = log.publisher(), member()
    assert publisher.publish(3, None, b"x", 0)
    until(lambda: reader.got[3], reader)
    assert reader.got[3][0].key is None


def test_a_poll_waits_for_the_first_record_and_gives_no_more_than_it_is_asked_for(log, member):
    publisher, reader = log.publisher(), member()
    until(lambda: len(reader.owner.mine) == PARTITIONS, reader)
    assert reader.poll(timeout=0.05) == []
    publish(publisher, 0, *[b"x"] * 10)
    while not reader.got[0]:
        assert len(reader.poll(limit=3, timeout=1.0)) <= 3
    until(lambda: len(reader.got[0]) == 10, reader)


def test_what_was_not_applied_comes_again_after_a_rewind(log, member):
    publisher, reader = log.publisher(), member()
    publish(publisher, 0, b"a", b"b", b"c")
    publish(publisher, 1, b"other")
    until(lambda: len(reader.got[0]) == 3 and reader.got[1], reader)
    reader.reader.rewind(0, 1)
    until(lambda: len(reader.got[0]) == 5, reader)
    assert [(each.offset, each.value) for each in reader.got[0][3:]] == [(1, b"b"), (2, b"c")]
    assert reader.values(1) == [b"other"]


def test_tokens_come_back_once_each_when_their_records_are_durable(log, member):
    publisher, reader = log.publisher(), member()
    publish(publisher, 0, b"a", b"b", first_token=10)
    publish(publisher, 2, b"c", first_token=30)
    until(lambda: len(reader.got[0]) == 2 and reader.got[2], reader)
    reader.apply()
    assert sorted(delivered(publisher, 3)) == [10, 11, 30]
    assert publisher.delivered(0.05) == []


def test_reading_begins_where_the_target_says(log, member):
    publisher, first = log.publisher(), member()
    publish(publisher, 0, b"a", b"b", b"c")
    until(lambda: len(first.got[0]) == 3, first)
    first.owner.applied[0] = 2
    first.reader.applied({0: 2})
    first.reader.close()
    first.reader = _Closed()
    second = member(first.owner.applied)
    until(lambda: second.got[0], second)
    assert [(each.offset, each.value) for each in second.got[0]] == [(2, b"c")]


def test_two_readers_share_the_partitions_and_each_record_is_one_s(log, member):
    publisher, applied = log.publisher(), dict[int, int]()
    first = member(applied)
    until(lambda: len(first.owner.mine) == PARTITIONS, first)
    second = member(applied)
    until(lambda: len(first.owner.mine) == len(second.owner.mine) == PARTITIONS // 2, first, second)
    assert first.owner.mine | second.owner.mine == set(range(PARTITIONS))
    for partition in range(PARTITIONS):
        publish(publisher, partition, b"%d" % partition)
    until(lambda: sum(map(len, (*first.got.values(), *second.got.values()))) == PARTITIONS, first, second)
    for reader in (first, second):
        assert {partition for partition, got in reader.got.items() if got} == reader.owner.mine


def test_a_reader_that_leaves_gives_its_partitions_to_the_other_which_reads_what_was_not_applied(log, member):
    publisher, applied = log.publisher(), dict[int, int]()
    first, second = member(applied), member(applied)
    until(lambda: len(first.owner.mine) == len(second.owner.mine) == PARTITIONS // 2, first, second)
    partition = min(first.owner.mine)
    publish(publisher, partition, b"applied", b"polled")
    until(lambda: len(first.got[partition]) == 2, first, second)
    first.owner.applied[partition] = 1
    first.reader.applied({partition: 1})
    first.reader.close()
    assert first.owner.mine == set()
    first.reader = _Closed()
    until(lambda: second.got[partition], second)
    assert second.values(partition) == [b"polled"]
    assert len(second.owner.mine) == PARTITIONS


def test_the_bounds_of_a_partition_are_its_first_and_next_offset(log, member):
    publisher, reader = log.publisher(), member()
    publish(publisher, 1, b"a", b"b")
    until(lambda: len(reader.got[1]) == 2, reader)
    assert reader.reader.bounds(1)[1] == 2
    assert reader.reader.bounds(2) == (0, 0)


def test_a_closed_publisher_s_undelivered_records_do_no_harm_to_the_next_one(log, member):
    reader = member()
    until(lambda: len(reader.owner.mine) == PARTITIONS, reader)
    first = log.publisher()
    publish(first, 0, b"of the first")
    first.close()
    second = log.publisher()
    publish(second, 0, b"of the second", first_token=7)
    until(lambda: b"of the second" in reader.values(0), reader)
    reader.apply()
    assert delivered(second, 1) == [7]
    assert [each.offset for each in reader.got[0]] == list(range(len(reader.got[0])))


class _Closed:
    """In the place of a reader that has been closed already."""

    close = partial(lambda: None)
