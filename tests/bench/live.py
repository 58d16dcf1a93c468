"""The whole chain at work: how much it takes, how soon what is committed can be read, what the application pays."""

from __future__ import annotations

import time
from pathlib import Path

from sink.state.latency import added, percentile
from tests.bench.limits import received
from tests.bench.others import trigger
from tests.bench.ours import Ours
from tests.bench.pace import SHARES, steady
from tests.bench.process import Line, until
from tests.bench.stack import Stack


def chain(stack: Stack, rows: int, sinks: int = 1) -> Line:
    """WAL that lies there -> Kafka -> wide tables, all at once, from the moment when capture begins to read."""
    ours = Ours(stack)
    return {"sinks": sinks} | chained(ours, rows, sinks)


def chained(ours: Ours, rows: int, sinks: int) -> Line:
    """The same for a connector that may have been at work before; with bytes a row of what it takes on disk."""
    kept, before, earlier = ours.kept_slot(), ours.applied(), _sizes(ours)
    ours.write(rows)
    written = int(ours.end())
    with ours.parts(sink=sinks) as sinking:
        ours.joined(sinking, sinks)
        with ours.parts(capture=1) as capture:
            ours.captured(capture)
            meter = ours.meter([*capture, *sinking])
            line = meter.line(rows, until(lambda: ours.applied() == before + rows, [*capture, *sinking]))
    later = _sizes(ours) | {"wal": written}  # what the wide tables themselves write is no part of it
    taken = {name: round((later[name] - earlier[name]) / rows, 1) for name in earlier}
    return line | {"bytes_row": taken, "limit": received(ours, kept)}


def _sizes(ours: Ours) -> dict[str, int]:
    """Bytes of the WAL, the topic, the narrow table and the wide ones (both with their indexes)."""
    topic = f"{ours.connector.topic}-"
    log = sum(
        file.stat().st_size
        for place in Path(ours.stack.kafka.directory / "data").glob(f"{topic}*")
        for file in place.glob("*.log")
    )
    wide = ours.one(
        "SELECT coalesce(sum(pg_total_relation_size(format('%I.%I', schema_name, table_name)::regclass)), 0)"
        " FROM widebeam.tables"
    )
    row = ours.origin.execute("SELECT pg_total_relation_size('tenant.tbl_data_timeseries')").fetchone()
    return {"wal": int(ours.end()), "kafka": log, "narrow": row[0] if row else 0, "wide": int(wide)}


def latency_1k(stack: Stack, rows: int) -> Line:
    """1,000 rows a second."""
    return latency(Ours(stack), rows, 1_000)


def latency_10k(stack: Stack, rows: int) -> Line:
    """10,000 rows a second."""
    return latency(Ours(stack), rows, 10_000)


def latency_50k(stack: Stack, rows: int) -> Line:
    """50,000 rows a second."""
    return latency(Ours(stack), rows, 50_000)


def latency(ours: Ours, rows: int, per_second: int) -> Line:
    """Commit -> visible in the wide table, while an application writes so many rows a second, some seconds long."""
    seconds = rows / per_second
    with ours.parts(capture=1, sink=1) as parts:
        ours.captured(parts)
        ours.joined(parts[1:], 1)
        ours.rows += (warm := steady(ours.source, ours.rows, per_second, seconds / 4))
        until(lambda: sum(_latencies(ours)) == warm, parts)
        before, meter = _latencies(ours), ours.meter(parts)
        count = steady(ours.source, ours.rows, per_second, seconds)
        cores, took = meter.cores(), time.monotonic() - meter.began
        line = meter.line(count, until(lambda: sum(_latencies(ours)) == warm + count, parts))
        counts = [after - old for after, old in zip(_latencies(ours), before, strict=True)]
    found = {name: round(percentile(counts, share) or 0, 1) for name, share in SHARES.items()}
    kept = {name: line[name] for name in ("peak_mb", "processes", "servers_cpu_us_row")}
    return {"rows": count, "rows_s": round(count / took)} | found | {"cores": round(cores, 3)} | kept


def _latencies(ours: Ours) -> list[int]:
    """The histograms of all partitions together."""
    total: list[int] = []
    for (found,) in ours.target.execute("SELECT latency FROM widebeam.progress").fetchall():
        total = added(total, found)
    return total


def write_cost(stack: Stack, rows: int) -> Line:
    """Rows a second that an application inserts: alone, with capture beside it, and with a trigger that pivots."""
    ours = Ours(stack)
    alone = _written(ours, rows)
    with ours.parts(capture=1) as parts:
        ours.captured(parts)
        with_capture = _written(ours, rows)
    with trigger(ours.origin):
        with_trigger = _written(ours, rows)
    return {
        "rows": rows,
        "alone_rows_s": alone,
        "with_capture_rows_s": with_capture,
        "with_trigger_rows_s": with_trigger,
        "capture_slower": round(alone / with_capture, 2),
        "trigger_slower": round(alone / with_trigger, 1),
    }


def _written(ours: Ours, rows: int) -> int:
    began = time.monotonic()
    ours.write(rows)
    return round(rows / (time.monotonic() - began))
