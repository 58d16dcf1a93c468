"""Narrow table with a history -> wide tables, beside COPY out | COPY in of what is read."""

from __future__ import annotations

from tests.bench import reference
from tests.bench.feed import Feed
from tests.bench.limits import copied_narrow
from tests.bench.ours import Ours
from tests.bench.process import Line, until
from tests.bench.reference import FLEET, Fleet
from tests.bench.stack import Stack


def one_worker(stack: Stack, rows: int) -> Line:
    """One worker, into wide tables that are empty."""
    return filled(stack, History.of(stack, rows), workers=1)


def two_workers(stack: Stack, rows: int) -> Line:
    """Two workers, into wide tables that are empty."""
    return filled(stack, History.of(stack, rows), workers=2)


def one_worker_half_filled(stack: Stack, rows: int) -> Line:
    """One worker, into wide rows of which the stream has brought every second cell."""
    return filled(stack, History.of(stack, rows), workers=1, half=True)


def two_workers_half_filled(stack: Stack, rows: int) -> Line:
    """Two workers, into wide rows of which the stream has brought every second cell."""
    return filled(stack, History.of(stack, rows), workers=2, half=True)


class History:
    """A narrow table with so many rows, and how fast it can be copied. Several connectors may fill from it."""

    def __init__(self, stack: Stack, dsn: str, rows: int, fleet: Fleet) -> None:
        self.dsn, self.rows, self.fleet = dsn, rows, fleet
        stack.session(dsn).execute("VACUUM ANALYZE tenant.tbl_data_timeseries")
        self.limit = copied_narrow(dsn, rows)

    @classmethod
    def written(cls, stack: Stack, rows: int, fleet: Fleet = FLEET) -> History:
        """A new one."""
        dsn = stack.database(stack.name("history"))
        reference.write(dsn, 0, rows, fleet=fleet)
        return cls(stack, dsn, rows, fleet)

    @classmethod
    def of(cls, stack: Stack, rows: int) -> History:
        """The reference history, made once for the servers."""
        if rows not in stack.histories:
            stack.histories[rows] = cls.written(stack, rows)
        return stack.histories[rows]


def filled(stack: Stack, history: History, *, workers: int, half: bool = False) -> Line:
    """Fill it all, from the moment when the first worker has connected."""
    ours = Ours(stack, history.fleet, source=history.dsn, log=half)
    if half:
        _half(ours, history.rows)
    connected = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'widebeam-backfill'"
    with ours.parts(backfill=workers) as parts:
        until(lambda: ours.one(connected) > 0, parts, may_end=True)
        meter = ours.meter(parts)
        line = meter.line(history.rows, until(lambda: ours.filled() >= history.rows, parts, may_end=True))
    return {"workers": workers, "half_filled": half} | line | {"limit": history.limit}


def _half(ours: Ours, rows: int) -> None:
    """Every second cell comes by the stream."""
    feed = Feed(ours)
    ticks = -(-rows // ours.fleet.tick_rows)
    cells = feed.send(feed.ticks(0, ticks, "half"))
    with ours.parts(sink=1) as parts:
        until(lambda: ours.applied() == cells, parts)
