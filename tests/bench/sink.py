"""Records that lie in Kafka -> wide tables, beside COPY out | COPY in of those wide tables."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress

from tests.bench.feed import Encoded, Feed, Shape
from tests.bench.limits import copied_wide
from tests.bench.ours import Ours
from tests.bench.process import Line, Measured, until
from tests.bench.reference import FLEET, Fleet
from tests.bench.stack import Stack


def whole_rows(stack: Stack, rows: int) -> Line:
    """A record holds the 250 cells of a wide row."""
    return fed(stack, rows)


def cell_records(stack: Stack, rows: int) -> Line:
    """A record for each cell."""
    return fed(stack, rows, shape="cells")


def thousand_columns(stack: Stack, rows: int) -> Line:
    """Wide rows of 1,000 cells."""
    return fed(stack, rows, Fleet(ships=8, channels=1000))


def many_entities(stack: Stack, rows: int) -> Line:
    """64 ships, each with a wide table of its own."""
    return fed(stack, rows, Fleet(ships=64, channels=250))


def fed(
    stack: Stack, rows: int, fleet: Fleet = FLEET, *, shape: Shape = "rows", sinks: int = 1, layout: str = "per_entity"
) -> Line:
    """Sinks apply at least so many cells, from the moment when they have joined."""
    ours = Ours(stack, fleet, layout=layout)
    feed = Feed(ours)
    ticks = -(-rows // fleet.tick_rows)
    with ours.parts(sink=sinks) as parts:
        ours.joined(parts, sinks)
        line = _drained(ours, parts, feed, feed.ticks(1, 1 + ticks, shape))
    return {"sinks": sinks, "layout": layout} | line | {"limit": copied_wide(ours, (1 + ticks) * fleet.tick_rows)}


def _drained(ours: Ours, parts: list[Measured], feed: Feed, records: Iterator[Encoded]) -> Line:
    """The sinks hold still while the records are put into the log, so that nobody else is at work afterwards."""
    before = ours.applied()
    try:
        for part in parts:
            part.process.send_signal(signal.SIGSTOP)
        cells = feed.send(records)
    finally:
        meter = ours.meter(parts)
        for part in parts:
            with suppress(ProcessLookupError):
                part.process.send_signal(signal.SIGCONT)
    return meter.line(cells, until(lambda: ours.applied() == before + cells, parts))
