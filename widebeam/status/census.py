"""Every connector that a target knows, by what the target alone tells: no source is asked, which may be gone."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import psycopg

from sink.state import notices
from widebeam.state import signs
from widebeam.status import target_view
from widebeam.status.facts import Facts, Waits
from widebeam.status.judge import State, judge

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class Counted(NamedTuple):
    """A connector. `applied_seconds` is how long ago something was applied, `sign_seconds` how long ago one of its
    processes gave a sign of life; None: never. `waits_seconds`: since when something was read and not yet durable."""

    connector: str
    state: State
    cause: str
    slot: str
    transport: str
    tables: tuple[str, ...]
    waits_seconds: float | None
    applied_seconds: float | None
    sign_seconds: float | None


def census(target: Session) -> list[Counted]:
    """All of them, by name."""
    if target.execute("SELECT to_regclass('widebeam.connectors')").fetchone() == (None,):
        return []
    names = target.execute("SELECT connector FROM widebeam.connectors ORDER BY connector").fetchall()
    return [_counted(target, name) for (name,) in names]


def _counted(target: Session, name: str) -> Counted:
    found = target_view.connector(target, name) or {}
    rows, lives = target_view.progress(target, name), signs.load(target, name) if signs.there(target) else None
    told, ledger_counts = notices.load(target, name), target_view.backfill(target, name)
    applied = min((row["still"] for row in rows if row["still"] is not None), default=None)
    since = found["waiting_since"]
    waits = None if since is None else max(_now(target) - since, 0.0)
    verdict = judge(
        Facts(
            name,
            target_view.phase(found, ledger_counts, filling=any(one.kind == "filling" for one in told)),
            found["slot"],
            found["transport"],
            dropping=bool(found["settings"].get("dropping")),
            halt=target_view.halt(found)[1],
            read_only=found["read_only"],
            looked=False,
            signs=lives,
            waits=()
            if waits is None
            else (Waits("what was read", waits, min(applied or waits, found["still"] or waits)),),
            refused=target_view.refused(target, name),
            chunks_open=ledger_counts.planned + ledger_counts.failed,
            chunks_given_up=ledger_counts.given_up,
            mapped=target_view.mapped(found),
        )
    )
    tables = target.execute(
        "SELECT schema_name || '.' || table_name FROM widebeam.sources WHERE connector = %s ORDER BY 1", [name]
    ).fetchall()
    sign = None if not lives else min(one.age for one in lives)
    shown = tuple(table for (table,) in tables)
    return Counted(name, verdict.state, verdict.cause, found["slot"], found["transport"], shown, waits, applied, sign)


def _now(target: Session) -> float:
    row = target.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    return float(row[0]) if row else 0.0
