"""Going back: the sinks' progress is set to an earlier place, in a new epoch, and they go on from there.

Whoever still holds what was polled before is fenced by the epoch; a running sink sees it and takes up the new place.
What is applied again ends as it was, so a wide table that somebody has damaged is mended, as far as the last change of
each damaged cell lies behind the point. Until the old place is reached again, readers see the past.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import IsolationLevel
from psycopg.types.json import Jsonb

from cdc.failpoint import Failpoint, hit
from cdc.halt import Halt
from cdc.log import topic
from cdc.lsn import Lsn
from cdc.patience import bounded
from cdc.source.session import connect
from sink.fold.progress import Landmark
from sink.state import account, sources
from widebeam.config.connector import Connector
from widebeam.replay.log import LogWindow
from widebeam.replay.plan import Known, Origin, ReplayRefused, Step, steps
from widebeam.replay.point import Point
from widebeam.state import halts, recorded
from widebeam.state.recorded import NotSetUp, Recorded
from widebeam.state.refusals import half_dropped, refuse

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOOK: Final = 0.5
"""Seconds between two looks at how far the sinks are."""


class NothingApplied(Exception):
    """The sinks do not come on."""


class Plan(NamedTuple):
    """What a replay would do."""

    point: Point
    steps: list[Step]

    @property
    def records(self) -> int:
        """How many offsets are gone over again."""
        return sum(step.records for step in self.steps)


def plan(connector: Connector, point: Point) -> Plan:
    """From where to where each partition would go. Changes nothing. Raises ReplayRefused, ConfigError, Halt."""
    with _target(connector) as target:
        found = _set_up(target, connector)
        if found.topic is None:
            raise ReplayRefused([_no_log(connector.name)])
        topic.check(
            found.topic,
            topic.inspect(connector.kafka_client(), found.topic),
            found.topic_id or "",
            found.partitions,
        )
        known, origin = _known(target, connector.name)
    log = LogWindow(connector.kafka_client(), found.topic, connector.name)
    try:
        return Plan(point, steps(log, known, origin, point))
    finally:
        log.close()


def rewind(connector: Connector, planned: Plan) -> None:
    """Go back, in one transaction with its entry in the audit. Raises ReplayRefused if somebody else did meanwhile."""
    with (
        _target(connector) as target,
        bounded(f"going back with {connector.name}", target),
        target.transaction(),
    ):
        partitions = [step.back.partition for step in planned.steps]
        now = target.execute(_LOCK, [connector.name, partitions]).fetchall()
        _refuse_moved(dict(now), planned.steps)
        for step in planned.steps:
            number, epoch, offset, high, generation, sequence, broken, _ = step.back
            target.execute(
                _REWIND, [epoch, offset, str(high), generation, sequence, broken, broken, connector.name, number]
            )
        hit(Failpoint.REPLAY_REWOUND)
        if connector.options.source.several == "refuse":  # else its chunks wait for the sinks by themselves
            sources.attach_again(target, connector.name)
        detail = {"point": str(planned.point), "partitions": [step.as_dict() for step in planned.steps]}
        target.execute(_AUDIT, [connector.name, Jsonb(detail)])
    hit(Failpoint.REPLAY_COMMITTED)


def await_applied(connector: Connector, planned: Plan, patience: float, seen: Callable[[int], None]) -> None:
    """Wait until all partitions are again where they were; `seen` is told how many records they have gone over.

    Raises NothingApplied when the sinks do nothing for `patience` seconds, and the Halt at which they stopped.
    """
    upto = {step.back.partition: step.upto for step in planned.steps}
    began = {step.back.partition: step.back.next_offset for step in planned.steps}
    done, deadline = -1, time.monotonic() + patience
    with _target(connector) as target:
        before = halts.recorded(target, connector.name)
        while True:
            found: dict[int, int] = dict(target.execute(_OFFSETS, [connector.name, list(upto)]).fetchall())
            gone_over = sum(min(offset, upto[number]) - began[number] for number, offset in found.items())
            if gone_over > done:
                done, deadline = gone_over, time.monotonic() + patience
                seen(done)
            if all(found[number] >= offset for number, offset in upto.items()):
                return
            _refuse_waiting(target, connector.name, before, deadline)
            time.sleep(_LOOK)


def _refuse_waiting(target: Session, connector: str, before: Halt | None, deadline: float) -> None:
    halt = halts.recorded(target, connector)
    if halt is not None and (before is None or halt.what != before.what):
        raise halt
    if time.monotonic() > deadline:
        raise NothingApplied(
            f"the replay is set, and no sink applies it: `widebeam run {connector}` does, or see "
            f"`widebeam status {connector}`"
        )


def _target(connector: Connector) -> Session:
    return connect(connector.options.target.conninfo(), autocommit=True, application_name="widebeam-replay")


def _set_up(target: Session, connector: Connector) -> Recorded:
    found = recorded.load(target, connector.name)
    if found is None or not found.planned:
        raise NotSetUp(connector)
    refuse(half_dropped(found, connector))
    recorded.refuse_changes(found, connector)
    return found


def _no_log(connector: str) -> str:
    return (
        "the direct transport keeps no log: its records were in memory, and their WAL was given back to the source. "
        f"`widebeam verify {connector}` names the cells that differ; `widebeam drop {connector}` and "
        f"`widebeam run {connector}` build the wide tables anew from the narrow one"
    )


def _known(target: Session, connector: str) -> tuple[list[Known], Origin]:
    """All partitions with their landmarks, and the log's origin, as of one moment."""
    target.isolation_level = IsolationLevel.REPEATABLE_READ
    with target.transaction():
        row = target.execute(_ORIGIN, [connector]).fetchone()
        if row is None:
            raise LookupError(f"connector {connector} vanished from widebeam.connectors")
        rows = {row[0]: row[1:] for row in target.execute(_COMMITS, [connector])}
        recorded_progress = account.load(target, connector, rows)
        marks: dict[int, list[Landmark]] = {}
        for mark in (_landmark(*each) for each in target.execute(_LANDMARKS, [connector])):
            marks.setdefault(mark.partition, []).append(mark)
    known = [
        Known(each.progress, rows[number][0], marks.get(number, []), rows[number][1])
        for number, each in recorded_progress.items()
    ]
    return sorted(known, key=lambda each: each.progress.partition), Origin(Lsn.parse(row[0]), row[1])


