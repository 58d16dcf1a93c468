"""The progress of partitions in the target: read, and advanced by compare-and-set with the wide rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from cdc.lsn import Lsn
from sink.fold.progress import Admission, Landmark, Progress
from sink.state import halts

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class Fenced(Exception):
    """Another owner has advanced a partition, or somebody has rewound it: what was polled is not to be applied."""


class Recorded(NamedTuple):
    """What the target says of a partition."""

    progress: Progress
    latency: list[int]


def load(connection: Connection, connector: str, partitions: Iterable[int]) -> dict[int, Recorded]:
    """The progress of these partitions. Raises Halt if one has no row."""
    wanted = sorted(partitions)
    rows = connection.execute(_LOAD, [connector, wanted]).fetchall()
    found = {row[0]: Recorded(_progress(*row[:8]), row[8]) for row in rows}
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise halts.partitions_changed(connector, missing)
    return found


def advance(connection: Connection, connector: str, admissions: Sequence[Admission]) -> None:
    """Advance partitions, in their order, from what was known to what is now. Raises Fenced if one has moved."""
    ordered = sorted(admissions, key=lambda each: each.known.partition)
    with connection.cursor() as cursor:
        # One after the other: executemany would make a pipeline of them, which costs more than the answers to a few.
        moved = sum([cursor.execute(_ADVANCE, _advance(connector, each)).rowcount for each in ordered])
        if moved != len(ordered):
            names = ", ".join(f"{each.known.partition} from offset {each.known.next_offset}" for each in ordered)
            raise Fenced(f"one of the partitions {names} has been advanced or rewound by somebody else")
        landmarks = [landmark for each in ordered for landmark in each.landmarks]
        if landmarks:
            cursor.executemany(_LANDMARK, [_landmark(connector, each) for each in landmarks])


def stop_all(connection: Connection, connector: str) -> None:
    """Lock the progress of all partitions, in their order: no sink advances until the open transaction's end."""
    connection.execute(_LOCK_ALL, [connector])


def write_latency(connection: Connection, connector: str, histograms: dict[int, list[int]]) -> None:
    """Write down how long changes took. Of no consequence for what is applied, so it needs no compare-and-set."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(_LATENCY, [[counts, connector, n] for n, counts in sorted(histograms.items())])


def _progress(
    partition: int, epoch: int, offset: int, high: str, generation: int, sequence: int, broken: bool, barrier: str
) -> Progress:
    return Progress(partition, epoch, offset, Lsn.parse(high), generation, sequence, broken, Lsn.parse(barrier))


def _advance(connector: str, each: Admission) -> dict[str, Any]:
    known, now = each.known, each.now
    return {
        "connector": connector,
        "partition": known.partition,
        "epoch": known.epoch,
        "known": known.next_offset,
        "next": now.next_offset,
        "high": str(now.high),
        "generation": now.generation,
        "sequence": now.next_sequence,
        "broken": now.broken,
        "barrier": str(now.barrier),
        "commit_us": each.commit_time,
        "rows": each.rows,
        "cells": each.cells,
        "skipped": each.skipped,
    }


def _landmark(connector: str, each: Landmark) -> dict[str, Any]:
    return {"connector": connector, **each._asdict(), "high": str(each.high)}


_LOAD: Final = """
SELECT partition, epoch, next_offset, high::text, generation, next_sequence, broken, barrier::text, latency
FROM widebeam.progress WHERE connector = %s AND partition = ANY(%s)
"""
_ADVANCE: Final = """
UPDATE widebeam.progress SET
    next_offset = %(next)s, high = %(high)s::pg_lsn, generation = %(generation)s, next_sequence = %(sequence)s,
    broken_at = CASE WHEN %(broken)s THEN coalesce(broken_at, now()) END, broken = %(broken)s,
    barrier = %(barrier)s::pg_lsn,
    commit_time = coalesce(timestamptz 'epoch' + %(commit_us)s::bigint * interval '1 microsecond', commit_time),
    recent_rows = CASE WHEN recent_since > now() - interval '60 s' THEN recent_rows ELSE 0 END + %(rows)s,
    recent_since = CASE WHEN recent_since > now() - interval '60 s' THEN recent_since ELSE now() END,
    applied_at = now(), rows = rows + %(rows)s, cells = cells + %(cells)s, skipped = skipped + %(skipped)s
WHERE connector = %(connector)s AND partition = %(partition)s
  AND next_offset = %(known)s AND epoch = %(epoch)s
"""
_LANDMARK: Final = """
INSERT INTO widebeam.generations AS g (connector, partition, generation, began_offset, broke_offset, high)
VALUES (%(connector)s, %(partition)s, %(generation)s, coalesce(%(began_offset)s, %(broke_offset)s), %(broke_offset)s,
    %(high)s::pg_lsn)
ON CONFLICT (connector, partition, generation)
DO UPDATE SET broke_offset = least(g.broke_offset, excluded.broke_offset)
"""
_LOCK_ALL: Final = (
    "SELECT count(*) FROM (SELECT FROM widebeam.progress WHERE connector = %s ORDER BY partition FOR UPDATE) AS locked"
)
_LATENCY: Final = "UPDATE widebeam.progress SET latency = %s WHERE connector = %s AND partition = %s"
