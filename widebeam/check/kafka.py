"""Preconditions of Kafka: that it answers, and that the topic keeps every record until it is applied."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._metadata import ClusterMetadata
from confluent_kafka.admin._resource import ResourceType

from cdc.log.kafka import KafkaPublisher
from cdc.log.rights import Lacking, lacking
from cdc.log.said import LOGGER
from cdc.log.topic import Refused, try_out
from cdc.refusal import BrokerRefused, asking
from sink.reader import configuration
from widebeam.config import kafka_topic
from widebeam.config.connector import Connector
from widebeam.config.options.parts import Kafka
from widebeam.finding import Finding

_SECONDS: Final = 10
_SHORTEST_RETENTION_MS: Final = 3_600_000


def broker_findings(connector: Connector) -> Iterator[Finding]:
    """All about Kafka; nothing on the direct transport."""
    kafka, topic = connector.options.kafka, connector.topic
    if kafka is None or topic is None:
        return
    where = f"Kafka ({kafka.bootstrap_servers})"
    amiss = _refused(connector, topic)
    if amiss is not None:
        yield Finding(f"there is no client of Kafka with these settings: {amiss}", where, "mend `client` of [kafka]")
        return
    try:
        with asking(connector.kafka_client()) as admin:
            cluster = admin.list_topics(timeout=_SECONDS)
            found = list(_cluster(admin, cluster, kafka, connector))
        yield from (finding._replace(where=where) for finding in found)
    except (KafkaException, BrokerRefused, ValueError) as error:
        yield Finding(
            f"cannot be reached: {error.args[0] if error.args else error}",
            where,
            "start the broker, or set `bootstrap_servers` and `client` of [kafka]; secrets come from "
            "WIDEBEAM_KAFKA__CLIENT",
        )


def _refused(connector: Connector, topic: str) -> str | None:
    """Why librdkafka makes no producer or consumer, before a part dies of it again and again; None if it does."""
    client = connector.kafka_client("check")
    try:
        KafkaPublisher(client, topic, 1).close()
        Consumer({**configuration(client), "group.id": connector.group, "logger": LOGGER}).close()
    except (KafkaException, ValueError) as error:
        said = error.args[0] if error.args else error
        return said.str() if isinstance(said, KafkaError) else str(said)
    return None


def _cluster(admin: AdminClient, cluster: ClusterMetadata, kafka: Kafka, connector: Connector) -> Iterator[Finding]:
    topic = connector.topic or ""
    without = lacking(admin, topic, connector.group, _SECONDS)
    yield from (_denied(each, kafka) for each in without)
    if any(each.kind == "topic" for each in without):
        return  # what else there is to say of it cannot be seen
    there = cluster.topics.get(topic)
    if there is not None and there.error is None:
        yield from _topic(admin, topic, kafka)
        if len(there.partitions) != kafka.partitions:
            yield Finding(
                f"the topic {topic} has {len(there.partitions)} partitions, not {kafka.partitions}",
                "",
                f"set `partitions = {len(there.partitions)}` in [kafka]",
            )
    elif len(cluster.brokers) < kafka.replication_factor:
        yield Finding(
            f"replication_factor is {kafka.replication_factor}, but there are only {len(cluster.brokers)} brokers",
            "",
            f"set `replication_factor = {len(cluster.brokers)}` in [kafka], or start more brokers",
        )
    else:
        plan = kafka_topic.planned(connector, kafka, kafka.partitions)
        try:
            try_out(connector.kafka_client(), plan)
        except Refused as error:
            yield Finding(kafka_topic.unmade(plan, str(error)), "", kafka_topic.remedy(connector))


def _denied(each: Lacking, kafka: Kafka) -> Finding:
    """Rights are given by an administrator of the brokers, whom we are not."""
    operations = " ".join(f"--operation {operation}" for operation in each.operations)
    principal = shlex.quote(f"User:{kafka.client_settings().get('sasl.username', 'ANONYMOUS')}")
    return Finding(
        f"the right to {', '.join(each.operations)} on the {each.kind} {each.name} is missing",
        "",
        f"kafka-acls.sh --bootstrap-server {kafka.bootstrap_servers} --add --allow-principal {principal} {operations} "
        f"--{each.kind} {each.name} -- by an administrator, for the principal that these clients have; a rule of "
        "theirs that denies it goes before, and has to be removed",
    )


def _topic(admin: AdminClient, topic: str, kafka: Kafka) -> Iterator[Finding]:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    future = admin.describe_configs([resource], request_timeout=_SECONDS)[resource]
    settings = {name: entry.value for name, entry in future.result(timeout=_SECONDS).items()}
    alter = f"kafka-configs.sh --bootstrap-server {kafka.bootstrap_servers} --alter --topic {topic} --add-config"
    if settings.get("cleanup.policy") != "delete":
        yield Finding(
            f"the topic {topic} is compacted: records of one wide key would replace each other",
            "",
            f"{alter} cleanup.policy=delete",
        )
    takes, wanted = int(settings.get("max.message.bytes") or 0), kafka.record_megabytes * 2**20
    if takes < wanted:
        yield Finding(
            f"the topic {topic} takes records of {takes:,} bytes at most, and `record_megabytes` is "
            f"{kafka.record_megabytes}",
            "",
            f"{alter} max.message.bytes={wanted}, or a smaller `record_megabytes` in [kafka]: a longer row halts then",
        )
    retention = int(settings.get("retention.ms") or -1)
    if 0 <= retention < _SHORTEST_RETENTION_MS:
        yield Finding(
            f"the topic {topic} keeps records for {retention / 60_000:.1f} minutes only",
            "",
            f"{alter} retention.ms=604800000",
        )
    size = int(settings.get("retention.bytes") or -1)
    if size >= 0:
        yield Finding(
            f"the topic {topic} drops records beyond {size} bytes, whether they are applied or not",
            "",
            f"{alter} retention.bytes=-1",
        )
