"""The writing end of the log on Kafka: an idempotent producer that waits for all in-sync replicas."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from cdc.halt import CONNECTOR, OVER_THE_GAP, Cause, Halt
from cdc.log import topic
from cdc.log.said import LOGGER
from cdc.log.transport import DeliveryFailed
from cdc.refusal import refusal

PRODUCER: Final[Mapping[str, Any]] = {
    "enable.idempotence": True,  # implies acks=all, and order within a partition through retries
    "acks": "all",
    "linger.ms": 5,
    "compression.type": "lz4",
    "message.max.bytes": topic.MAX_MESSAGE_BYTES,
    "queue.buffering.max.kbytes": 24 * 1024,  # what capture holds in memory at most for the brokers
    "queue.buffering.max.messages": 50_000,
    "delivery.timeout.ms": 60_000,
    "partitioner": "murmur2_random",  # for show: the partition is always given
    "log.connection.close": False,
}
"""Our settings of the producer. Those of the user come below them, but for linger and compression."""
_USERS_CHOICE: Final = ("linger.ms", "compression.type", "delivery.timeout.ms", "message.max.bytes")
_OVERHEAD: Final = 1024
"""Bytes of a record beside its key and value, at most."""


class KafkaPublisher:
    """Publishes to one topic. `client` is librdkafka's configuration with bootstrap.servers in it."""

    def __init__(self, client: Mapping[str, Any], name: str, partitions: int) -> None:
        chosen = {name: client[name] for name in _USERS_CHOICE if name in client}
        ours = {**PRODUCER, **chosen}
        self._longest = int(ours["message.max.bytes"])
        # A record that is longer than the queue would wait in front of it for ever.
        ours["queue.buffering.max.kbytes"] = max(PRODUCER["queue.buffering.max.kbytes"], self._longest // 512)
        self._producer = Producer({**client, **ours, "error_cb": self._broke, "logger": LOGGER})
        self._client = client
        self._topic = name
        self._partitions = partitions
        self._ends: dict[int, int] = {}
        self._done: list[int] = []
        self._failure: Exception | None = None

    @property
    def partitions(self) -> int:
        """How many partitions the topic has."""
        return self._partitions

    def publish(self, partition: int, key: bytes | None, value: bytes, token: int) -> bool:
        """Hand one record over; False when the queue is full. Raises DeliveryFailed or Halt."""
        self._check()
        size = len(value) + len(key or b"") + _OVERHEAD
        if size > self._longest:
            raise self._too_large(key, size)
        try:
            self._producer.produce(self._topic, value, key, partition, partial(self._delivered, token))
        except BufferError:
            return False
        except KafkaException as error:
            raise self._failed(error.args[0], key) from error
        return True

    def delivered(self, timeout: float = 0.0) -> list[int]:
        """Tokens that became durable since the last call, waiting up to `timeout` seconds for the first one."""
        self._producer.poll(0)
        if timeout and not self._done:
            self._producer.poll(timeout)
        self._check()
        done, self._done = self._done, []
        return done

    @property
    def ends(self) -> Mapping[int, int]:
        """By partition, the offset behind the last record of this run that is durable."""
        return dict(self._ends)

    def has(self, ends: Mapping[int, int], timeout: float) -> bool:
        """Whether the topic still goes as far as that; False if its brokers do not answer. Raises Halt."""
        now = topic.ends(self._client, self._topic, ends, timeout) if ends else {}
        if now is None:
            return False
        lost = {partition: (now[partition], end) for partition, end in sorted(ends.items()) if now[partition] < end}
        if lost:
            said = "; ".join(f"partition {number} ends at {now}, not {end}" for number, (now, end) in lost.items())
            raise Halt(
                Cause.LOG_INCOMPLETE,
                f"topic {self._topic} has lost records that its brokers had confirmed: {said}",
                "The slot was acknowledged beyond them. Look for an unclean leader election (unclean.leader.election"
                f".enable, min.insync.replicas) or a lost disk. {OVER_THE_GAP}",
            )
        return True

    def close(self) -> None:
        """Give up what is still queued and let go of the brokers."""
        self._producer.purge()
        self._producer.close()

    def _delivered(self, token: int, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._ends[message.partition()] = message.offset() + 1  # type: ignore[index, operator]  # it has both
            self._done.append(token)
        elif self._failure is None:
            self._failure = self._failed(error, message.key())

    def _broke(self, error: KafkaError) -> None:
        """librdkafka's own troubles: it goes on trying, unless the error is fatal or the brokers refuse us."""
        if self._failure is None:
            self._failure = self._failed(error, None) if error.fatal() else refusal(error)

    def _failed(self, error: KafkaError, key: bytes | None) -> Exception:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return Halt(
                Cause.RECORD_TOO_LARGE,
                f"{_named(key)} is longer than topic {self._topic} takes: {error.str()}",
                f"kafka-configs.sh --bootstrap-server {self._client['bootstrap.servers']} --alter --topic "
                f"{self._topic} --add-config max.message.bytes={self._longest}, then `widebeam run {CONNECTOR}`.",
            )
        return DeliveryFailed(f"topic {self._topic}: {error.name()}: {error.str()}")

    def _too_large(self, key: bytes | None, size: int) -> Halt:
        megabytes = -(-(size + size // 4) // 2**20)
        return Halt(
            Cause.RECORD_TOO_LARGE,
            f"{_named(key)} takes {size:,} bytes, and `record_megabytes` allows {self._longest:,}",
            f"record_megabytes = {megabytes} in [kafka], then `widebeam run {CONNECTOR}`: it lets a topic that it has "
            f"made take them. Another topic needs max.message.bytes={megabytes * 2**20} first; and brokers take "
            "requests of socket.request.max.bytes (100 MB) at most.",
        )

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure


def _named(key: bytes | None) -> str:
    return "a record" if key is None else f"the record of {key.decode(errors='replace')[:200]}"
