"""The topic: made with our settings, looked at, compared with what was recorded when it was made, deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub forgets to export them
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from tenacity import Retrying, retry_if_exception, retry_if_result, stop_after_delay, wait_random_exponential

from cdc.halt import CONNECTOR, OVER_THE_GAP, Cause, Halt
from cdc.refusal import asking

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""How long a record may be, unless the connector says otherwise. The assembler cuts at 2 MB of frames, so only one row
alone can come near."""
_REQUEST: Final = 30.0
"""Seconds for one request to the brokers."""
_NEWS: Final = 30.0
"""Seconds until a new topic has leaders, or a deleted one is gone."""
SOUGHT: Final = 8.0
"""Seconds for which a topic that is known is asked for again: a broker that is behind the others, or has just been
started, knows nothing of it yet."""


_REFUSALS: Final = (
    KafkaError.POLICY_VIOLATION,
    KafkaError.INVALID_CONFIG,
    KafkaError.INVALID_PARTITIONS,
    KafkaError.INVALID_REPLICATION_FACTOR,
    KafkaError.INVALID_REQUEST,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """How a topic is to be made; `retention_hours` is how far back a replay can go; `settings` are more of it."""

    name: str
    partitions: int
    replication_factor: int = 1
    retention_hours: int = 168
    max_message_bytes: int = MAX_MESSAGE_BYTES
    settings: Mapping[str, str] = field(default_factory=dict)


class TopicState(NamedTuple):
    """A topic as the brokers describe it."""

    topic_id: str
    partitions: int
    cleanup_policy: str
    retention_ms: int
    max_message_bytes: int


class Refused(Exception):
    """The brokers do not make such a topic, or not for us."""


def create(client: Mapping[str, Any], plan: TopicPlan) -> TopicState:
    """Make the topic and wait until all its partitions have leaders. `client` is librdkafka's configuration.

    Refused if the brokers do not take such a topic. One of this name that is there already is not ours: KafkaException
    TOPIC_ALREADY_EXISTS.
    """
    with asking(client) as admin:
        _ask(admin, plan, only=False)
        state = _await(lambda: _described(admin, plan.name, led=True), lambda found: found is None)
    if state is None:
        raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE, f"{plan.name} has no leaders yet"))
    return state


def try_out(client: Mapping[str, Any], plan: TopicPlan) -> None:
    """Refused if the brokers would not make the topic, which is not there yet; nothing is made."""
    with asking(client) as admin:
        _ask(admin, plan, only=True)


def _ask(admin: AdminClient, plan: TopicPlan, *, only: bool) -> None:
    config = {
        **plan.settings,
        "cleanup.policy": "delete",
        # By the brokers' clocks: by ours, one that is ahead has its records refused, and one behind has them deleted.
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(plan.retention_hours * 3_600_000),
        "max.message.bytes": str(plan.max_message_bytes),
    }
    new = NewTopic(plan.name, plan.partitions, plan.replication_factor, config=config)
    try:
        asked = admin.create_topics([new], operation_timeout=_REQUEST, validate_only=only)
        asked[plan.name].result(timeout=_REQUEST)
    except KafkaException as error:
        if error.args[0].code() in _REFUSALS:
            raise Refused(error.args[0].str()) from error
        if not (only and error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS):  # another part has just made it
            raise


def take_longer(client: Mapping[str, Any], name: str, record_bytes: int) -> None:
    """Let the topic take records of this length, and wait until it does."""
    more = ConfigEntry("max.message.bytes", str(record_bytes), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[more])
    with asking(client) as admin:
        admin.incremental_alter_configs([resource], request_timeout=_REQUEST)[resource].result(timeout=_REQUEST)
        # The controller has taken it; a broker that has not heard of it yet would refuse such a record, which halts us.
        _await(
            lambda: _described(admin, name, led=False),
            lambda found: found is not None and found.max_message_bytes < record_bytes,
        )


def inspect(client: Mapping[str, Any], name: str) -> TopicState | None:
    """The topic's state, None if there is no such topic."""
    with asking(client) as admin:
        return _described(admin, name, led=False)


def sought(client: Mapping[str, Any], name: str) -> TopicState | None:
    """The state of a topic that was there: None only if for SOUGHT seconds no broker has known of it.

    Each time another client asks, and so whichever broker answers first.
    """
    return _await(lambda: inspect(client, name), lambda found: found is None, SOUGHT)


