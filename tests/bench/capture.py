"""How fast capture goes from the WAL into Kafka, and how much memory it takes; prints one JSON line.

python tests/bench/capture.py [--rows N] [--per-transaction N] [--codec json|avro] [--profile FILE]

The workload is the reference table: 8 ships, 250 channels, 2,000 rows a transaction, the WAL written beforehand.
Servers of its own on free ports; only the capture process is measured. `--profile` writes its cProfile there.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from cdc import publication, slot
from cdc import topic as topics
from cdc.avro import AvroCodec
from cdc.envelope import JSON
from cdc.journal import PostgresJournal
from cdc.kafka import KafkaPublisher
from cdc.lsn import Lsn
from cdc.narrow import NarrowTable
from cdc.run import Capture
from cdc.session import connect
from cdc.standby import CaptureSettings
from widebeam.lab.account import new_directory
from widebeam.lab.kafka import KafkaBroker
from widebeam.lab.postgres import QUICK, PostgresServer

NAME, PARTITIONS = "bench", 4
TABLE = NarrowTable(
    "tenant",
    "tbl_data_timeseries",
    ("ship_id",),
    ("created_time",),
    ("data_channel_id",),
    ("bool_v", "str_v", "long_v", "double_v"),
    ("value_format",),
)
DDL = """
CREATE SCHEMA tenant;
CREATE TABLE tenant.tbl_data_timeseries (
    id bigserial, ship_id text NOT NULL, data_channel_id text NOT NULL, created_time timestamp NOT NULL,
    server_created_time timestamp DEFAULT now(), bool_v bool, str_v text, long_v int8, double_v float8,
    value_format varchar(50), PRIMARY KEY (ship_id, data_channel_id, created_time))
"""
# Of 20 channels two are whole numbers, one a text, one a truth value, the others decimal.
TICK = """
INSERT INTO tenant.tbl_data_timeseries
    (ship_id, data_channel_id, created_time, bool_v, str_v, long_v, double_v, value_format)
SELECT 'IMO' || 9999000 + n / 250, 'channel_' || lpad((n %% 250)::text, 3, '0'),
       timestamp '2026-01-01' + m / 2000 * interval '15 s',
       CASE WHEN kind = 3 THEN n %% 2 = 0 END, CASE WHEN kind = 2 THEN 'state_' || n %% 7 END,
       CASE WHEN kind < 2 THEN n * 1000 + m / 2000 END,
       CASE WHEN kind > 3 THEN round((random() * 1000)::numeric, 3)::float8 END,
       CASE WHEN kind < 2 THEN 'Integer' WHEN kind = 2 THEN 'String' WHEN kind = 3 THEN 'Boolean' ELSE 'Decimal' END
  FROM generate_series(%(low)s::int, %(high)s::int) m,
       LATERAL (SELECT m %% 2000 AS n) a, LATERAL (SELECT n %% 20 AS kind) b
"""
CONTROL = Path(__file__).parents[2] / "sink" / "control.sql"


@dataclass(frozen=True)
class Bench:
    """The servers, and what is to be read from them."""

    dsn: str
    kafka: str
    codec: str
    profile: str


def load(dsn: str, rows: int, per_transaction: int) -> Lsn:
    """Prepare the connector, then write the WAL that is to be captured; its end."""
    with connect(dsn, autocommit=True) as admin:
        admin.execute(DDL)
        publication.create(admin, NAME, TABLE)
        cutoff, incarnation = slot.create(dsn, NAME), slot.incarnation(dsn)
        admin.execute(CONTROL.read_text())
        admin.execute(
            "INSERT INTO widebeam.connectors (connector, transport, partitions, slot, publication, system_id, timeline,"
            " cutoff, settings)"
            " VALUES (%s, 'kafka', %s, %s, %s, %s, %s, %s::pg_lsn, '{}')",
            [NAME, PARTITIONS, NAME, NAME, incarnation.system_id, incarnation.timeline, str(cutoff.lsn)],
        )
        for low in range(0, rows, per_transaction):
            high = min(low + per_transaction, rows) - 1
            admin.execute(TICK, {"low": low, "high": high})
        row = admin.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
        assert row is not None
        return Lsn.parse(row[0])


def capture(bench: Bench) -> None:
    """The process that is measured."""
    publisher = KafkaPublisher({"bootstrap.servers": bench.kafka}, NAME, PARTITIONS)
    codec = AvroCodec() if bench.codec == "avro" else JSON
    settings = CaptureSettings(NAME, bench.dsn, NAME, NAME, (TABLE,), codec, ack_seconds=0.2)
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    with connect(bench.dsn, autocommit=True) as connection:
        run = Capture(settings, publisher, PostgresJournal(connection, NAME)).run
        if bench.profile:
            profile = cProfile.Profile()
            profile.runcall(run, stop)
            profile.dump_stats(bench.profile)
        else:
            run(stop)


def measure(bench: Bench, end: Lsn, rows: int) -> dict[str, Any]:
    """Run the capture process from the slot's start until all of it is acknowledged."""
    command = [sys.executable, __file__, "--child", json.dumps([bench.dsn, bench.kafka, bench.codec, bench.profile])]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child, connect(bench.dsn, autocommit=True) as admin:
        process, started = psutil.Process(child.pid), 0.0
        while (state := slot.inspect(admin, NAME)) is None or state.confirmed_flush < end:
            started = started or (time.monotonic() if state is not None and state.active_pid else 0.0)
            assert child.poll() is None, "capture ended"
            time.sleep(0.02)
        seconds = time.monotonic() - started
        cpu = sum(process.cpu_times()[:2])
        peak = next(line for line in Path(f"/proc/{child.pid}/status").read_text().splitlines() if "VmHWM" in line)
        count = admin.execute("SELECT records, changes FROM widebeam.connectors").fetchone()
        assert count is not None
        child.communicate(b"", timeout=20)
    return {
        "bench": "capture",
        "rows": rows,
        "captured": count[1],
        "records": count[0],
        "seconds": round(seconds, 2),
        "rows_s": round(rows / seconds),
        "cpu_us_row": round(cpu * 1e6 / rows, 2),
        "peak_rss_mb": round(int(peak.split()[1]) / 1024),
        "codec": bench.codec,
        "cores": os.cpu_count(),
    }


def main() -> None:
    """Start the servers, load, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--per-transaction", type=int, default=2000)
    parser.add_argument("--codec", choices=("json", "avro"), default="json")
    parser.add_argument("--profile", default="")
    parser.add_argument("--child", default="")
    given = parser.parse_args()
    if given.child:
        return capture(Bench(*json.loads(given.child)))
    directory = new_directory("wb-bench-")
    postgres, kafka = PostgresServer.start(directory / "pg", settings=QUICK), KafkaBroker.start(directory / "kafka")
    try:
        topics.create({"bootstrap.servers": kafka.bootstrap}, topics.TopicPlan(NAME, PARTITIONS))
        bench = Bench(postgres.dsn(), kafka.bootstrap, given.codec, given.profile)
        end = load(bench.dsn, given.rows, given.per_transaction)
        print(json.dumps(measure(bench, end, given.rows)))
    finally:
        kafka.kill()
        postgres.stop("immediate")
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
