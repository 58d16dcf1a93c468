"""Takes a connector away: wide tables, views, slot, publication, topic, group, state. The narrow table is not touched.

It can be interrupted anywhere and run again: first nothing can be applied any more, last goes the connector's row,
and with the last connector's row the control schema. What was there before the connector stays.
"""

from __future__ import annotations

import logging
import re
from contextlib import nullcontext
from importlib import resources
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from cdc.failpoint import Failpoint, hit
from cdc.log import group, topic
from cdc.patience import bounded
from cdc.source import publication, slot, slot_waits
from cdc.source.session import connect
from widebeam.config.connector import Connector
from widebeam.state import control, recorded, signs
from widebeam.state.lock import alone
from widebeam.state.recorded import Recorded

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
    group: bool
    control: bool = False
    left: tuple[str, ...] = ()
    """Statements for what stays on a source that is gone, should it ever come back."""


def there_is(connector: Connector) -> bool:
    """Whether the target knows the connector."""
    with connect(connector.options.target.conninfo(), autocommit=True, application_name="widebeam-drop") as target:
        return recorded.load(target, connector.name) is not None


def drop(connector: Connector, *, keep_audit: bool = False, source_gone: bool = False) -> Dropped | None:
    """Drop the connector; None if there is none. Raises StillRunning, LockHeld.

    With the last connector the control schema goes, if it is ours; with `keep_audit` the audit log keeps it. With
    `source_gone` nothing is asked of the source, which is gone for good: what is there of ours is told.
    """
    dsn = connector.options.source.conninfo()
    with (
        connect(connector.options.target.conninfo(), autocommit=True, application_name="widebeam-drop") as target,
        nullcontext() if source_gone else connect(dsn, autocommit=True, application_name="widebeam-drop") as source,
        alone(target, connector.name),
        bounded(f"dropping {connector.name}", *((target,) if source is None else (target, source))),
    ):
        found = recorded.load(target, connector.name)
        if found is None:
            return None
        if found.cutoff is None and source is not None:
            slot_waits.abandon(source, found.slot)
        _refuse_running(source, target, connector, found)
        _fence(target, connector.name)
        hit(Failpoint.DROP_FENCED)
        done = Dropped(
            tables=_wide_tables(target, connector.name),
            slot=_after(Failpoint.DROP_SLOT_GONE, source is not None and slot.drop(source, found.slot)),
            publication=_after(Failpoint.DROP_PUBLICATION_GONE, _publication(source, found)),
            topic=_after(Failpoint.DROP_TOPIC_GONE, _topic(connector, found)),
            group=_after(Failpoint.DROP_GROUP_GONE, _group(connector)),
            left=() if source is not None else _left(found),
        )
        _wide_schema(target, found)
        hit(Failpoint.DROP_SCHEMA_GONE)
        return _forget(target, connector.name, done, keep_audit=keep_audit)


def _after(point: Failpoint, done: bool) -> bool:
    hit(point)
    return done


def _left(found: Recorded) -> tuple[str, ...]:
    dropping = sql.SQL("SELECT pg_drop_replication_slot({});").format(sql.Literal(found.slot)).as_string()
    if not found.settings.get("made_publication"):
        return (dropping,)
    return (dropping, sql.SQL("DROP PUBLICATION IF EXISTS {};").format(sql.Identifier(found.publication)).as_string())


def _refuse_running(source: Session | None, target: Session, connector: Connector, found: Recorded) -> None:
    lives = [one for one in signs.load(target, connector.name) if one.fresh]
    if source is None and lives:
        who = ", ".join(f"{one.part} on {one.host} (PID {one.pid})" for one in lives)
        raise StillRunning(f"{connector.name} is at work: {who}; stop that first")
    state = None if source is None else slot.inspect(source, found.slot)
    if state is not None and state.active_pid is not None:
        raise StillRunning(
            f"somebody streams from the slot {found.slot} (PID {state.active_pid} on the source): "
            "stop `widebeam run` or `capture` first"
        )
    if connector.options.kafka is not None and not group.awaited_empty(connector.kafka_client(), connector.group):
        raise StillRunning(f"sinks still read the topic in the group {connector.group}: stop them first")


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
        hit(Failpoint.DROP_TABLES_GONE)


