"""Widebeam and its peers, one after the other in one run, on the same servers and rows; the last line is the bars.

python -m tests.bench.peers [--rows N] [--seconds N] [--json FILE] [--keep]
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Final, NamedTuple

from tests.bench import backfill, debezium, live, others, page, sink
from tests.bench.capture import captured
from tests.bench.limits import recvlogical
from tests.bench.ours import Ours
from tests.bench.process import Line
from tests.bench.quix import quix
from tests.bench.report import Report, arguments, reporting
from tests.bench.stack import Stack, stack

PACE: Final = 10_000
"""Rows a second at which latencies are measured."""
JDBC_SHARE: Final = 3
"""The JDBC sink gets a third of the rows: it would take a minute."""
QUIX_ROWS: Final = 200_000


def ours(place: Stack, rows: int, seconds: float, report: Report) -> dict[str, Line]:
    """Our stages, and those of SQL and scripts over the same history."""
    stage = partial(report.stage, peer="widebeam")
    found = {
        # At first, for us and for the peer: once millions of rows are written, the servers clean up behind them.
        "latency": stage(lambda: live.latency(Ours(place), round(PACE * seconds), PACE), stage="latency"),
        "chain": stage(partial(live.chain, place, rows), stage="chain"),
        "capture": stage(partial(_capture, place, rows), stage="capture"),
        "sink": stage(partial(sink.fed, place, 4 * rows, sinks=2), stage="sink"),
        "backfill": stage(partial(backfill.two_workers, place, rows), stage="backfill"),
        "one_worker": stage(partial(backfill.one_worker, place, rows), stage="backfill"),
    }
    report.stage(partial(live.write_cost, place, min(rows, 50_000)), peer="trigger", stage="write cost")
    dsn = backfill.History.of(place, rows).dsn
    for script in (others.row_by_row, others.day_by_day):
        name = script.__name__
        found[name] = report.stage(partial(script, place, dsn, rows), peer=name.replace("_", " "), stage="backfill")
    report.stage(partial(others.filtered, dsn, rows), peer="INSERT … SELECT FILTER", stage="backfill")
    report.stage(partial(others.crosstab, dsn, rows), peer="crosstab", stage="backfill")
    report.stage(partial(quix, place, min(rows, QUIX_ROWS)), peer="quix streams", stage="sink")
    return found


def _capture(place: Stack, rows: int) -> Line:
    """Beside it pg_recvlogical as a yardstick: no reader in C gets more out of the same slot."""
    one = Ours(place)
    kept = one.kept_slot(for_a="yardstick")
    line = captured(one, rows, lambda: one.write(rows))
    return line | {"pg_recvlogical": recvlogical(one, kept, rows)}


def theirs(place: Stack, rows: int, seconds: float, report: Report) -> dict[str, Line]:
    """Debezium's stages: it can capture, take a snapshot, and write rows as they are."""
    stage = partial(report.stage, peer="debezium")
    some = max(1, rows // JDBC_SHARE)
    latency = stage(partial(_latency, debezium.prepare(place, "peer_latency"), seconds), stage="latency")
    one = debezium.prepare(place, "peer")
    debezium.make_slot(one, "peer_stream")
    debezium.fill(one, rows)
    return {
        "latency": latency,
        "capture": stage(partial(one.stream, "peer_stream", rows), stage="capture"),
        "snapshot": stage(partial(one.snapshot, "peer_snapshot", rows), stage="snapshot"),
        "sink": stage(partial(_jdbc_sink, place, one, some), stage="sink"),
    }


def _jdbc_sink(place: Stack, one: debezium.Debezium, some: int) -> Line:
    """The first rows of a snapshot, with their schemas, which the sink needs."""
    table = debezium.TABLE
    limit = {"snapshot.select.statement.overrides": table,
             f"snapshot.select.statement.overrides.{table}": f"SELECT * FROM {table} LIMIT {some}"}  # fmt: skip
    one.snapshot("peer_rows", some, schemas=True, **limit)
    return one.sink("peer_rows", some, "copied", place.database("copied"))


def _latency(one: debezium.Debezium, seconds: float) -> Line:
    debezium.make_slot(one, "debezium_latency")
    return one.latency(0, PACE, seconds)


class Bar(NamedTuple):
    """Two figures, and what the first divided by the second has to be at least, or at most."""

    ours: Line
    theirs: Line
    figure: str
    least: float | None = None
    most: float | None = None

    def judged(self) -> Line:
        """What it is, what it has to be, whether it holds. A stage that failed is a bar that does not hold."""
        goal = f">= {self.least}" if self.most is None else f"<= {self.most}"
        if self.figure not in self.ours or not self.theirs.get(self.figure):
            return {"value": None, "goal": goal, "holds": False}
        value = float(self.ours[self.figure]) / float(self.theirs[self.figure])
        holds = (self.least is None or value >= self.least) and (self.most is None or value <= self.most)
        return {"value": round(value, 3), "goal": goal, "holds": holds}


def bars(mine: Mapping[str, Line], other: Mapping[str, Line]) -> dict[str, Line]:
    """Each bar of the issue. Debezium's chain is as fast as the slower one of its two halves."""
    capture, fill = mine["capture"], mine["backfill"]
    chain = min(other["capture"], other["sink"], key=lambda line: float(line.get("rows_s", 0)))
    every = {
        "capture_rows_vs_debezium": Bar(capture, other["capture"], "rows_s", least=6),
        "capture_cpu_a_row_vs_debezium": Bar(capture, other["capture"], "cpu_us_row", most=1 / 8),
        "capture_memory_vs_debezium": Bar(capture, other["capture"], "peak_mb", most=1 / 8),
        "capture_rows_vs_raw_receive": Bar(capture, capture.get("limit", {}), "rows_s", least=0.75),
        "sink_cells_vs_jdbc_sink_rows": Bar(mine["sink"], other["sink"], "rows_s", least=60),
        "chain_rows_vs_debezium": Bar(mine["chain"], chain, "rows_s", least=12),
        "backfill_rows_vs_debezium_snapshot": Bar(fill, other["snapshot"], "rows_s", least=8),
        "backfill_rows_vs_raw_copy": Bar(fill, fill.get("limit", {}), "rows_s", least=0.5),
        "backfill_rows_vs_row_by_row": Bar(fill, mine["row_by_row"], "rows_s", least=15),
        "backfill_memory_vs_row_by_row": Bar(mine["one_worker"], mine["row_by_row"], "peak_mb", most=0.5),
        "latency_p99_vs_debezium_to_kafka": Bar(mine["latency"], other["latency"], "p99_ms", most=2),
    }
    return {name: bar.judged() for name, bar in every.items()}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=20, help="of the latency's measurement")
    given = parser.parse_args()
    with reporting(given, "peers") as report:
        with stack() as place:
            mine = ours(place, given.rows, given.seconds, report)
            other = theirs(place, given.rows, given.seconds, report)
        report.lines.append({"bars": bars(mine, other)})
    if given.keep:
        page.write()
    print(json.dumps(report.lines[-1]))


if __name__ == "__main__":
    main()
