"""How fast a backfill worker fills wide tables from a narrow one, and how much memory it takes; prints one JSON line.

python -P tests/bench/backfill.py [--rows N] [--workers N] [--chunk-rows N] [--sparse]

The workload is the reference table: 8 ships, 250 channels, a reading each 15 s; with `--sparse` each wide row has a
single cell. Beside it, on the same server, `COPY out | COPY in` of the same columns into a table without an index.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from psycopg import sql

from cdc.narrow import NarrowTable
from cdc.session import connect
from sink.mapping import Mapping
from sink.rule import Rule
from snapshot import ledger
from snapshot.estimate import plan_chunks
from snapshot.plan import Chunk
from snapshot.reader import select
from snapshot.run import Backfill, BackfillSettings
from widebeam.lab.account import new_directory
from widebeam.lab.postgres import QUICK, PostgresServer

TABLE = NarrowTable(
    "tenant",
    "tbl_data_timeseries",
    ("ship_id",),
    ("created_time",),
    ("data_channel_id",),
    ("double_v", "long_v", "str_v", "bool_v"),
    ("value_format",),
)
TYPES = {
    "ship_id": "text",
    "created_time": "timestamp without time zone",
    "data_channel_id": "text",
    "double_v": "double precision",
    "long_v": "bigint",
    "str_v": "text",
    "bool_v": "boolean",
    "value_format": "character varying(50)",
}
CHOICES = {"Decimal": "double_v", "Integer": "long_v", "String": "str_v", "Boolean": "bool_v"}
RULE = Rule.of(TABLE, TYPES, discriminator="value_format", choices=CHOICES)
MAPPING = Mapping(connector="ships", rules=(RULE,), schema="wide", name="{entity}")
DDL = """
CREATE SCHEMA tenant;
CREATE TABLE tenant.tbl_data_timeseries (
    id bigserial, ship_id text NOT NULL, data_channel_id text NOT NULL, created_time timestamp NOT NULL,
    server_created_time timestamp DEFAULT now(), bool_v bool, str_v text, long_v int8, double_v float8,
    value_format varchar(50), PRIMARY KEY (ship_id, data_channel_id, created_time));
CREATE INDEX ON tenant.tbl_data_timeseries (created_time DESC);
CREATE TABLE tenant.copied AS SELECT ship_id, created_time, data_channel_id, double_v, long_v, str_v, bool_v,
    value_format FROM tenant.tbl_data_timeseries;
"""
# Of 20 channels two are whole numbers, one a text, one a truth value, the others decimal.
LOAD = """
INSERT INTO tenant.tbl_data_timeseries
    (ship_id, data_channel_id, created_time, bool_v, str_v, long_v, double_v, value_format)
SELECT 'IMO' || 9999000 + n / 250, 'channel_' || lpad((n %% 250)::text, 3, '0'),
       timestamp '2026-01-01' + m / %(together)s * interval '15 s' * %(together)s / 2000,
       CASE WHEN kind = 3 THEN n %% 2 = 0 END, CASE WHEN kind = 2 THEN 'state_' || n %% 7 END,
       CASE WHEN kind < 2 THEN n * 1000 + m / 2000 END,
       CASE WHEN kind > 3 THEN round((random() * 1000)::numeric, 3)::float8 END,
       CASE WHEN kind < 2 THEN 'Integer' WHEN kind = 2 THEN 'String' WHEN kind = 3 THEN 'Boolean' ELSE 'Decimal' END
  FROM generate_series(0, %(rows)s - 1) m, LATERAL (SELECT m %% 2000 AS n) a, LATERAL (SELECT n %% 20 AS kind) b
"""
CONTROL = Path(__file__).parents[2] / "sink" / "control.sql"


def load(dsn: str, rows: int, chunk_rows: int, sparse: bool) -> None:
    """The narrow table, and a connector with a plan."""
    with connect(dsn, autocommit=True) as admin:
        admin.execute(DDL)
        admin.execute(LOAD, {"rows": rows, "together": 1 if sparse else 2000})
        admin.execute("VACUUM ANALYZE tenant.tbl_data_timeseries")
        admin.execute(CONTROL.read_text())
        admin.execute(
            "INSERT INTO widebeam.connectors (connector, transport, partitions, slot, publication, system_id, timeline,"
            " cutoff, cutoff_snapshot, settings) VALUES ('ships', 'direct', 1, '', '', '', 1,"
            " pg_current_wal_insert_lsn(), pg_current_snapshot(), '{}')"
        )
        ledger.write_plan(admin, "ships", plan_chunks(admin, MAPPING.rule, chunk_rows, 24))


def raw_copy(dsn: str) -> float:
    """Seconds for COPY out | COPY in of the columns that a worker reads, with nothing between."""
    into = sql.SQL("COPY tenant.copied ({}) FROM STDIN").format(sql.SQL(", ").join(map(sql.Identifier, TABLE.columns)))
    with connect(dsn, autocommit=True) as one, connect(dsn, autocommit=True) as other:
        began = time.monotonic()
        with one.cursor().copy(select(RULE, Chunk(1, None, None, 0))) as out, other.cursor().copy(into) as back:
            for block in out:
                back.write(block)
        return time.monotonic() - began


def worker(dsn: str) -> None:
    """The process that is measured: one worker; prints its CPU seconds and peak memory (MB)."""
    Backfill(BackfillSettings(MAPPING, dsn, dsn)).run(threading.Event())
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    print(json.dumps([time.process_time(), round(int(peak.split()[1]) / 1024)]))


def measure(dsn: str, workers: int) -> dict[str, Any]:
    """All workers, from their start to their end."""
    began = time.monotonic()
    command = [sys.executable, "-P", __file__, "--child", dsn]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(workers)]
    found = [json.loads(child.communicate()[0]) for child in children]
    seconds = time.monotonic() - began
    with connect(dsn, autocommit=True) as admin:
        counts = ledger.counts(admin, "ships")
    assert counts.open == counts.given_up == 0
    return {
        "rows": counts.rows,
        "cells": counts.cells,
        "chunks": counts.merged,
        "seconds": round(seconds, 2),
        "rows_s": round(counts.rows / seconds),
        "cpu_us_row": round(sum(cpu for cpu, _ in found) * 1e6 / counts.rows, 2),
        "peak_rss_mb": max(peak for _, peak in found),
    }


def main() -> None:
    """Start a server, load, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--chunk-rows", type=int, default=200_000)
    parser.add_argument("--sparse", action="store_true")
    parser.add_argument("--child", default="")
    given = parser.parse_args()
    if given.child:
        return worker(given.child)
    directory = new_directory("wb-bench-")
    postgres = PostgresServer.start(directory / "pg", settings=QUICK)
    try:
        dsn = postgres.dsn()
        load(dsn, given.rows, given.chunk_rows, given.sparse)
        raw = raw_copy(dsn)
        figures = measure(dsn, given.workers)
        shape = {"bench": "backfill", "workers": given.workers, "sparse": given.sparse, "cores": os.cpu_count()}
        ratio = {"raw_copy_rows_s": round(figures["rows"] / raw), "ratio": round(raw / figures["seconds"], 2)}
        print(json.dumps(shape | figures | ratio))
    finally:
        postgres.stop("immediate")
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
