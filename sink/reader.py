"""The reading end of the log on Kafka: one member of the consumer group of a connector's sinks.

Where to read comes from the target alone. The group's own offsets are written for lag tools, and never read.

Partitions are dealt out cooperatively (cooperative-sticky): when a sink comes or goes, only those that change hands
stop, and a rebalance does not make every sink read again what it had polled.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from cdc.log import topic
from cdc.log.said import LOGGER
from cdc.log.topic import TopicState
from cdc.log.transport import Assignment, Received
from cdc.refusal import refusal
from cdc.trouble import TROUBLES
from sink.state import halts

CONSUMER: Final[Mapping[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # never jump over records, or back
    "partition.assignment.strategy": "cooperative-sticky",
    "isolation.level": "read_uncommitted",  # ours are not in transactions, and somebody else's must not hold us up
    "allow.auto.create.topics": False,
    "fetch.wait.max.ms": 100,
    "fetch.message.max.bytes": 1024 * 1024,  # of one partition at once, and at least one record however long
    "queued.min.messages": 10_000,
    "queued.max.messages.kbytes": 8 * 1024,  # what a sink holds in memory before it is polled
    "fetch.queue.backoff.ms": 20,  # until it is looked at again whether there is room; the default is a second
    "log.connection.close": False,
}
"""Our settings of the consumer, which win over those of the user."""

_SESSION_MS: Final = 10_000
"""After so long without a sign of life a sink's partitions go to the others, unless the user says otherwise.

