"""Looks at the control tables: everything that the target tells of a connector."""

from __future__ import annotations

from typing import Any, Final, LiteralString, TypeAlias

import psycopg
from psycopg.rows import dict_row

from sink.state.latency import added, percentile
from snapshot.chunks import ledger
from widebeam.status.facts import HaltFact, Phase, Refused
from widebeam.status.status import Backfill, HaltSeen

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Row: TypeAlias = "dict[str, Any]"

_RATE: Final = (
    "SELECT sum(rows) FILTER (WHERE merged_at > now() - interval '30 s') / 30.0, "
    "sum(rows) / greatest(extract(epoch FROM max(merged_at) - min(merged_at - seconds * interval '1 s')), 0.001) "
    "FROM widebeam.chunks WHERE connector = %s AND state = 'merged'"
)
# As JSON where a control schema from before has other columns.
_CONNECTOR: Final = (
    "SELECT transport, slot, generation, cutoff::text, converged_at, planned_at, records, changes, topic, "
    "halt_cause, halt_what, halt_remedy, halted_at, settings, "
    "extract(epoch FROM now() - halted_at)::float8 AS halt_age, "
    "extract(epoch FROM (to_jsonb(c) ->> 'waiting_since')::timestamptz)::float8 AS waiting_since, "
    "extract(epoch FROM now() - (to_jsonb(c) ->> 'advanced_at')::timestamptz)::float8 AS still, "
    "coalesce((to_jsonb(c) ->> 'ignored_messages')::bigint, 0) AS ignored_messages, "
    "current_setting('transaction_read_only') = 'on' AS read_only "
    "FROM widebeam.connectors c WHERE connector = %s"
)
_PROGRESS: Final = (
    "SELECT partition, epoch, next_offset, high::text, generation, broken, commit_time, applied_at, rows, "
    "cells, skipped, latency, extract(epoch FROM now() - applied_at)::float8 AS still "
    "FROM widebeam.progress WHERE connector = %s ORDER BY partition"
)
_REFUSED: Final = """
WITH recent AS (
    SELECT sum((to_jsonb(p) ->> 'recent_rows')::bigint) AS rows,
        min((to_jsonb(p) ->> 'recent_since')::timestamptz) AS since
    FROM widebeam.progress p
    WHERE connector = %(c)s AND (to_jsonb(p) ->> 'recent_since')::timestamptz > (
        SELECT max((to_jsonb(q) ->> 'recent_since')::timestamptz) - interval '60 s'
        FROM widebeam.progress q WHERE connector = %(c)s)
), newest AS (
    SELECT reason, detail, at FROM widebeam.quarantine WHERE connector = %(c)s AND position IS NOT NULL
    ORDER BY id DESC LIMIT 2000
), told AS (
    SELECT reason, detail, count(*) AS entries FROM newest WHERE at >= (SELECT since FROM recent) GROUP BY 1, 2
)
SELECT (SELECT sum(entries) FROM told)::bigint, (SELECT rows FROM recent)::bigint, reason, detail
FROM told ORDER BY entries DESC LIMIT 1
"""


_NOT_WIDENED: Final = """
SELECT count(*), (array_agg(detail ORDER BY id DESC))[1] FROM widebeam.quarantine
WHERE connector = %s AND reason = 'not_widened' GROUP BY split_part(detail, ' is a ', 1) ORDER BY min(id) LIMIT 20
"""


def connector(target: Session, name: str) -> Row | None:
    """The connector's row; None if it is not set up."""
    if target.execute("SELECT to_regclass('widebeam.connectors')").fetchone() == (None,):
        return None
    return _one(target, _CONNECTOR, name)


def progress(target: Session, name: str) -> list[Row]:
    """The partitions' rows."""
    with target.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_PROGRESS, [name]).fetchall()


def backfill(target: Session, name: str) -> Backfill:
    """The ledger in numbers."""
    counts = ledger.counts(target, name)
    recent, overall = target.execute(_RATE, [name]).fetchone() or (None, None)
    rate = float(recent or overall or 0) if counts.open else float(overall or 0)
    return Backfill(
        chunks=counts.open + counts.given_up + counts.merged + counts.void,
        planned=counts.planned,
        failed=counts.failed,
        given_up=counts.given_up,
        merged=counts.merged,
        void=counts.void,
        rows=counts.rows,
        cells=counts.cells,
        rows_expected=counts.rows + counts.estimated_left,
        rows_s=rate or None,
        eta_s=counts.estimated_left / rate if rate and counts.open else None,
    )


def quarantined(target: Session, name: str) -> int:
    """How many entries the quarantine has."""
    row = target.execute("SELECT count(*) FROM widebeam.quarantine WHERE connector = %s", [name]).fetchone()
    return row[0] if row else 0


def refused(target: Session, name: str) -> Refused | None:
    """What went there of the last rows; None if nothing did."""
    row = target.execute(_REFUSED, {"c": name}).fetchone()
    return None if row is None else Refused(row[0], row[1] or 0, row[2], row[3].partition("\n")[0][:200])


def phase(found: Row, ledger_counts: Backfill, *, filling: bool) -> Phase:
    """How far it is."""
    if found["cutoff"] is None or found["planned_at"] is None:
        return "preparing"
    if ledger_counts.planned or ledger_counts.failed or ledger_counts.given_up or filling:
        return "backfilling"
    return "streaming" if found["converged_at"] is None else "converged"


def halt(found: Row) -> tuple[HaltSeen, HaltFact] | tuple[None, None]:
    """The halt that is written down, to be shown and to be judged."""
    if found["halt_cause"] is None:
        return None, None
    what, remedy = found["halt_what"] or "", found["halt_remedy"] or ""
    return (
        HaltSeen(found["halt_cause"], what, remedy, found["halted_at"]),
        HaltFact(found["halt_cause"], what, remedy, found["halt_age"] or 0.0),
    )


def not_widened(target: Session, name: str) -> list[str]:
    """The columns for which readings wait that they do not hold, and what to do; over as soon as none waits."""
    return [
        f"{entries:,} readings wait in the quarantine: {detail}"
        for entries, detail in target.execute(_NOT_WIDENED, [name])
    ]


def notes(found: Row) -> list[str]:
    """What somebody should know of, and does not keep the connector from its work."""
    if not found["ignored_messages"]:
        return []
    return [
        f"{found['ignored_messages']:,} logical messages with the prefix widebeam were ignored, which are not ours: "
        "somebody on the source calls pg_logical_emit_message"
    ]


def mapped(found: Row) -> str:
    """The mapped columns in words."""
    settings: Row = found["settings"]
    words = [(name, settings.get(name)) for name in ("time", "entity", "key")]
    return ", ".join(f"{name} {_listed(value)}" for name, value in words if value)


def latency(rows: list[Row]) -> dict[str, float | None]:
    """Percentiles over all partitions, in milliseconds."""
    together: list[int] = []
    for row in rows:
        together = added(together, row["latency"])
    return {name: percentile(together, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}


def _listed(value: Any) -> str:
    return " + ".join(map(str, value)) if isinstance(value, list) else str(value)


def _one(target: Session, query: LiteralString, name: str) -> Row | None:
    with target.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, [name]).fetchone()