def _landmark(partition: int, generation: int, began: int, broke: int | None, high: str) -> Landmark:
    return Landmark(partition, generation, began, broke, Lsn.parse(high))


def _refuse_moved(now: dict[int, int], planned: list[Step]) -> None:
    """Under the lock: the epochs are still those of the plan. (That sinks have come on meanwhile does no harm.)"""
    moved = [step.back.partition for step in planned if now.get(step.back.partition) != step.back.epoch - 1]
    if moved:
        raise ReplayRefused([f"partitions {moved} were rewound or dropped by somebody else just now: look again"])


_ORIGIN: Final = """
SELECT cutoff::text, greatest(created_at, (
    SELECT max(at) FROM widebeam.audit AS a WHERE a.connector = c.connector AND action = 'resume --backfill-gap begins'
)) FROM widebeam.connectors AS c WHERE connector = %s
"""
_COMMITS: Final = "SELECT partition, commit_time, floor FROM widebeam.progress WHERE connector = %s"
_LANDMARKS: Final = (
    "SELECT partition, generation, began_offset, broke_offset, high::text FROM widebeam.generations"
    " WHERE connector = %s"
)
_OFFSETS: Final = "SELECT partition, next_offset FROM widebeam.progress WHERE connector = %s AND partition = ANY(%s)"
_LOCK: Final = (
    "SELECT partition, epoch FROM widebeam.progress WHERE connector = %s AND partition = ANY(%s) "
    "ORDER BY partition FOR UPDATE"
)
_REWIND: Final = """
UPDATE widebeam.progress SET
    epoch = %s, next_offset = %s, high = %s::pg_lsn, barrier = '0/0', generation = %s, next_sequence = %s,
    broken = %s, broken_at = CASE WHEN %s THEN now() END
WHERE connector = %s AND partition = %s
"""
_AUDIT: Final = "INSERT INTO widebeam.audit (connector, action, detail) VALUES (%s, 'replay', %s)"