A sink that vanished, or could not say goodbye because the group was just being dealt anew: its partitions stand still
for so long. (Kafka's default is 45 s. Heartbeats come from a thread of their own, whatever the sink does.)"""

_REQUEST: Final = 30.0
"""Seconds for one request to the brokers."""

_POLL_BYTES: Final = 8 * 1024 * 1024
"""Bytes of values in one poll at most (or one record)."""

_FAREWELL: Final = 0.3
"""Seconds for leaving the group in order: partitions are given back, the request to leave goes out."""

_TAKE: Final = 500
_COMMIT_EVERY: Final = 1.0
"""Seconds between two publications of the group's offsets."""

_new: Final = tuple.__new__  # makes a NamedTuple without the call of its Python-level __new__

_OF_THE_BROKERS: Final = (
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "partition.assignment.strategy",
    "group.protocol.type",
)
"""Settings that librdkafka refuses beside group.protocol = consumer. There all partitions are dealt cooperatively."""

READING: Final = "reading"
"""Whose trouble it is when the brokers give no records: it is over when they do. librdkafka tells of it once."""

_GONE: Final = frozenset((KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION))


class KafkaReader:
    """Reads a topic as a member of `group`. `client` is librdkafka's configuration with bootstrap.servers in it."""

    def __init__(self, client: Mapping[str, Any], topic: str, group: str, assignment: Assignment) -> None:
        self._client, self._topic = client, topic
        self._doubt = ""
        self._assignment = assignment
        self._failure: BaseException | None = None
        self._wanted: dict[int, int] = {}
        self._unpublished: dict[int, int] = {}
        self._published_at = time.monotonic()
        self._consumer = Consumer(
            {**configuration(client), "group.id": group, "error_cb": self._broke, "logger": LOGGER}
        )
        self._consumer.subscribe([topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)

    def poll(self, limit: int, timeout: float) -> list[Received]:
        """Up to `limit` records, in order within each partition; waits `timeout` seconds for the first, never for more.

        Raises Halt when the log does not hold what is wanted, and what `Assignment.assigned` raised; after that only
        `close` is of use.
        """
        received: list[Received] = []
        size = 0
        messages = self._consumer.consume(1, timeout)
        while messages:
            new = list(filter(None, map(self._received, messages)))
            received += new
            size += sum([len(each.value) for each in new])
            if len(received) >= limit or size >= _POLL_BYTES:
                break
            messages = self._consumer.consume(min(_TAKE, limit - len(received)), 0)
        if received:
            TROUBLES.over(READING)
        if self._doubt:
            self._seek()
        self._check()
        self._publish(every=_COMMIT_EVERY)
        return received

    def rewind(self, partition: int, offset: int) -> None:
        """Read this partition from `offset` on."""
        self._wanted[partition] = offset
        self._consumer.seek(TopicPartition(self._topic, partition, offset))

    def applied(self, offsets: dict[int, int]) -> None:
        """These next offsets are durable in the target: tell the group, now and then."""
        self._unpublished.update(offsets)

    def bounds(self, partition: int) -> tuple[int, int]:
        """The first offset that the log still holds and the offset after the last one."""
        return topic.bounds(self._consumer, self._topic, partition)

    def close(self) -> None:
        """Leave the group.

        By unsubscribing first: a consumer that is closed while a rebalance is under way can wait for its offsets'
        commits, which stand behind its own request to join, which the broker answers when all members have joined or
        were given up. That took as long as the session time-out, here and for the group's next members.
        """
        self._publish(every=0.0)
        self._consumer.unsubscribe()
        self._consumer.consume(1, _FAREWELL)
        self._consumer.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """What is raised here would be lost in librdkafka's hands: `poll` raises it.

        The partitions are taken all the same, without reading any: a consumer that does not take what it was given
        cannot give it back, and hangs when it is closed. That an offset is still in the log is for the first fetch
        to find out.
        """
        try:
            offsets = self._assignment.assigned([each.partition for each in partitions])
            for each in partitions:
                each.offset = self._wanted[each.partition] = offsets[each.partition]
            consumer.incremental_assign(partitions)
        except BaseException as error:  # noqa: BLE001
            self._failure = error
            for each in partitions:
                each.offset = OFFSET_END
            consumer.incremental_assign(partitions)
            consumer.pause(partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        gone = [each.partition for each in partitions]
        self._publish(every=0.0)
        self._assignment.revoked(gone)
        for partition in gone:
            self._unpublished.pop(partition, None)
            self._wanted.pop(partition, None)
        consumer.incremental_unassign(partitions)

    def _received(self, message: Message) -> Received | None:
        """A record; None for what is only news."""
        partition, offset = message.partition(), message.offset()
        error = message.error()
        if error is not None:
            self._news(error, partition)
            return None
        if partition is None or offset is None:
            return None
        return _new(Received, (partition, offset, message.key(), message.value() or b"", message.timestamp()[1]))

    def _news(self, error: KafkaError, partition: int | None) -> None:
        """An error in the stream of records. librdkafka mends most of them by itself."""
        if error.code() == KafkaError._AUTO_OFFSET_RESET and partition in self._wanted:
            self._failure = self._out_of_range(partition, self._wanted[partition])
        elif error.code() in _GONE:
            self._doubt = error.str()
        elif error.fatal():
            self._failure = KafkaException(error)
        else:
            TROUBLES.hold(READING, f"topic {self._topic}: {error.str()}")

    def _seek(self) -> None:
        """A broker does not know the topic: it may be behind the others, or the topic is gone. Raises Halt.

        What is read goes on meanwhile: once it is found, the client asks for its leaders anew.
        """
        doubt, self._doubt = self._doubt, ""
        TROUBLES.hold(READING, f"topic {self._topic}: {doubt}: looking whether it is gone")
        try:
            state = topic.sought(self._client, self._topic)
            if state is None:
                raise halts.log_gone(self._topic, doubt)
            self.identify(state)
            self._consumer.list_topics(self._topic, timeout=_REQUEST)
        except (KafkaException, TimeoutError) as error:
            self._doubt = doubt  # nobody has answered: asked again
            TROUBLES.hold(READING, f"topic {self._topic}: {error}")

    def identify(self, state: TopicState) -> None:
        """The topic is there, as the brokers say. Raises Halt where it is another one than ours; here nobody knows."""

    def _out_of_range(self, partition: int, offset: int) -> Exception:
        """The brokers do not have the record that is wanted: is it before the log's beginning, or behind its end?"""
        first, end = self.bounds(partition)
        place = f"partition {partition} of topic {self._topic}"
        return halts.log_ends_before(place, offset, end) if offset > end else halts.retention_gap(place, offset, first)

    def _broke(self, error: KafkaError) -> None:
        """librdkafka's own troubles: it goes on trying, unless the error is fatal or the brokers refuse us."""
        if self._failure is None:
            self._failure = KafkaException(error) if error.fatal() else refusal(error)

    def _check(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _publish(self, every: float) -> None:
        if not self._unpublished or time.monotonic() - self._published_at < every:
            return
        offsets = [TopicPartition(self._topic, partition, offset) for partition, offset in self._unpublished.items()]
        self._consumer.commit(offsets=offsets, asynchronous=True)
        self._unpublished.clear()
        self._published_at = time.monotonic()


def configuration(client: Mapping[str, Any]) -> dict[str, Any]:
    """The consumer's settings: the user's, below ours. With Kafka's newer group protocol, the brokers have some."""
    made = {"session.timeout.ms": _SESSION_MS, **client, **CONSUMER}
    if str(client.get("group.protocol")).lower() == "consumer":
        return {name: value for name, value in made.items() if name not in _OF_THE_BROKERS}
    return made
