"""Reads from the control schema how far and how fast the pipeline is: the same figures that `status` shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial, reduce
from typing import Any, NamedTuple

import psycopg

from cdc.bindable import Cursor
from sink.state.latency import added, percentile
from widebeam.demo.stage import CONNECTOR


class Reading(NamedTuple):
    """One look at the counters. Rows are changes of narrow rows; the times are when each counter was last written.

    All that was committed before `applied_to` is applied; `seen_at` is when this was read, by the same server's clock.
    """

    captured: int
    captured_at: datetime | None
    applied: int
    applied_at: datetime | None
    applied_to: datetime | None
    seen_at: datetime
    converged: bool
    halt: str | None


_READ = """
    SELECT c.changes, c.received_at, p.rows, p.applied_at, p.applied_to, clock_timestamp(), c.converged_at IS NOT NULL,
           c.halt_cause || ': ' || c.halt_what
    FROM widebeam.connectors c,
         (SELECT sum(rows)::bigint AS rows, max(applied_at) AS applied_at, min(commit_time) AS applied_to
          FROM widebeam.progress WHERE connector = %s) p
    WHERE c.connector = %s"""

_BACKFILL = """
    SELECT sum(rows) / greatest(extract(epoch FROM max(merged_at) - min(merged_at - seconds * interval '1 s')), 0.001)
    FROM widebeam.chunks WHERE connector = %s AND state = 'merged'"""
_FILLED = "SELECT coalesce(sum(rows), 0)::bigint FROM widebeam.chunks WHERE connector = %s AND state = 'merged'"
_SHAPE = """
    SELECT count(DISTINCT t.view_name), (SELECT count(DISTINCT key) FROM widebeam.columns WHERE connector = %s)
    FROM widebeam.tables t WHERE t.connector = %s"""


class Gauge:
    """A session that only looks."""

    def __init__(self, dsn: str) -> None:
        self._connection: psycopg.Connection[Any] = psycopg.connect(dsn, autocommit=True, cursor_factory=Cursor)

    def close(self) -> None:
        """End the session."""
        self._connection.close()

    def read(self) -> Reading | None:
        """The counters; None before the connector is prepared."""
        if self._one("SELECT to_regclass('widebeam.progress') IS NULL"):
            return None
        row = self._connection.execute(_READ, [CONNECTOR, CONNECTOR]).fetchone()
        return None if row is None or row[2] is None else Reading(*row)

    def follow(self, done: Callable[[Reading], bool], alive: Callable[[], None], seconds: float) -> list[Reading]:
        """Look ten times a second until `done`; `alive` raises if it never will be. All that was seen.

        Raises TimeoutError after `seconds`, or if the pipeline halted.
        """
        seen: list[Reading] = []
        deadline = time.monotonic() + seconds
        while not (seen and done(seen[-1])):
            alive()
            now = self.read()
            if now is not None:
                seen.append(now)
                if now.halt is not None:
                    raise TimeoutError(f"the pipeline halted: {now.halt}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"not done after {seconds:.0f} s: {seen[-1] if seen else 'not prepared'}")
            time.sleep(0.1)
        return seen

    def settle(self, alive: Callable[[], None], seconds: float) -> None:
        """Wait until all that is committed by now is applied, and all that was applied meanwhile is in the latencies.

        The sinks write those down once a second.
        """
        for margin in (timedelta(), timedelta(seconds=1)):
            [*_, now] = self.follow(lambda _: True, alive, seconds)
            self.follow(partial(_has_applied, now.seen_at + margin), alive, seconds)

    def backfill_rate(self) -> float:
        """Narrow rows a second over all workers, from the first chunk's start to the last one's merge."""
        return float(self._one(_BACKFILL, CONNECTOR))

    def filled(self) -> int:
        """Narrow rows that the backfill has put into the wide tables."""
        return int(self._one(_FILLED, CONNECTOR))

    def shape(self) -> tuple[int, int]:
        """How many wide views there are, and how many keys became columns."""
        views, keys = self._connection.execute(_SHAPE, [CONNECTOR, CONNECTOR]).fetchone() or (0, 0)
        return views, keys

    def latencies(self) -> list[int]:
        """The histogram of commit-to-visible latencies so far, over all partitions, as the sinks count them."""
        rows = self._connection.execute("SELECT latency FROM widebeam.progress WHERE connector = %s", [CONNECTOR])
        return reduce(added, (row[0] for row in rows), [])

    def _one(self, query: str, *parameters: object) -> Any:
        row = self._connection.execute(query, parameters).fetchone()
        return None if row is None else row[0]


def _has_applied(goal: datetime, now: Reading) -> bool:
    return now.applied_to is not None and now.applied_to >= goal


def rate(points: Sequence[tuple[int, datetime | None]], before: int, goal: int) -> float | None:
    """Rows a second while a counter went from `before` to `goal`, by the times at which it was written.

    None if it was written less than twice in that stretch.
    """
    during = [(rows, at) for rows, at in points if at is not None and rows > before]
    until = next((number for number, (rows, _) in enumerate(during) if rows >= goal), None)
    if until is None or during[until][0] == during[0][0]:
        return None
    (first, began), (last, ended) = during[0], during[until]
    return (last - first) / max((ended - began).total_seconds(), 0.001)


def percentiles(before: Sequence[int], after: Sequence[int]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds of what two histograms of the same counters differ by; empty if in nothing."""
    during = added(after, [-count for count in before])
    found = {f"p{share}": percentile(during, share / 100) for share in (50, 95, 99)}
    return {name: round(value, 1) for name, value in found.items() if value is not None}