def delete(client: Mapping[str, Any], name: str) -> bool:
    """Delete the topic and wait until it is gone; False if there was none."""
    with asking(client) as admin:
        try:
            admin.delete_topics([name], operation_timeout=_REQUEST)[name].result(timeout=_REQUEST)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return False
            raise
        _await(lambda: _described(admin, name, led=False), lambda found: found is not None)
    return True


def bounds(consumer: Consumer, name: str, partition: int) -> tuple[int, int]:
    """The first offset that a partition's log still holds and the offset after the last one.

    A partition that was just made, or whose leader just changed, is asked again for a while.
    """
    asked = Retrying(
        retry=retry_if_exception(_passes), stop=stop_after_delay(_NEWS), wait=wait_random_exponential(0.05, max=0.5),
        reraise=True,
    )  # fmt: skip
    return asked(_bounds, consumer, TopicPartition(name, partition))


def ends(client: Mapping[str, Any], name: str, partitions: Iterable[int], timeout: float) -> dict[int, int] | None:
    """The offset after the last record of each of these partitions; None if it cannot be told within the time."""
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    wanted = {TopicPartition(name, partition): latest for partition in partitions}
    try:
        with asking(client) as admin:
            found = admin.list_offsets(wanted, request_timeout=timeout)
            return {each.partition: end.result(timeout).offset for each, end in found.items()}
    except (KafkaException, TimeoutError):
        return None


def _bounds(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    found = consumer.get_watermark_offsets(partition, timeout=_REQUEST)
    if found is None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
    return found


def _passes(error: BaseException) -> bool:
    """It is only that the brokers do not know the partition's leader yet, or not that it is."""
    if not isinstance(error, KafkaException):
        return False
    return error.args[0].code() in (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)


def check(name: str, state: TopicState | None, topic_id: str, partitions: int) -> TopicState:
    """The topic is the one that was recorded, with its partitions, and keeps every record; else a Halt."""
    anew = f"Its positions are offsets of a log that is no more. {OVER_THE_GAP}"
    if state is None:
        raise Halt(Cause.TOPIC_RECREATED, f"topic {name} is gone", anew)
    if state.topic_id != topic_id:
        raise Halt(
            Cause.TOPIC_RECREATED, f"topic {name} was recreated: its id is {state.topic_id}, it was {topic_id}", anew
        )
    if state.partitions != partitions:
        raise Halt(
            Cause.PARTITIONS_CHANGED,
            f"topic {name} has {state.partitions} partitions, it had {partitions}",
            f"Wide keys would change partitions and lose their order. `widebeam drop {CONNECTOR} --yes`, set"
            f" `partitions` in [kafka], then `widebeam run {CONNECTOR}`.",
        )
    if "compact" in state.cleanup_policy:
        raise Halt(
            Cause.COMPACTION,
            f"topic {name} is compacted (cleanup.policy={state.cleanup_policy}), which takes changes out of the log",
            f"Set cleanup.policy=delete on it; then {OVER_THE_GAP}",
        )
    return state


def _described(admin: AdminClient, name: str, *, led: bool) -> TopicState | None:
    """The topic, None if it is not there, or, when `led` is asked for, has not all its leaders yet."""
    try:
        topic = admin.describe_topics(TopicCollection([name]), request_timeout=_REQUEST)[name].result()
        resource = ConfigResource(ResourceType.TOPIC, name)
        config = admin.describe_configs([resource], request_timeout=_REQUEST)[resource].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise
    if led and not all(partition.leader for partition in topic.partitions):
        return None
    return TopicState(
        topic_id=str(topic.topic_id),
        partitions=len(topic.partitions),
        cleanup_policy=config["cleanup.policy"].value,
        retention_ms=int(config["retention.ms"].value),
        max_message_bytes=int(config["max.message.bytes"].value),
    )


def _await(
    look: Callable[[], TopicState | None], unready: Callable[[TopicState | None], bool], seconds: float = _NEWS
) -> TopicState | None:
    """Look until the topic is as it should be, and answer what was seen last."""
    return Retrying(
        retry=retry_if_result(unready),
        stop=stop_after_delay(seconds),
        wait=wait_random_exponential(0.05, max=1),
        retry_error_callback=lambda attempt: attempt.outcome and attempt.outcome.result(),
    )(look)
