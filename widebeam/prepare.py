"""Set-up of a connector: everything that a run needs, made once, in an order that survives a crash at any point.

The connector's row is written first, and each thing is recorded as soon as it is made; what a crash leaves behind
unrecorded is known by that row to be ours, and is taken over or made again. Doing it twice changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from collections.abc import Mapping as Dict
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from confluent_kafka import Consumer
from psycopg import sql

from cdc import publication, slot, topic
from cdc.described import describe
from cdc.failpoint import Failpoint, hit
from cdc.halt import Cause, Halt
from cdc.narrow import NarrowTable
from cdc.patience import bounded
from cdc.session import connect
from sink import lookup, sources
from sink.mapping import Mapping
from sink.registry import Registry
from snapshot import ledger
from snapshot.estimate import numbered, plan_chunks
from widebeam import catalog, control, failover, halts, recorded, survey
from widebeam.config import ConfigError
from widebeam.connector import Connector
from widebeam.plan.ahead import make_ahead
from widebeam.recorded import Recorded

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_THERE: Final = "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %s AND relname = %s"
_WAIT: Final = "60s"
_LOG: Final = logging.getLogger(__name__)


class Prepared(NamedTuple):
    """A connector that can run: its mapping with the source's types, and how many partitions it has.

    `published` are the narrow tables that have to be in the publication by now, `oids` which tables they are, by their
    qualified names; `partitioned` tells that partitions can be attached to one of them.
    """

    mapping: Mapping
    partitions: int
    published: tuple[NarrowTable, ...] = ()
    oids: Dict[str, int] = MappingProxyType({})
    partitioned: bool = False


class Busy(Exception):
    """Somebody else sets the connector up or drops it."""


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
            found = _row(source, target, connector)
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
            return _prepared(target, connector, found)


def enrol(connector: Connector) -> Mapping:
    """Write the connector down, and no more: tables can be made for it then, and no slot holds the source's WAL yet.

    Answers its mapping. Raises what `prepare` raises, which goes on from here.
    """
    source_dsn, target_dsn = connector.options.source.conninfo(), connector.options.target.conninfo()
    with connect(target_dsn, autocommit=True) as target, connect(source_dsn, autocommit=True) as source:
        control.install(target)
        with alone(target, connector.name), bounded(f"setting {connector.name} up", target, source):
            _row(source, target, connector)
            _wide_schema(target, connector)
            return connector.mapping(sources.load(target, connector.name))


def _prepared(target: Session, connector: Connector, found: Recorded) -> Prepared:
    tables = sources.load(target, connector.name)
    return Prepared(
        connector.mapping(tables),
        found.partitions,
        tuple(_published(target, connector)),
        {each.qualified: each.oid for each in tables},
        sources.partitioned(target, connector.name),
    )


def start_anew(target_dsn: str, connector: str) -> int:
    """Somebody runs the connector again: an old halt is forgotten, and chunks that were given up get new attempts.

    Answers how many chunks there are to merge.
    """
    with connect(target_dsn, autocommit=True) as target, bounded(f"starting {connector}", target):
        halts.clear(target, connector)
        ledger.reopen(target, connector)
        return ledger.counts(target, connector).open


def prepared(connector: Connector) -> Prepared:
    """What a single part needs of a connector that was set up before; ConfigError if it was not."""
    with connect(connector.options.target.conninfo(), autocommit=True) as target:
        found = recorded.load(target, connector.name)
        if found is None or found.cutoff is None or not found.planned:
            raise ConfigError(
                [f"connector {connector.name} is not set up in its target: `widebeam run {connector.name}` does that"]
            )
        recorded.refuse_changes(found, connector)
        return _prepared(target, connector, found)


def is_set_up(connector: Connector) -> bool:
    """Whether the connector was set up before: then what is wrong now is a halt, rather than a missing precondition."""
    try:
        with connect(connector.options.target.conninfo(), autocommit=True, connect_timeout=10) as target:
            found = recorded.load(target, connector.name)
    except psycopg.Error:
        return False
    return found is not None and found.cutoff is not None and found.planned


@contextmanager
def alone(target: Session, connector: str) -> Iterator[None]:
    """Nobody else sets this connector up or drops it meanwhile. Ends with the session, too."""
    target.execute("SELECT set_config('lock_timeout', %s, false)", [_WAIT])
    key = f"widebeam.prepare {connector}"
    try:
        target.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [key])
    except psycopg.errors.LockNotAvailable:
        raise Busy(f"another widebeam has been setting {connector} up, or dropping it, for {_WAIT}") from None
    finally:
        target.execute("RESET lock_timeout")
    try:
        yield
    finally:
        if not target.closed:
            target.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [key])


def _row(source: Session, target: Session, connector: Connector) -> Recorded:
    """The connector's row: as it is, if nothing unsafe changed, or a new one."""
    history = slot.incarnation(connector.options.source.conninfo())
    found = recorded.load(target, connector.name)
    if found is None:
        tables = catalog.sources(source, connector)
        catalog.alike(connector, connector.family, tables)
        _dictionary(source, connector)
        _refuse_foreign(source, connector)
        recorded.insert(target, connector, history, tables)
        _LOG.info("connector %s is new", connector.name)
        made = recorded.load(target, connector.name)
        if made is None:
            raise LookupError(f"connector {connector.name} vanished from widebeam.connectors")
        return made
    if found.settings.get("dropping"):
        raise ConfigError([f"connector {connector.name} is half dropped: `widebeam drop {connector.name}` goes on"])
    if found.settings.get("gap"):
        raise ConfigError(
            [
                f"connector {connector.name} has a gap that is half crossed: "
                f"`widebeam resume {connector.name} --backfill-gap` goes on"
            ]
        )
    halts.refuse_lasting(target, connector.name)
    recorded.refuse_changes(found, connector)
    failover.follow(connector, target)
    _dictionary(source, connector)
    _check_tables(source, target, connector)
    _check_wide(target, connector)
    recorded.note(target, connector.name, choices=recorded.settings(connector)["choices"])
    _note_groups(target, connector, found)
    return found


