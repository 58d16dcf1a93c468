"""Widebeam and its peers, one after the other in one run, on the same servers and rows; the last line is the bars.

python -m tests.bench.peers [--rows N] [--seconds N]
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from cdc.session import connect
from tests.bench import debezium, others
from tests.bench.others import printed
from tests.bench.ours import Backfilled, Ours, raw_copy, receive
from tests.bench.stack import Stack, stack

Line = dict[str, Any]


def peer(place: Stack, rows: int, seconds: float) -> dict[str, Line]:
    """Debezium's stages."""
    found: dict[str, Line] = {}
    one = debezium.prepare(place, "peer")
    debezium.make_slot(one, "peer_stream")
    debezium.fill(one, rows)
    with printed(peer="debezium", stage="capture") as line:
        line.update(one.stream("peer_stream", rows))
        found["capture"] = line
    with printed(peer="debezium", stage="snapshot") as line:
        line.update(one.snapshot("peer_snapshot", rows))
        found["snapshot"] = line
    some = rows // 3
    table = debezium.TABLE
    limit = {"snapshot.select.statement.overrides": table,
             f"snapshot.select.statement.overrides.{table}": f"SELECT * FROM {table} LIMIT {some}"}  # fmt: skip
    one.snapshot("peer_rows", some, schemas=True, **limit)
    with printed(peer="debezium", stage="sink") as line:
        line.update(one.sink("peer_rows", some, "copied", place.database("copied")))
        found["sink"] = line
    debezium.make_slot(one, "debezium_latency")
    with printed(peer="debezium", stage="latency to Kafka") as line:
        line.update(one.latency(rows, 10_000, seconds))
        found["latency"] = line
    return found


def ours(place: Stack, rows: int, seconds: float) -> dict[str, Line]:
    """The same stages of ours."""
    found: dict[str, Line] = {}
    one = Ours(place)
    one.prepare()
    with connect(one.dsn, autocommit=True) as session:
        session.execute("SELECT pg_copy_logical_replication_slot(%s, 'ours_kept')", [one.connector.slot])
    with printed(peer="widebeam", stage="capture") as line:
        line.update(one.capture(rows))
        found["capture"] = line
    with printed(peer="raw receive loop", stage="capture") as line:
        line.update(receive(one, "ours_kept"))
        found["receive"] = line
    with printed(peer="widebeam", stage="sink", sinks=2) as line:
        line.update(one.sink(2))
        found["sink"] = line
    with printed(peer="widebeam", stage="chain", sinks=2) as line:
        line.update(one.chain(rows, 2))
        found["chain"] = line
    with printed(peer="widebeam", stage="latency to wide table") as line:
        line.update(one.latency(10_000, seconds))
        found["latency"] = line
    with printed(peer="trigger", stage="write cost") as line:
        line.update(others.write_cost(one, 50_000))
    history = Backfilled(place, rows)
    with printed(peer="COPY out | COPY in", stage="backfill") as line:
        line["rows_s"] = round(raw_copy(history.ours.dsn))
        found["copy"] = line
    with printed(peer="widebeam", stage="backfill", workers=2) as line:
        line.update(history.fill(2))
        found["backfill"] = line
    dsn = history.ours.dsn
    with printed(peer="row by row", stage="backfill") as line:
        line.update(others.row_by_row(dsn, rows, place.log("row_by_row")))
        found["row_by_row"] = line
    with printed(peer="INSERT … SELECT FILTER", stage="backfill") as line:
        line.update(others.filtered(dsn, rows))
    with printed(peer="crosstab", stage="backfill") as line:
        line.update(others.crosstab(dsn, rows))
    with printed(peer="quix streams", stage="sink") as line:
        line.update(others.quix(place, rows // 10))
    return found


def bars(mine: dict[str, Line], theirs: dict[str, Line]) -> dict[str, Line]:
    """Each bar: what was measured, what it has to be, whether it holds. `goal` is a least value, or most with `<=`."""

    def ratio(one: Line, other: Line, name: str = "rows_s") -> float:
        return float(one[name]) / float(other[name])

    capture, debezium_capture = mine["capture"], theirs["capture"]
    least = {
        "capture_rows_vs_debezium": (ratio(capture, debezium_capture), 6),
        "capture_rows_vs_raw_receive": (ratio(capture, mine["receive"]), 0.75),
        "sink_cells_vs_jdbc_sink_rows": (ratio(mine["sink"], theirs["sink"]), 60),
        "chain_rows_vs_debezium": (
            ratio(mine["chain"], min(theirs["capture"], theirs["sink"], key=lambda x: x["rows_s"])),
            12,
        ),
        "backfill_rows_vs_debezium_snapshot": (ratio(mine["backfill"], theirs["snapshot"]), 8),
        "backfill_rows_vs_raw_copy": (ratio(mine["backfill"], mine["copy"]), 0.5),
        "backfill_rows_vs_row_by_row": (ratio(mine["backfill"], mine["row_by_row"]), 15),
    }
    most = {
        "capture_cpu_a_row_vs_debezium": (ratio(capture, debezium_capture, "cpu_us_row"), 1 / 8),
        "capture_memory_vs_debezium": (ratio(capture, debezium_capture, "peak_mb"), 1 / 8),
        "backfill_memory_vs_row_by_row": (ratio(mine["backfill"], mine["row_by_row"], "peak_mb"), 0.5),
        "latency_p99_vs_debezium_to_kafka": (ratio(mine["latency"], theirs["latency"], "p99_ms"), 2),
    }
    return {
        **{
            name: {"value": round(value, 2), "goal": f">= {goal}", "holds": value >= goal}
            for name, (value, goal) in least.items()
        },
        **{
            name: {"value": round(value, 3), "goal": f"<= {goal}", "holds": value <= goal}
            for name, (value, goal) in most.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=20, help="of the latency's measurement")
    given = parser.parse_args()
    with stack() as place:
        mine = ours(place, given.rows, given.seconds)
        theirs = peer(place, given.rows, given.seconds)
    print(json.dumps({"bars": bars(mine, theirs)}))


if __name__ == "__main__":
    main()
