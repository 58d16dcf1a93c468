"""The topic of a connector, looked into at any place. It joins no group, and commits nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from cdc.log import topic
from cdc.record.codec import decode
from cdc.record.envelope import Undecodable
from cdc.record.record import Stamp
from sink.fold.rewind import Place, Stretch

_REQUEST: Final = 30.0
"""Seconds for one request to the brokers."""

_AT_ONCE: Final = 100
_SETTINGS: Final[Mapping[str, Any]] = {
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "allow.auto.create.topics": False,
    "fetch.wait.max.ms": 10,
    "fetch.message.max.bytes": 64 * 1024,  # most looks are for one record, wherever it lies
    "log.connection.close": False,
}


class LogWindow:
    """Records of one topic. `client` is librdkafka's configuration with bootstrap.servers in it."""

    def __init__(self, client: Mapping[str, Any], topic: str, connector: str) -> None:
        self._topic, self._connector = topic, connector
        self._consumer = Consumer({**client, **_SETTINGS, "group.id": f"widebeam-replay-{connector}"})

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()

    def bounds(self, partition: int) -> tuple[int, int]:
        """The first offset that is still there and the offset after the last one."""
        return topic.bounds(self._consumer, self._topic, partition)

    def records(self, partition: int, begin: int, end: int) -> Iterator[Place]:
        """Our own records from offset `begin` on and before `end`; what is none of them is passed over."""
        if begin >= end:
            return
        self._consumer.assign([TopicPartition(self._topic, partition, begin)])
        deadline = time.monotonic() + _REQUEST
        while True:
            messages = self._consumer.consume(1, 0.5)  # more at once would be waited for
            for message in messages + (self._consumer.consume(_AT_ONCE, 0) if messages else []):
                deadline = time.monotonic() + _REQUEST
                error, offset = message.error(), message.offset()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                if error is not None or offset is None or offset >= end:
                    return
                value = message.value()
                stamp = self._stamp(value.encode() if isinstance(value, str) else value or b"")
                if stamp is not None:
                    yield Place(offset, stamp)
            if time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"partition {partition} of {self._topic}"))

    def first(self, partition: int, stretch: Stretch) -> Place | None:
        """The first record of a stretch that is of its generation."""
        found = self.records(partition, stretch.begin, stretch.end)
        return next((place for place in found if place.stamp.generation == stretch.generation), None)

    def first_reached(self, partition: int, stretch: Stretch, reached: Callable[[Stamp], bool]) -> Place | None:
        """The first record of a stretch that is `reached`; in a generation they follow each other, so by halving."""
        found: Place | None = None
        low, high = stretch.begin, stretch.end
        while low < high:
            middle = (low + high) // 2
            place = self.first(partition, stretch._replace(begin=middle, end=high))
            if place is not None and not reached(place.stamp):
                low = place.offset + 1
            else:
                found, high = place or found, middle
        return found

    def _stamp(self, value: bytes) -> Stamp | None:
        try:
            stamp = decode(value).stamp
        except Undecodable:
            return None
        return stamp if stamp.connector == self._connector else None