def _publication(source: Session | None, found: Recorded) -> bool:
    """Drop the publication if we made it; one that was there before is its maker's."""
    if source is None or not found.settings.get("made_publication"):
        return False
    publication.drop(source, found.publication)
    return True


def _topic(connector: Connector, found: Recorded) -> bool:
    """Delete the topic if it is the one that was recorded, and was made by us."""
    if found.topic is None or connector.options.kafka is None:
        return False
    if not found.settings.get("made_topic", True):
        _LOG.info("the topic %s stays, since it was there before; its records stay in it", found.topic)
        return False
    state = topic.inspect(connector.kafka_client(), found.topic)
    if state is None or (found.topic_id is not None and state.topic_id != found.topic_id):
        return False
    return topic.delete(connector.kafka_client(), found.topic)


def _group(connector: Connector) -> bool:
    """Delete the sinks' consumer group with its offsets, which only lag tools read."""
    return connector.options.kafka is not None and group.delete(connector.kafka_client(), connector.group)


def _wide_schema(target: Session, found: Recorded) -> None:
    """Drop the schema of the wide tables if we made it and nothing else is in it."""
    if not found.settings.get("made_schema"):
        return
    try:
        target.execute(sql.SQL("DROP SCHEMA IF EXISTS {}").format(sql.Identifier(found.settings["schema"])))
    except psycopg.errors.DependentObjectsStillExist:
        _LOG.info("the schema %s stays: there is something else in it", found.settings["schema"])


def _forget(target: Session, connector: str, done: Dropped, *, keep_audit: bool) -> Dropped:
    """The connector's row goes last, and with it all its state; after the last one, the control schema."""
    with target.transaction():
        control.be_alone(target)
        _audit(target, connector, "drop", done._asdict())
        target.execute("DELETE FROM widebeam.connectors WHERE connector = %s", [connector])
        target.execute("DELETE FROM widebeam.claims WHERE connector = %s", [connector])
        hit(Failpoint.DROP_FORGOTTEN)
        if keep_audit or target.execute("SELECT FROM widebeam.connectors LIMIT 1").fetchone() is not None:
            return done
        return done._replace(control=_control(target, connector))


def _control(target: Session, connector: str) -> bool:
    """Drop the control schema; False if somebody made it for us, or uses it for something else.

    The audit log goes with it, so the server's own log gets a line.
    """
    # Who may not make it again did not make it.
    if target.execute("SELECT has_database_privilege(current_database(), 'CREATE')").fetchone() != (True,):
        return False
    script = resources.files("sink").joinpath("control.sql").read_text(encoding="utf-8")
    tables = [sql.Identifier("widebeam", name) for name in _TABLE.findall(script)]
    try:
        with target.transaction():
            target.execute("SELECT set_config('widebeam.dropped', %s, true)", [connector])
            target.execute(_LOG_LINE)
            target.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.SQL(", ").join(tables)))
            target.execute("DROP SCHEMA widebeam")
    except (psycopg.errors.DependentObjectsStillExist, psycopg.errors.InsufficientPrivilege) as error:
        _LOG.info("the schema widebeam stays: %s", str(error).partition("\n")[0])
        return False
    return True


def _audit(target: Session, connector: str, action: str, detail: dict[str, Any]) -> None:
    target.execute(
        "INSERT INTO widebeam.audit (connector, action, detail) VALUES (%s, %s, %s)", [connector, action, Jsonb(detail)]
    )


_TABLE: Final = re.compile(r"CREATE TABLE IF NOT EXISTS widebeam\.(\w+)")
_LOG_LINE: Final = """
DO $$ BEGIN RAISE LOG 'widebeam: connector % was dropped by %, and with it the last one''s audit log',
    current_setting('widebeam.dropped'), current_user; END $$
"""
