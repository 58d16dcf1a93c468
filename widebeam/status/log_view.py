"""Looks at the topic: where each partition ends, and since when the record waits that a sink is to apply next."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin._listoffsets import OffsetSpec

from cdc.record.envelope import JSON, Undecodable
from cdc.refusal import Admin

_SECONDS: Final = 5
_PEEK: Final = 2.0
"""Seconds for all partitions' next records to come."""
_LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_PEEKS: Final[Mapping[str, Any]] = {
    "group.id": "widebeam-status",  # never joined: librdkafka wants one
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "allow.auto.create.topics": False,
    "fetch.message.max.bytes": 64 * 1024,
    "fetch.wait.max.ms": 100,
    "queued.max.messages.kbytes": 1024,
    "log_level": 0,
}


class LogView:
    """Clients that are made when they are needed. Raises KafkaException, BrokerRefused, TimeoutError."""

    def __init__(self, client: Mapping[str, Any], topic: str) -> None:
        self._client = client
        self._topic = topic
        self._admin: Admin | None = None
        self._consumer: Consumer | None = None

    def ends(self) -> dict[int, int]:
        """The offsets after the last record of each partition."""
        if self._admin is None:
            self._admin = Admin(self._client)
        try:
            admin = self._admin.client
            partitions = admin.list_topics(self._topic, timeout=_SECONDS).topics[self._topic].partitions
            asked = {TopicPartition(self._topic, number): _LATEST for number in partitions}
            answers = admin.list_offsets(asked, request_timeout=_SECONDS)
            return {where.partition: answer.result().offset for where, answer in answers.items()}
        except KafkaException as error:
            raise self._admin.why(error) from error

    def committed(self, wanted: Mapping[int, int]) -> dict[int, float]:
        """When what the record at each of these offsets tells was committed (Unix time in seconds).

        Those that do not come in time, or are not there any more, are left out.
        """
        if not wanted:
            return {}
        if self._consumer is None:
            self._consumer = Consumer({**self._client, **_PEEKS})
        found: dict[int, float] = {}
        self._consumer.assign([TopicPartition(self._topic, number, offset) for number, offset in wanted.items()])
        try:
            self._peek(self._consumer, len(wanted), found)
        finally:
            self._consumer.unassign()
        return found

    def close(self) -> None:
        """Leave the brokers."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    def _peek(self, consumer: Consumer, many: int, found: dict[int, float]) -> None:
        deadline = time.monotonic() + _PEEK
        while len(found) < many and (left := deadline - time.monotonic()) > 0:
            for message in consumer.consume(100, min(left, 0.2)):
                error, partition = message.error(), message.partition()
                if error is not None:
                    if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED or error.fatal():
                        raise KafkaException(error)
                elif partition is not None and partition not in found:
                    found[partition] = _commit_time(message.value() or b"", message.timestamp()[1])


def _commit_time(value: bytes, published: int) -> float:
    """The source's commit time; of a record that is none of ours, when it was published (milliseconds)."""
    try:
        return JSON.decode(value).stamp.commit_time / 1_000_000
    except Undecodable:
        return published / 1000
