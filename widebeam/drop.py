"""Takes a connector away: wide tables, views, state, slot, publication, topic. The narrow table is not touched.

It can be interrupted anywhere and run again: first nothing can be applied any more, last goes the connector's row.
"""

from __future__ import annotations

import logging
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from cdc import publication, slot, topic
from cdc.session import connect
from widebeam import recorded
from widebeam.config import Connector
from widebeam.prepare import alone
from widebeam.recorded import Recorded

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOG: Final = logging.getLogger(__name__)


class StillRunning(Exception):
    """Somebody streams from the slot: the connector is not to be pulled from under its feet."""


class Dropped(NamedTuple):
    """What went, for the record and for the user."""

    tables: int
    slot: bool
    publication: bool
    topic: bool


def drop(connector: Connector) -> Dropped | None:
    """Drop the connector; None if there is none. Raises StillRunning."""
    with (
        connect(connector.options.target.conninfo(), autocommit=True, application_name="widebeam-drop") as target,
        connect(connector.options.source.conninfo(), autocommit=True, application_name="widebeam-drop") as source,
        alone(target, connector.name),
    ):
        found = recorded.load(target, connector.name)
        if found is None:
            return None
        _refuse_running(source, found)
        _fence(target, connector.name)
        done = Dropped(
            tables=_wide_tables(target, connector.name),
            slot=slot.drop(source, found.slot),
            publication=_publication(source, found),
            topic=_topic(connector, found),
        )
        _wide_schema(target, found)
        _forget(target, connector.name, done)
        return done


def _refuse_running(source: Session, found: Recorded) -> None:
    state = slot.inspect(source, found.slot)
    if state is not None and state.active_pid is not None:
        raise StillRunning(
            f"somebody streams from the slot {found.slot} (PID {state.active_pid} on the source): "
            "stop `widebeam run` or `capture` first"
        )


def _fence(target: Session, connector: str) -> None:
    """From here on no sink can commit a batch and no set-up goes on from what is left."""
    with target.transaction():
        row = target.execute(
            "UPDATE widebeam.connectors SET settings = settings || '{\"dropping\": true}', generation = generation + 1 "
            "WHERE connector = %s RETURNING 1",
            [connector],
        ).fetchone()
        if row is not None:
            target.execute("DELETE FROM widebeam.progress WHERE connector = %s", [connector])
            target.execute("DELETE FROM widebeam.chunks WHERE connector = %s", [connector])
            _audit(target, connector, "drop begins", {})


def _wide_tables(target: Session, connector: str) -> int:
    """Drop them entity by entity, each in one transaction with its rows in the registry; how many tables went."""
    dropped = 0
    while True:
        with target.transaction():
            row = target.execute(
                "SELECT entity FROM widebeam.tables WHERE connector = %s ORDER BY entity LIMIT 1", [connector]
            ).fetchone()
            if row is None:
                return dropped
            parts = target.execute(
                "SELECT schema_name, table_name, view_name, group_view FROM widebeam.tables"
                " WHERE connector = %s AND entity = %s",
                [connector, row[0]],
            ).fetchall()
            for view in {(schema, view) for schema, _, *views in parts for view in views if view is not None}:
                target.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(sql.Identifier(*view)))
            for schema, table, *_ in parts:
                target.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(schema, table)))
            target.execute("DELETE FROM widebeam.tables WHERE connector = %s AND entity = %s", [connector, row[0]])
            dropped += len(parts)


def _publication(source: Session, found: Recorded) -> bool:
    """Drop the publication if we made it; one that was there before is its maker's."""
    if not found.settings.get("made_publication"):
        return False
    publication.drop(source, found.publication)
    return True


def _topic(connector: Connector, found: Recorded) -> bool:
    """Delete the topic if it is the one that was recorded."""
    if found.topic is None or connector.options.kafka is None:
        return False
    state = topic.inspect(connector.kafka_client(), found.topic)
    if state is None or (found.topic_id is not None and state.topic_id != found.topic_id):
        return False
    return topic.delete(connector.kafka_client(), found.topic)


def _wide_schema(target: Session, found: Recorded) -> None:
    """Drop the schema of the wide tables if we made it and nothing else is in it."""
    if not found.settings.get("made_schema"):
        return
    try:
        target.execute(sql.SQL("DROP SCHEMA IF EXISTS {}").format(sql.Identifier(found.settings["schema"])))
    except psycopg.errors.DependentObjectsStillExist:
        _LOG.info("the schema %s stays: there is something else in it", found.settings["schema"])


def _forget(target: Session, connector: str, done: Dropped) -> None:
    """The connector's row goes last, and with it all its state; the audit log stays."""
    with target.transaction():
        _audit(target, connector, "drop", done._asdict())
        target.execute("DELETE FROM widebeam.connectors WHERE connector = %s", [connector])


def _audit(target: Session, connector: str, action: str, detail: dict[str, Any]) -> None:
    target.execute(
        "INSERT INTO widebeam.audit (connector, action, detail) VALUES (%s, %s, %s)", [connector, action, Jsonb(detail)]
    )