def _note_groups(target: Session, connector: Connector, found: Recorded) -> None:
    """Other groups of keys are safe: a column stays where it is, so that only new keys go by them. Said once."""
    groups = recorded.groups(connector)
    if found.settings.get("groups", []) != groups:
        _LOG.warning("the groups of keys are others than before: only new keys go by them, and columns stay in place")
    recorded.note(target, connector.name, groups=groups)


def _check_tables(source: Session, target: Session, connector: Connector) -> None:
    """The tables are those that were recorded. One of a growing family may be gone: its history stays where it is."""
    for each in sources.load(target, connector.name):
        table = connector.family.narrow(each.schema, each.name)
        if table is None:
            continue
        try:
            catalog.check(describe(source, table), each, table)
        except Halt:
            if not connector.growing or source.execute(_THERE, [each.schema, each.name]).fetchone() is not None:
                raise
            _LOG.warning("the table %s is gone; what came from it stays in the wide tables", each.qualified)
            sources.forget(target, connector.name, each)


def _check_wide(target: Session, connector: Connector) -> None:
    """The wide tables have all of their columns."""
    registry = Registry(connector.mapping(sources.load(target, connector.name)))
    registry.check(target)


def _dictionary(source: Session, connector: Connector) -> None:
    """The dictionary's query brings the columns that it was read to bring."""
    dictionary = connector.options.source.dictionary
    if dictionary is None:
        return
    cursor = source.execute(
        sql.SQL("SELECT * FROM ({}) AS dictionary LIMIT 0").format(lookup.statement(dictionary.query))
    )
    found = [column.name for column in cursor.description or ()][1:]
    if len(found) != len(dictionary.names) or (not dictionary.columns and tuple(found) != dictionary.names):
        raise ConfigError(
            [
                f"{connector.file}, section [source.dictionary]: `query` brings {', '.join(found) or 'nothing'}"
                f" after the id, and not {', '.join(dictionary.names)}: name them in `columns`"
            ]
        )


def _published(target: Session, connector: Connector) -> list[NarrowTable]:
    """The tables that are to be in the publication: those that joined later are put in by whoever joins them."""
    found = [each for each in sources.load(target, connector.name) if each.gate is not None]
    tables = (connector.family.narrow(each.schema, each.name) for each in found)
    return [table for table in tables if table is not None]


def _refuse_foreign(source: Session, connector: Connector) -> None:
    """A slot or filled topic that is there before the connector is belongs to somebody else."""
    if slot.inspect(source, connector.slot) is not None:
        raise ConfigError(
            [
                f"the slot {connector.slot} exists, but the target knows no connector {connector.name}: set another "
                f"`slot` in [source] of {connector.file}, or, if nobody needs it: "
                f"SELECT pg_drop_replication_slot('{connector.slot}');"
            ]
        )
    kafka = connector.options.kafka
    if kafka is None or connector.topic is None:
        return
    state = topic.inspect(connector.kafka_client(), connector.topic)
    if state is not None and _filled(connector, state.partitions):
        raise ConfigError(
            [
                f"the topic {connector.topic} holds records, but the target knows no connector {connector.name}: "
                f"set another `topic` in [kafka] of {connector.file}, or delete that one"
            ]
        )


def _filled(connector: Connector, partitions: int) -> bool:
    """Whether anything was ever written to the topic."""
    consumer = Consumer({**connector.kafka_client(), "group.id": f"widebeam-prepare-{connector.name}"})
    try:
        return any(topic.bounds(consumer, connector.topic or "", number)[1] > 0 for number in range(partitions))
    finally:
        consumer.close()


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
    state = topic.inspect(client, connector.topic)
    if found.topic_id is not None:
        topic.check(connector.topic, state, found.topic_id, found.partitions)
        return
    if state is None:
        recorded.note(target, connector.name, made_topic=True)
        plan = topic.TopicPlan(connector.topic, found.partitions, kafka.replication_factor, kafka.retention_hours)
        state = topic.create(client, plan)
    elif "made_topic" not in found.settings:
        recorded.note(target, connector.name, made_topic=False)
    hit(Failpoint.PREPARE_TOPIC_MADE)
    target.execute(
        "UPDATE widebeam.connectors SET topic_id = %s WHERE connector = %s", [state.topic_id, connector.name]
    )


def _publication(source: Session, target: Session, connector: Connector, found: Recorded) -> None:
    """The publication, made before the slot: a slot decodes by the catalog as it was at each commit."""
    tables = _published(target, connector)
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
        slot.drop(source, connector.slot)
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
        raise Halt(
            Cause.SLOT_GONE,
            f"the slot {connector.slot} was made, and somebody else recorded another one meanwhile",
            f"Run `widebeam drop {connector.name}`, then run it anew.",
        )
    _LOG.info("the cutoff is %s", cutoff.lsn)


def _plan(source: Session, target: Session, connector: Connector, found: Recorded) -> None:
    """The ledger of chunks."""
    if found.planned:
        return
    backfill = connector.options.backfill
    rules = connector.mapping(sources.load(target, connector.name)).rules
    chunks = numbered(plan_chunks(source, rule, backfill.chunk_rows, backfill.chunk_hours) for rule in rules)
    if ledger.write_plan(target, connector.name, chunks):
        _LOG.info("planned %d chunks of about %d rows in all", len(chunks), sum(chunk.estimated for chunk in chunks))
