"""WAL that lies there -> Kafka, beside a loop that receives the same WAL and throws it away."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench.limits import received
from tests.bench.ours import Ours
from tests.bench.process import Line, until
from tests.bench.reference import Act
from tests.bench.stack import Stack


def captured(ours: Ours, rows: int, write: Callable[[], None]) -> Line:
    """Capture what `write` writes: so many rows, until the last one is in Kafka.

    (Capture acknowledges a second later at most, which would be a fifth of the time that is measured.)
    """
    kept = ours.kept_slot()
    write()
    end = ours.end()
    with ours.parts(capture=1) as parts:
        ours.captured(parts)
        meter, ends = ours.meter(parts), ours.ends()
        until(lambda: ends() > 0 and ours.slot().confirmed_flush >= end, parts)
        line = meter.line(rows, ends.since)
    return line | {"limit": received(ours, kept)}


def grouped(stack: Stack, rows: int) -> Line:
    """Transactions of 2,000 rows: one moment of all ships."""
    ours = Ours(stack)
    return captured(ours, rows, lambda: ours.write(rows))


def single_row(stack: Stack, rows: int) -> Line:
    """A transaction for each row."""
    ours = Ours(stack)
    return captured(ours, rows, lambda: ours.write(rows, per_transaction=1))


def one_transaction(stack: Stack, rows: int) -> Line:
    """All rows in one transaction, which the server spools to disk."""
    ours = Ours(stack)
    return captured(ours, rows, lambda: ours.write(rows, per_transaction=rows))


def updates(stack: Stack, rows: int) -> Line:
    """Updates of the value, 2,000 in a transaction."""
    return _changed(stack, rows, "update")


def deletes(stack: Stack, rows: int) -> Line:
    """Deletes, 2,000 in a transaction."""
    return _changed(stack, rows, "delete")


def _changed(stack: Stack, rows: int, act: Act) -> Line:
    ours = Ours(stack)
    ours.write(rows)
    end = ours.end()
    with ours.parts(capture=1) as parts:
        until(lambda: ours.slot().confirmed_flush >= end, parts)
    return captured(ours, rows, lambda: ours.change(act, rows))
