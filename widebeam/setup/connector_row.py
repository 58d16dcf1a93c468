"""Enrolment: the row of a connector in its target, as it is found or made, and what forbids either."""

from __future__ import annotations

import logging
from typing import Any, Final, TypeAlias

import psycopg
from confluent_kafka import Consumer
from psycopg import sql

from cdc.halt import Halt
from cdc.log import topic
from cdc.source import slot
from cdc.source.described import describe
from sink import lookup
from sink.state import sources
from sink.wide.registry import Registry
from widebeam.config import catalog
from widebeam.config.config import ConfigError
from widebeam.config.connector import Connector
from widebeam.setup import failover, zone_rules
from widebeam.state import halts, recorded
from widebeam.state.recorded import Recorded
from widebeam.state.refusals import foreign_slot, refuse, unfinished
from widebeam.state.twins import twins

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_THERE: Final = "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %s AND relname = %s"
_LOG: Final = logging.getLogger(__name__)


def enrolled(source: Session, target: Session, connector: Connector) -> Recorded:
    """The connector's row: as it is, if nothing unsafe changed, or a new one. Raises Halt, ConfigError."""
    history = slot.incarnation(connector.options.source.conninfo())
    found = recorded.load(target, connector.name)
    if found is None:
        return _new(source, target, connector, history)
    refuse(unfinished(found, connector))
    halts.refuse_lasting(target, connector.name)
    recorded.refuse_changes(found, connector)
    zone_rules.follow(target, connector, found)
    failover.follow(connector, target)
    _dictionary(source, connector)
    _check_tables(source, target, connector)
    _check_wide(target, connector)
    recorded.note(target, connector.name, choices=recorded.settings(connector)["choices"])
    _note_groups(target, connector, found)
    return found


def _new(source: Session, target: Session, connector: Connector, history: slot.Incarnation) -> Recorded:
    tables = catalog.sources(source, connector)
    catalog.alike(connector, connector.family, tables)
    _dictionary(source, connector)
    _refuse_foreign(source, connector)
    if others := twins(target, connector):  # most often one whose file was renamed: nobody would run it any more
        raise ConfigError(others)
    recorded.insert(target, connector, history, tables)
    zone_rules.note(target, connector)
    _LOG.info("connector %s is new", connector.name)
    made = recorded.load(target, connector.name)
    if made is None:
        raise LookupError(f"connector {connector.name} vanished from widebeam.connectors")
    return made


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
            found = describe(source, table)
            catalog.check(found, each, table)
            if each.types != found.types:  # an earlier version wrote domains down
                sources.note_types(target, connector.name, each, found.types)
        except Halt:
            if not connector.growing or source.execute(_THERE, [each.schema, each.name]).fetchone() is not None:
                raise
            _LOG.warning("the table %s is gone; what came from it stays in the wide tables", each.qualified)
            sources.forget(target, connector.name, each)


def _check_wide(target: Session, connector: Connector) -> None:
    """The wide tables have all of their columns."""
    registry = Registry(connector.mapping(sources.load(target, connector.name)))
    registry.check(target)
    registry.refresh(target)
    registry.leave_domains(target)


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


def _refuse_foreign(source: Session, connector: Connector) -> None:
    """A slot or filled topic that is there before the connector is belongs to somebody else."""
    if slot.inspect(source, connector.slot) is not None:
        refuse([foreign_slot(connector)])
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
