"""How far a topic goes, asked again and again while somebody fills it."""

from __future__ import annotations

import time

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from tests.bench.process import LOOK


class Ends:
    """How many records a topic has, and since when. One request a look: it is to cost the broker next to nothing."""

    def __init__(self, admin: AdminClient, topic: str, partitions: int) -> None:
        self._admin = admin
        self._wanted = {TopicPartition(topic, number): OffsetSpec.latest() for number in range(partitions)}
        self._last = 0
        self.since = time.monotonic()
        """When (of time.monotonic) the last one was seen to come."""

    def __call__(self) -> int:
        """How many there are now."""
        now = self._now()
        if now != self._last:
            self._last, self.since = now, time.monotonic()
        return now

    def _now(self) -> int:
        while True:
            try:
                found = self._admin.list_offsets(self._wanted, request_timeout=10)
                return sum(each.result().offset for each in found.values())
            except KafkaException as error:  # a new topic's leaders take a moment to be known
                if not error.args[0].retriable():
                    raise
                time.sleep(LOOK)
