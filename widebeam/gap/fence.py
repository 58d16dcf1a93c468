"""Fencing the old stream: nothing of it is applied from here on, wherever it still is.

That is in sinks and backfill workers at work, and in the log, of which all that is there now is passed over.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.types.json import Jsonb

from cdc.log import topic
from sink.state import account
from snapshot.chunks.repair import EVERY_TABLE
from widebeam.config.connector import Connector
from widebeam.replay.log import LogWindow
from widebeam.state import recorded
from widebeam.state.recorded import Recorded

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


def fence(target: Session, connector: Connector) -> None:
    """In one transaction: another generation, epoch, and numbers of chunks. Doing it twice does no harm."""
    name = [connector.name]
    with target.transaction():
        account.stop_all(target, connector.name)
        target.execute(_LOCK_CHUNKS, name)
        target.execute(_NEW_GENERATION, name)
        target.execute(_NEW_EPOCH, name)
        target.execute("DELETE FROM widebeam.chunks WHERE connector = %s AND source = %s", [*name, EVERY_TABLE])
        target.execute(_RENUMBER, name)
        # The old stream's clears are below the new cutoff: what is in the source now was put there later.
        target.execute("DELETE FROM widebeam.tombstones WHERE connector = %s", name)
        recorded.note(target, connector.name, gap=True)
        audit(target, connector, "resume --backfill-gap begins", {})


def skip_log(target: Session, connector: Connector, found: Recorded) -> None:
    """Take the topic as it is now, or a new one, and begin at its end: all that is in it is the old stream's."""
    kafka = connector.options.kafka
    if kafka is None or connector.topic is None:
        return
    client = connector.kafka_client()
    state = topic.inspect(client, connector.topic)
    if state is None:
        plan = topic.TopicPlan(connector.topic, found.partitions, kafka.replication_factor, kafka.retention_hours)
        state = topic.create(client, plan)
    topic.check(connector.topic, state, state.topic_id, found.partitions)
    with closing(LogWindow(client, connector.topic, connector.name)) as window:
        ends = {number: window.bounds(number)[1] for number in range(found.partitions)}
    with target.transaction(), target.cursor() as cursor:
        account.stop_all(target, connector.name)
        cursor.executemany(_SKIP_TO, [(end, end, connector.name, number) for number, end in ends.items()])
        # The old stream's landmarks are of no use: a replay never goes back to it.
        cursor.execute("DELETE FROM widebeam.generations WHERE connector = %s", [connector.name])
        cursor.execute(_LANDMARK, [connector.name])
        cursor.execute(_TOPIC_ID, [state.topic_id, connector.name])


def audit(target: Session, connector: Connector, action: str, detail: dict[str, Any]) -> None:
    """Write down that this was done."""
    target.execute(
        "INSERT INTO widebeam.audit (connector, action, detail) VALUES (%s, %s, %s)",
        [connector.name, action, Jsonb(detail)],
    )


_LOCK_CHUNKS: Final = (
    "SELECT count(*) FROM (SELECT FROM widebeam.chunks WHERE connector = %s ORDER BY chunk FOR UPDATE) AS locked"
)
_NEW_GENERATION: Final = (
    "UPDATE widebeam.connectors SET generation = generation + 1, cutoff = NULL, cutoff_snapshot = NULL,"
    " gate_lsn = NULL, acknowledged = NULL, received = NULL, planned_at = NULL, converged_at = NULL,"
    " log_ends = '{}'"
    " WHERE connector = %s"
)
# A record of the old stream has a lower generation than this one, which no capture has taken.
_NEW_EPOCH: Final = (
    "UPDATE widebeam.progress AS p SET epoch = epoch + 1, high = '0/0', barrier = '0/0', generation = c.generation,"
    " next_sequence = 0, broken = false, broken_at = NULL FROM widebeam.connectors AS c"
    " WHERE c.connector = p.connector AND p.connector = %s"
)
_RENUMBER: Final = (
    "UPDATE widebeam.chunks AS c SET chunk = last.chunk + c.chunk, state = 'planned', attempts = 0, retry_at = NULL"
    " FROM (SELECT connector, max(chunk) AS chunk FROM widebeam.chunks GROUP BY connector) AS last"
    " WHERE last.connector = c.connector AND c.connector = %s AND c.state IN ('planned', 'failed')"
)
_SKIP_TO: Final = "UPDATE widebeam.progress SET next_offset = %s, floor = %s WHERE connector = %s AND partition = %s"
# Whoever begins there drops what a zombie of the old stream still sends.
_LANDMARK: Final = (
    "INSERT INTO widebeam.generations (connector, partition, generation, began_offset)"
    " SELECT connector, partition, generation, floor - 1 FROM widebeam.progress WHERE connector = %s"
)
_TOPIC_ID: Final = "UPDATE widebeam.connectors SET topic_id = %s WHERE connector = %s"
