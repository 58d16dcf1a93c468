"""Following a failover: the same system on a later timeline, with the slot that came along.

The old timeline ended at the switch point. What lies below it is the same on both, so positions stay good, if nothing
of what was read from the old primary lies beyond: that was lost in the failover, and nobody would take it back out of
the wide tables. All that the connector knows is looked at: what is applied, what is in the log, and what chunks have
read (they are covered once the connector has converged, for then a later barrier was applied). The slot of the new
primary may be behind: what it sends again is skipped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final, TypeAlias

import psycopg

from cdc.halt import OVER_THE_GAP, Cause, Halt
from cdc.lsn import Lsn
from cdc.source import slot
from cdc.source.session import connect
from cdc.source.slot import Incarnation
from sink.state import origins
from widebeam.config.connector import Connector
from widebeam.replay.log import LogWindow
from widebeam.state import recorded

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOG: Final = logging.getLogger(__name__)


def follow(connector: Connector, target: Session) -> None:
    """Take the source's timeline as ours if it goes on from ours; nothing is done if it is ours. Raises Halt."""
    dsn = connector.options.source.conninfo()
    found = recorded.load(target, connector.name)
    if found is None:
        return
    now = slot.incarnation(dsn)
    if found.incarnation == now:
        return
    switch = slot.switch_point(dsn, found.incarnation, now)
    if switch is None:
        slot.check_incarnation(found.incarnation, now)
        return
    for amiss in _amiss(connector, target, dsn, switch):
        raise Halt(
            Cause.OTHER_INCARNATION,
            f"the source has failed over to timeline {now.timeline} at {switch}, and {amiss}",
            OVER_THE_GAP,
        )
    _adopt(target, connector.name, found.incarnation, now, switch)


def _amiss(connector: Connector, target: Session, dsn: str, switch: Lsn) -> Iterator[str]:
    """Why this connector cannot go on from there."""
    with connect(dsn, autocommit=True, application_name="widebeam-failover") as source:
        state = slot.inspect(source, connector.slot)
    if state is None:
        yield (
            f"the slot {connector.slot} did not come along (it takes failover = true in [source], and "
            "sync_replication_slots = on on the standby)"
        )
    elif state.invalidation is not None or state.wal_status == "lost":
        yield f"the slot {connector.slot} that came along is of no use: {state.invalidation or 'its WAL was removed'}"
    seen = max(_applied(target, connector.name), _in_log(connector))
    if seen >= switch:
        yield (
            f"changes up to {seen} were taken from the old primary, which the new one has not (to rule that out, set "
            "synchronized_standby_slots on the primary)"
        )
    if not _covered(target, connector):
        yield "the history was still being filled in, so what was read of it may not be there any more"


def _applied(target: Session, connector: str) -> Lsn:
    row = target.execute("SELECT max(high)::text FROM widebeam.progress WHERE connector = %s", [connector]).fetchone()
    return Lsn.parse(row[0]) if row is not None and row[0] is not None else Lsn(0)


def _in_log(connector: Connector) -> Lsn:
    """The highest position at the end of the log's partitions: it may not be applied yet."""
    if connector.topic is None:
        return Lsn(0)
    highest = Lsn(0)
    with closing(LogWindow(connector.kafka_client(), connector.topic, connector.name)) as window:
        for partition in range(connector.partitions):
            first, end = window.bounds(partition)
            for place in window.records(partition, max(first, end - 1), end):
                highest = max(highest, place.stamp.position)
    return highest


def _covered(target: Session, connector: Connector) -> bool:
    """Everything that was read beside the stream lies below a position that is applied."""
    if connector.options.source.several != "refuse":
        return False  # cells are read again from the source, which may be ahead of the stream
    if origins.any_shared(target, connector.name):
        return False  # those of some columns are
    row = target.execute(_COVERED, [connector.name]).fetchone()
    return row is not None and bool(row[0])


def _adopt(target: Session, connector: str, before: Incarnation, now: Incarnation, switch: Lsn) -> None:
    """From here on positions are of the new timeline. What was acknowledged of the old one beyond it held no change."""
    done = target.execute(
        "UPDATE widebeam.connectors SET timeline = %s, acknowledged = least(coalesce(acknowledged, cutoff), %s::pg_lsn)"
        " WHERE connector = %s AND timeline = %s",
        [now.timeline, str(switch), connector, before.timeline],
    )
    if done.rowcount:
        _LOG.warning(
            "the source has failed over from timeline %d to %d at %s; the slot came along, and the stream goes on",
            before.timeline,
            now.timeline,
            switch,
        )


_COVERED: Final = """
SELECT converged_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM widebeam.chunks AS c WHERE c.connector = connectors.connector
    AND (state IN ('planned', 'failed') OR merged_at > converged_at)
) FROM widebeam.connectors WHERE connector = %s
"""
