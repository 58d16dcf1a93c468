"""The topic as [kafka] wants it made."""

from __future__ import annotations

from cdc.log.topic import TopicPlan
from widebeam.config.connector import Connector
from widebeam.config.options.parts import Kafka


def planned(connector: Connector, kafka: Kafka, partitions: int) -> TopicPlan:
    """With `partitions`, which are written down when a connector is made."""
    return TopicPlan(
        connector.topic or "",
        partitions,
        kafka.replication_factor,
        kafka.retention_hours,
        kafka.record_megabytes * 2**20,
        kafka.topic_settings,
    )


def unmade(plan: TopicPlan, said: str) -> str:
    """What is told of a topic that the brokers do not make."""
    more = "".join(f", {name}={value}" for name, value in plan.settings.items())
    return (
        f"the brokers do not make the topic {plan.name} with {plan.partitions} partitions, replication_factor "
        f"{plan.replication_factor}, retention_hours {plan.retention_hours}, record_megabytes "
        f"{plan.max_message_bytes // 2**20}{more}: {said}"
    )


def remedy(connector: Connector) -> str:
    """The way on from there."""
    return (
        "set `partitions`, `replication_factor`, `retention_hours`, `record_megabytes` and `topic_settings` in [kafka] "
        f"of {connector.file} to what they take, or make the topic yourself"
    )
