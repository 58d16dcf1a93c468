"""Set-up of a connector: everything that a run needs, made once, in an order that survives a crash at any point.

The connector's row is written first, and each thing is recorded as soon as it is made; what a crash leaves behind
unrecorded is known by that row to be ours, and is taken over or made again. Doing it twice changes nothing.
"""

from __future__ import annotations

import logging
from typing import Any, Final, TypeAlias

import psycopg

from cdc.failpoint import Failpoint, hit
from cdc.halt import Cause, Halt
from cdc.log import topic
from cdc.patience import bounded
from cdc.source import publication, slot
from cdc.source.session import connect
from sink.mapping.mapping import Mapping
from sink.state import sources
from snapshot.chunks import ledger
from snapshot.chunks.estimate import numbered, plan_chunks
from widebeam.config import kafka_topic
from widebeam.config.config import ConfigError
from widebeam.config.connector import Connector
from widebeam.config.options.parts import Kafka
from widebeam.plan.ahead import make_ahead
from widebeam.setup import prepared, survey
from widebeam.setup.connector_row import enrolled
from widebeam.setup.prepared import Prepared
from widebeam.state import control, halts, recorded
from widebeam.state.lock import alone
from widebeam.state.recorded import Recorded

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOG: Final = logging.getLogger(__name__)


def prepare(connector: Connector) -> Prepared:
    """Set the connector up or find that it is. Raises Halt, ConfigError (an unsafe change), Busy, LockHeld."""
    source_dsn, target_dsn = connector.options.source.conninfo(), connector.options.target.conninfo()
    name = "widebeam-prepare"
    with (
        connect(target_dsn, autocommit=True, application_name=name) as target,
        connect(source_dsn, autocommit=True, application_name=name) as source,
    ):
        control.install(target)
        with alone(target, connector.name), bounded(f"setting {connector.name} up", target, source):
            found = enrolled(source, target, connector)
            hit(Failpoint.PREPARE_ENROLLED)
            _wide_schema(target, connector)
            hit(Failpoint.PREPARE_SCHEMA_MADE)
            _topic(target, connector, found)
            _publication(source, target, connector, found)
            hit(Failpoint.PREPARE_PUBLISHED)
            if found.cutoff is None:
                survey.baseline(source, target, connector)  # before the slot: what comes after it is looked for
            hit(Failpoint.PREPARE_SURVEYED)
            _columns(source, target, connector, found)
            hit(Failpoint.PREPARE_COLUMNS_MADE)
            _slot(source, target, connector, found)
            hit(Failpoint.PREPARE_CUTOFF_NOTED)
            _plan(source, target, connector, found)
            hit(Failpoint.PREPARE_PLANNED)
            return prepared.known(target, connector, found)


def enrol(connector: Connector) -> Mapping:
    """Write the connector down, and no more: tables can be made for it then, and no slot holds the source's WAL yet.

    Answers its mapping. Raises what `prepare` raises, which goes on from here.
    """
    source_dsn, target_dsn = connector.options.source.conninfo(), connector.options.target.conninfo()
    with connect(target_dsn, autocommit=True) as target, connect(source_dsn, autocommit=True) as source:
        control.install(target)
        with alone(target, connector.name), bounded(f"setting {connector.name} up", target, source):
            enrolled(source, target, connector)
            _wide_schema(target, connector)
            return connector.mapping(sources.load(target, connector.name))


def start_anew(target_dsn: str, connector: str) -> int:
    """Somebody runs the connector again: an old halt is forgotten, and chunks that were given up get new attempts.

    Answers how many chunks there are to merge.
    """
    with connect(target_dsn, autocommit=True) as target, bounded(f"starting {connector}", target):
        halts.clear(target, connector)
        ledger.reopen(target, connector)
        return ledger.counts(target, connector).open


def _wide_schema(target: Session, connector: Connector) -> None:
    """The schema of the wide tables; `drop` removes it only if it is ours."""
    if recorded.schema_made(target, connector.options.target.wide_schema):
        recorded.note(target, connector.name, made_schema=True)


