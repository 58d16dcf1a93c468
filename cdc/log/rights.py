"""What the brokers let us do with topic and group, as they themselves tell who asks."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub forgets to export them
    AclOperation,
    AdminClient,
)

_TOPIC: Final = (AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE_CONFIGS)
"""Sinks, capture, and the look at its settings before each run. READ and WRITE each bring DESCRIBE with them."""
_GROUP: Final = (AclOperation.READ,)
_DENIED: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


class Lacking(NamedTuple):
    """Rights that these settings do not have: `kind` is topic or group, `operations` are as Kafka's tools take them."""

    kind: str
    name: str
    operations: tuple[str, ...]


def lacking(admin: AdminClient, topic: str, group: str, seconds: float) -> list[Lacking]:
    """The rights on topic and group that a run would miss.

    Brokers that do not tell, and a topic that is not there yet, lack nothing. KafkaException if none answers.
    """
    told: dict[str, Any] = {"include_authorized_operations": True, "request_timeout": seconds}
    asked = (
        ("topic", topic, _TOPIC, admin.describe_topics(TopicCollection([topic]), **told)[topic]),
        ("group", group, _GROUP, admin.describe_consumer_groups([group], **told)[group]),
    )
    found = (Lacking(kind, name, _missing(future, wanted, seconds)) for kind, name, wanted, future in asked)
    return [each for each in found if each.operations]


def _missing(future: Future[Any], wanted: tuple[AclOperation, ...], seconds: float) -> tuple[str, ...]:
    try:
        allowed = future.result(timeout=seconds).authorized_operations
    except KafkaException as error:
        if error.args[0].code() in _DENIED:
            return _named(wanted)
        if error.args[0].retriable() or error.args[0].code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT):
            raise
        return ()  # it is not there, or the brokers are older than the question
    return () if allowed is None else _named(each for each in wanted if each not in allowed)


def _named(operations: Iterable[AclOperation]) -> tuple[str, ...]:
    return tuple(each.name.title().replace("_", "") for each in operations)
