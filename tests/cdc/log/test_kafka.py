"""Topic and publisher on a real broker."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any
from unittest.mock import MagicMock

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from cdc.halt import Cause, Halt
from cdc.log import group as groups
from cdc.log import topic as topics
from cdc.log.kafka import KafkaPublisher
from cdc.log.transport import DeliveryFailed
from sink.reader import KafkaReader
from widebeam.lab.kafka import KafkaBroker


class FromTheStart:
    def assigned(self, partitions: list[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, 0)

    def revoked(self, partitions: list[int]) -> None:
        pass


@pytest.fixture
def client(kafka: KafkaBroker) -> dict[str, Any]:
    return {"bootstrap.servers": kafka.bootstrap}


def test_a_topic_is_made_as_planned(client: dict[str, Any], topic: str) -> None:
    state = topics.create(client, topics.TopicPlan(topic, 3, retention_hours=2, max_message_bytes=3_000_000))
    assert (state.partitions, state.cleanup_policy, state.retention_ms) == (3, "delete", 7_200_000)
    assert state.max_message_bytes == 3_000_000
    assert state == topics.inspect(client, topic)
    assert topics.check(topic, state, state.topic_id, 3) is state


def test_a_topic_that_is_there_already_is_not_taken(client: dict[str, Any], topic: str) -> None:
    topics.create(client, topics.TopicPlan(topic, 3))
    with pytest.raises(KafkaException, match="TOPIC_ALREADY_EXISTS"):
        topics.create(client, topics.TopicPlan(topic, 3))


def test_a_topic_made_anew_has_another_id(client: dict[str, Any], topic: str) -> None:
    first = topics.create(client, topics.TopicPlan(topic, 3))
    assert topics.delete(client, topic)
    assert topics.inspect(client, topic) is None
    assert not topics.delete(client, topic)
    second = topics.create(client, topics.TopicPlan(topic, 3))
    with pytest.raises(Halt) as caught:
        topics.check(topic, second, first.topic_id, 3)
    assert caught.value.cause is Cause.TOPIC_RECREATED


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        (None, Cause.TOPIC_RECREATED),
        (topics.TopicState("id", 4, "delete", 1, 1), Cause.PARTITIONS_CHANGED),
        (topics.TopicState("id", 3, "compact,delete", 1, 1), Cause.COMPACTION),
    ],
)
def test_a_topic_that_is_not_as_recorded_halts(state: topics.TopicState | None, cause: Cause) -> None:
    with pytest.raises(Halt) as caught:
        topics.check("t", state, "id", 3)
    assert caught.value.cause is cause


@pytest.mark.parametrize("days", [-400, 400])
def test_a_record_is_as_old_as_the_broker_says_whatever_the_clock_of_its_host(
    days: int, client: dict[str, Any], topic: str
) -> None:
    """Else one from a clock that is ahead is refused, and one from a clock behind is deleted before it is read."""
    topics.create(client, topics.TopicPlan(topic, 1))
    told = MagicMock()
    producer = Producer(client)
    producer.produce(topic, b"value", timestamp=int((time.time() + days * 86_400) * 1000), on_delivery=told)
    producer.flush(20)
    [(error, message)] = [call.args for call in told.call_args_list]
    assert error is None
    assert message.timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME


def drained(publisher: KafkaPublisher, count: int) -> list[int]:
    tokens: list[int] = []
    deadline = time.monotonic() + 60
    while len(tokens) < count and time.monotonic() < deadline:
        tokens += publisher.delivered(0.5)
    return tokens


def test_records_are_delivered_to_their_partitions_in_order(client: dict[str, Any], topic: str) -> None:
    topics.create(client, topics.TopicPlan(topic, 3))
    publisher = KafkaPublisher(client, topic, 3)
    for token in range(300):
        assert publisher.publish(token % 3, b"key" if token % 2 else None, b"%d" % token, token)
    assert sorted(drained(publisher, 300)) == list(range(300))
    publisher.close()
    consumer = Consumer({**client, "group.id": topic})
    consumer.assign([TopicPartition(topic, p, 0) for p in range(3)])
    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
    while sum(map(len, seen.values())) < 300:
        for message in consumer.consume(300, 1):
            seen[message.partition()].append(int(message.value()))
    consumer.close()
    assert seen == {p: list(range(p, 300, 3)) for p in range(3)}


def test_a_full_queue_pushes_back_and_goes_on(client: dict[str, Any], topic: str) -> None:
    topics.create(client, topics.TopicPlan(topic, 1))
    publisher = KafkaPublisher(client, topic, 1)
    value, token, refused, delivered = b"x" * 1_000_000, 0, 0, 0
    while token < 60:
        if publisher.publish(0, None, value, token):
            token += 1
        else:
            refused += 1
            delivered += len(publisher.delivered(0.1))
    assert refused
    assert len(drained(publisher, 60 - delivered)) == 60 - delivered
    publisher.close()


def test_a_record_that_the_client_finds_too_large_halts_and_names_it(client: dict[str, Any], topic: str) -> None:
    topics.create(client, topics.TopicPlan(topic, 1))
    publisher = KafkaPublisher(client, topic, 1)
    with pytest.raises(Halt, match=r'\["ship","now"\].*`record_megabytes`') as caught:
        publisher.publish(0, b'["ship","now"]', b"x" * (17 * 1024 * 1024), 0)
    assert caught.value.cause is Cause.RECORD_TOO_LARGE
    publisher.close()


def test_a_record_that_the_broker_finds_too_large_halts_and_names_it(client: dict[str, Any], topic: str) -> None:
    topics.create(client, topics.TopicPlan(topic, 1, max_message_bytes=1000))
    publisher = KafkaPublisher({**client, "compression.type": "none"}, topic, 1)
    publisher.publish(0, b'["ship","now"]', b"x" * 10_000, 0)
    with pytest.raises(Halt, match=r'\["ship","now"\]') as caught:
        drained(publisher, 1)
    assert caught.value.cause is Cause.RECORD_TOO_LARGE
    publisher.close()


def test_a_record_without_a_broker_fails_after_the_delivery_time_out(topic: str) -> None:
    publisher = KafkaPublisher({"bootstrap.servers": "127.0.0.1:1", "delivery.timeout.ms": 300}, topic, 1)
    publisher.publish(0, None, b"x", 0)
    with pytest.raises(DeliveryFailed, match="TIMED_OUT"):
        drained(publisher, 1)
    with pytest.raises(DeliveryFailed):
        publisher.publish(0, None, b"x", 1)
    publisher.close()


@pytest.mark.parametrize("fatal", [True, False])
def test_only_a_fatal_error_of_the_producer_fails_the_run(client: dict[str, Any], topic: str, fatal: bool) -> None:
    topics.create(client, topics.TopicPlan(topic, 1))
    publisher = KafkaPublisher(client, topic, 1)
    publisher._broke(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "records were lost", fatal))
    if fatal:
        with pytest.raises(DeliveryFailed, match="records were lost"):
            publisher.publish(0, None, b"x", 0)
    else:
        publisher.publish(0, None, b"x", 0)
        assert drained(publisher, 1) == [0]
    publisher.close()


def test_a_topic_that_is_gone_fails_the_run(client: dict[str, Any], topic: str) -> None:
    publisher = KafkaPublisher({**client, "delivery.timeout.ms": 2000}, topic, 1)
    with pytest.raises(DeliveryFailed):
        publisher.publish(0, None, b"x", 0)
        drained(publisher, 1)
    publisher.close()


def test_no_setting_of_the_users_makes_a_delivery_less_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    """librdkafka does not tell what it was configured with, so its constructors are looked over the shoulder."""
    given: dict[str, Any] = {}

    def configured(settings: dict[str, Any]) -> MagicMock:
        given.update(settings)
        return MagicMock()

    monkeypatch.setattr("cdc.log.kafka.Producer", configured)
    monkeypatch.setattr("sink.reader.Consumer", configured)
    careless = {
        "acks": 1, "enable.idempotence": False, "enable.auto.commit": True, "enable.auto.offset.store": True,
        "auto.offset.reset": "latest", "isolation.level": "read_committed", "linger.ms": 50,
    }  # fmt: skip
    KafkaPublisher(careless, "t", 1)
    assert (given["acks"], given["enable.idempotence"], given["linger.ms"]) == ("all", True, 50)
    KafkaReader(careless, "t", "g", MagicMock())
    assert (given["auto.offset.reset"], given["isolation.level"]) == ("error", "read_uncommitted")
    assert (given["enable.auto.commit"], given["enable.auto.offset.store"]) == (False, False)


def test_a_record_of_a_raised_limit_goes_all_the_way_though_it_is_longer_than_any_queue(
    client: dict[str, Any], topic: str
) -> None:
    longest = 40 * 1024 * 1024
    topics.create(client, topics.TopicPlan(topic, 1, max_message_bytes=longest))
    publisher = KafkaPublisher({**client, "message.max.bytes": str(longest)}, topic, 1)
    value = b"\x01" * (30 * 1024 * 1024)
    assert publisher.publish(0, b"key", value, 7)
    assert drained(publisher, 1) == [7]
    publisher.close()
    reader = KafkaReader({**client, "group.protocol": "consumer"}, topic, f"group of {topic}", FromTheStart())
    try:
        deadline, got = time.monotonic() + 60, list[Any]()
        while not got and time.monotonic() < deadline:
            got += reader.poll(10, 0.2)
        assert [each.value for each in got] == [value]
        assert groups.members(client, f"group of {topic}") == 1  # whose drop has to wait
    finally:
        reader.close()
    assert groups.awaited_empty(client, f"group of {topic}")


def test_a_topic_that_the_brokers_do_not_make_is_refused_before_and_when_it_is_made(
    client: dict[str, Any], topic: str
) -> None:
    for wrong in (
        topics.TopicPlan(topic, 1, replication_factor=3),
        topics.TopicPlan(topic, 1, settings={"min.insync.replicas": "many"}),
    ):
        with pytest.raises(topics.Refused):
            topics.try_out(client, wrong)
        with pytest.raises(topics.Refused):
            topics.create(client, wrong)
    topics.try_out(client, topics.TopicPlan(topic, 1))
    assert topics.inspect(client, topic) is None
    topics.create(client, topics.TopicPlan(topic, 1, max_message_bytes=1000, settings={"segment.ms": "3600000"}))
    topics.take_longer(client, topic, 2_000_000)
    state = topics.inspect(client, topic)
    assert state is not None
    assert state.max_message_bytes == 2_000_000


def test_a_topic_that_another_part_makes_meanwhile_is_one_that_can_be_made(kafka: KafkaBroker, topic: str) -> None:
    plan = topics.TopicPlan(topic, 1)
    topics.create({"bootstrap.servers": kafka.bootstrap}, plan)
    topics.try_out({"bootstrap.servers": kafka.bootstrap}, plan)


def test_a_group_that_nobody_keeps_yet_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    admin, passing = MagicMock(), (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS)
    answers = [*(KafkaException(KafkaError(code)) for code in passing), MagicMock(members=["a", "b"])]
    for asked in (admin.describe_consumer_groups, admin.delete_consumer_groups):
        asked.return_value.__getitem__.return_value.result.side_effect = list(answers)
    monkeypatch.setattr(groups, "asking", lambda _: nullcontext(admin))
    assert groups.members({}, "g") == 2
    assert groups.delete({}, "g")
