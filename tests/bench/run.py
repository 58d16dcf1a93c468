"""Ours, stage by stage: a line of JSON each, with the limit beside it.

python -m tests.bench.run [--only capture.single_row ...] [--rows N] [--json FILE] [--keep]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

from tests.bench import backfill, capture, live, page, sink
from tests.bench.process import Line
from tests.bench.report import arguments, reporting
from tests.bench.stack import Stack, stack


class Stage(NamedTuple):
    """What is measured, and with how many rows unless somebody says otherwise."""

    run: Callable[[Stack, int], Line]
    rows: int


STAGES: Final[Mapping[str, Stage]] = {
    "capture.grouped": Stage(capture.grouped, 1_000_000),
    "capture.single_row": Stage(capture.single_row, 300_000),
    "capture.one_transaction": Stage(capture.one_transaction, 2_000_000),
    "capture.updates": Stage(capture.updates, 500_000),
    "capture.deletes": Stage(capture.deletes, 500_000),
    "sink.whole_rows": Stage(sink.whole_rows, 4_000_000),
    "sink.cell_records": Stage(sink.cell_records, 500_000),
    "sink.thousand_columns": Stage(sink.thousand_columns, 4_000_000),
    "sink.many_entities": Stage(sink.many_entities, 2_000_000),
    "chain": Stage(live.chain, 1_000_000),
    "backfill.one_worker": Stage(backfill.one_worker, 2_000_000),
    "backfill.two_workers": Stage(backfill.two_workers, 2_000_000),
    "backfill.one_worker_half_filled": Stage(backfill.one_worker_half_filled, 2_000_000),
    "backfill.two_workers_half_filled": Stage(backfill.two_workers_half_filled, 2_000_000),
    "latency.1k": Stage(live.latency_1k, 15_000),
    "latency.10k": Stage(live.latency_10k, 150_000),
    "latency.50k": Stage(live.latency_50k, 750_000),
    "write_cost": Stage(live.write_cost, 50_000),
}


def wanted(only: list[str]) -> dict[str, Stage]:
    """The stages of these names, or whose names begin so (`capture` is all of capture)."""
    chosen = {
        name: stage
        for name, stage in STAGES.items()
        if not only or any(name == each or name.startswith(f"{each}.") for each in only)
    }
    strangers = [each for each in only if not any(name == each or name.startswith(f"{each}.") for name in STAGES)]
    if strangers:
        raise SystemExit(f"no stage {', '.join(strangers)}; there are {', '.join(STAGES)}")
    return chosen


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="+", default=[], help="stages, or the first part of their names")
    parser.add_argument("--rows", type=int, help="in each stage, instead of as many as suit it")
    given = parser.parse_args()
    with reporting(given, "bench") as report, stack() as place:
        for name, stage in wanted(given.only).items():
            rows = given.rows or stage.rows
            report.stage(partial(stage.run, place, rows), stage=name)
    if given.keep:
        page.write()
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