def _topic(target: Session, connector: Connector, found: Recorded) -> None:
    """The topic and its id. Without a recorded id it is new, or left by a crash before the id was written."""
    kafka = connector.options.kafka
    if kafka is None or connector.topic is None:
        return
    client = connector.kafka_client()
    look = topic.inspect if found.topic_id is None else topic.sought
    state = look(client, connector.topic)
    if found.topic_id is not None:
        there = topic.check(connector.topic, state, found.topic_id, found.partitions)
        if found.settings.get("made_topic", True) and there.max_message_bytes < kafka.record_megabytes * 2**20:
            topic.take_longer(client, connector.topic, kafka.record_megabytes * 2**20)
            _LOG.info("the topic %s takes records of %d MB now", connector.topic, kafka.record_megabytes)
        return
    if state is None:
        recorded.note(target, connector.name, made_topic=True)
        state = _made_topic(target, connector, kafka, found.partitions)
    elif "made_topic" not in found.settings:
        recorded.note(target, connector.name, made_topic=False)
    hit(Failpoint.PREPARE_TOPIC_MADE)
    target.execute(
        "UPDATE widebeam.connectors SET topic_id = %s WHERE connector = %s", [state.topic_id, connector.name]
    )


def _made_topic(target: Session, connector: Connector, kafka: Kafka, partitions: int) -> topic.TopicState:
    """A new topic. One that the brokers refuse is made by somebody else in the end: then it is not ours to drop."""
    plan = kafka_topic.planned(connector, kafka, partitions)
    try:
        return topic.create(connector.kafka_client(), plan)
    except topic.Refused as error:
        recorded.note(target, connector.name, made_topic=False)
        raise ConfigError([f"{kafka_topic.unmade(plan, str(error))}: {kafka_topic.remedy(connector)}"]) from error


def _publication(source: Session, target: Session, connector: Connector, found: Recorded) -> None:
    """The publication, made before the slot: a slot decodes by the catalog as it was at each commit."""
    tables = prepared.published(target, connector)
    state = publication.inspect(source, connector.publication, tables[0])
    if state is None and found.cutoff is None:
        recorded.note(target, connector.name, made_publication=True)
        publication.create(source, connector.publication, *tables)
        return
    for table in tables:
        publication.check(connector.publication, publication.inspect(source, connector.publication, table), table)


def _columns(source: Session, target: Session, connector: Connector, found: Recorded) -> None:
    """Wide tables and columns for the keys that are there; only before the slot, which holds WAL from then on."""
    if found.cutoff is None:
        make_ahead(source, target, connector.mapping(sources.load(target, connector.name)))


def _slot(source: Session, target: Session, connector: Connector, found: Recorded) -> None:
    """The slot and its cutoff. Without a recorded cutoff, nothing was merged: a slot that is there is made anew."""
    state = slot.inspect(source, connector.slot)
    if found.cutoff is not None:
        # Read after the slot: a capture at work writes its record first, so this order never sees the slot ahead.
        now = recorded.load(target, connector.name) or found
        slot.check(connector.slot, state, now.position)
        return
    if state is not None:
        _LOG.info("slot %s was made, but its cutoff was never recorded: made anew", connector.slot)
        slot.drop_unfinished(source, connector.slot)
    _LOG.info("making the slot %s: this waits for the transactions that write just now", connector.slot)
    cutoff = slot.create(
        connector.options.source.conninfo(), connector.slot, failover=connector.options.source.failover
    )
    hit(Failpoint.PREPARE_SLOT_MADE)
    done = target.execute(
        "UPDATE widebeam.connectors SET cutoff = %s, cutoff_snapshot = %s WHERE connector = %s AND cutoff IS NULL",
        [str(cutoff.lsn), cutoff.snapshot, connector.name],
    )
    if done.rowcount != 1:
        slot.drop(source, connector.slot)  # nobody knows it, and it would hold WAL for ever
        raise Halt(
            Cause.SLOT_GONE,
            f"the connector {connector.name} was dropped while its slot {connector.slot} was made",
            f"If it is wanted, `widebeam run {connector.name}` sets it up anew.",
        )
    _LOG.info("the cutoff is %s", cutoff.lsn)


def _plan(source: Session, target: Session, connector: Connector, found: Recorded) -> None:
    """The ledger of chunks."""
    if found.planned:
        return
    backfill = connector.options.backfill
    rules = connector.mapping(sources.load(target, connector.name)).rules
    chunks = numbered(plan_chunks(source, rule, backfill.chunk_rows, connector.chunk_hours) for rule in rules)
    if ledger.write_plan(target, connector.name, chunks):
        _LOG.info("planned %d chunks of about %d rows in all", len(chunks), sum(chunk.estimated for chunk in chunks))
