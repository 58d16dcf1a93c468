"""What a row costs as rows, columns, entities and sinks grow: a line of JSON for each point.

python -m tests.bench.growth [--only rows columns entities sinks] [--large] [--scale SHARE] [--json FILE] [--keep]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from tests.bench import live, page, plot, sink
from tests.bench.backfill import History, filled
from tests.bench.others import aggregated
from tests.bench.ours import Ours
from tests.bench.process import until
from tests.bench.reference import Fleet
from tests.bench.report import Report, arguments, reporting
from tests.bench.stack import Stack, stack

COLUMNS: Final = (10, 50, 250, 500, 1000, 1500)
WIDE_ROWS: Final = 2_000
"""So many at least where columns grow: with fewer, it would be tables and plans that are measured, made once."""


@dataclass(frozen=True)
class Growth:
    """One run: `scale` is a share of the rows that suit it, `large` adds the points that take longest."""

    place: Stack
    report: Report
    scale: float
    large: bool

    def rows(self, count: float) -> int:
        return max(1, round(count * self.scale))

    def by_rows(self) -> None:
        """The whole chain and the backfill, when narrow and wide tables have so many rows."""
        ours = Ours(self.place)
        for millions in (1, 3, 10, *((50,) if self.large else ())):
            total = self.rows(millions * 1e6)
            _catch_up(ours, total)
            say = partial(self.report.stage, growth="rows", at=total)
            say(partial(live.chained, ours, self.rows(500_000), 1), what="chain")
            history = History(self.place, ours.source, ours.rows, ours.fleet)
            say(partial(filled, self.place, history, workers=1), what="backfill")

    def by_columns(self) -> None:
        """Wide rows of so many cells; beside them, SQL's conditional aggregates, which compare for each column."""
        for columns in COLUMNS:
            fleet = Fleet(channels=columns)
            say = partial(self.report.stage, growth="columns", at=columns)
            say(partial(sink.fed, self.place, self.rows(max(1e6, WIDE_ROWS * columns)), fleet), what="sink")
            history = History.written(self.place, self.rows(max(300_000, WIDE_ROWS * columns)), fleet)
            say(partial(filled, self.place, history, workers=1), what="backfill")
            aggregate = partial(aggregated, history.dsn, history.rows, fleet.channel_names)
            say(aggregate, what="aggregates with FILTER in SQL")

    def by_entities(self) -> None:
        """So many ships of 20 channels: each with a wide table of its own, or all in one."""
        for layout, points in (
            ("per_entity", (1, 10, 100, 1_000, *((10_000,) if self.large else ()))),
            ("single", (1, 100, 10_000)),
        ):
            for ships in points:
                fed = partial(sink.fed, self.place, self.rows(1e6), Fleet(ships, channels=20), layout=layout)
                self.report.stage(fed, growth="entities", at=ships, what=f"sink, {layout}")

    def by_sinks(self) -> None:
        """So many sinks, of a topic with four partitions."""
        for sinks in (1, 2, 4):
            fed = partial(sink.fed, self.place, self.rows(4e6), sinks=sinks)
            self.report.stage(fed, growth="sinks", at=sinks, what="sink")


def _catch_up(ours: Ours, rows: int) -> None:
    """Until both sides have so many rows."""
    before = ours.applied()
    more = max(0, rows - ours.rows)
    ours.write(more)
    with ours.parts(capture=1, sink=2) as parts:
        until(lambda: ours.applied() == before + more, parts, seconds=3600)


KINDS: Final[Mapping[str, Callable[[Growth], None]]] = {
    "rows": Growth.by_rows,
    "columns": Growth.by_columns,
    "entities": Growth.by_entities,
    "sinks": Growth.by_sinks,
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--large", action="store_true", help="50 M rows and 10,000 entities too: half an hour in all")
    parser.add_argument("--scale", type=float, default=1.0, help="so many of the rows only, to see that it works")
    given = parser.parse_args()
    with reporting(given, "growth") as report:
        for kind in given.only:
            with stack() as place:  # the disk is given back after each
                KINDS[kind](Growth(place, report, given.scale, given.large))
    if given.keep:
        plot.write()
        page.write()
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
