"""How fast a sink folds and merges change records, and how much memory it takes; prints one JSON line for each shape.

python -P tests/bench/sink.py [--rows N] [--shape whole|cells|scattered|steady ...]

8 ships, 250 channels. `whole`: a record holds the 250 cells of a wide row. `cells`: a record for each cell, row by
row. `scattered`: a record for each cell, each in another wide row. `steady`: 10,000 cells a second, for latency.
The records lie in a file beforehand, and a reader that does nothing else reads them. (-P: the file has a name of ours.)
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
import psutil

from cdc.envelope import encode
from cdc.lsn import Lsn
from cdc.narrow import NarrowTable
from cdc.record import Changes, Stamp
from cdc.session import connect
from cdc.transport import Assignment, Received
from sink.latency import percentiles
from sink.mapping import Mapping
from sink.registry import Registry
from sink.rule import Rule
from sink.run import Sink, SinkSettings
from sink.wide import Need
from widebeam.lab.account import new_directory
from widebeam.lab.postgres import QUICK, PostgresServer

SHIPS, CHANNELS = 8, 250
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


def readings(shape: str, rows: int) -> Iterator[tuple[str, int, list[list[Any]]]]:
    """Ship, number of the moment, narrow rows: one item for each record."""
    for n in range(rows // CHANNELS if shape == "whole" else rows):
        moment = n if shape in {"whole", "scattered"} else n // CHANNELS
        channels = (
            range(CHANNELS) if shape == "whole" else [n * 7919 % CHANNELS if shape == "scattered" else n % CHANNELS]
        )
        cells = [
            ["i", f"channel {channel}", f"{moment * 0.37 + channel:.3f}", None, None, None, "Decimal"]
            for channel in channels
        ]
        yield f"ship-{moment % SHIPS}", moment // SHIPS, cells


def records(shape: str, rows: int) -> Iterator[bytes]:
    """The records' bytes, all of one partition."""
    for n, (ship, moment, cells) in enumerate(readings(shape, rows)):
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(1_700_000_000 + 15 * moment))
        stamp = Stamp("ships", 1, n, Lsn(8 * n + 8), n, time.time_ns() // 1000)
        yield encode(Changes(stamp, TABLE.qualified, {"ship_id": ship, "created_time": at}, list(TABLE.carried), cells))


class Given:
    """A log that is a file: a length, then the record. With `rate`, no faster than so many records a second."""

    def __init__(self, file: Path, rate: int | None, done: threading.Event) -> None:
        self._file, self._rate, self._done = file.open("rb"), rate, done
        self._offset, self._began = 0, time.perf_counter()
        self._assignment: Assignment | None = None

    def join(self, assignment: Assignment) -> Given:
        self._assignment = assignment
        return self

    def poll(self, limit: int, timeout: float) -> list[Received]:
        if self._assignment is not None:
            self._assignment.assigned([0])
            self._assignment, self._began = None, time.perf_counter()
        received: list[Received] = []
        size = 0
        due = limit if self._rate is None else int((time.perf_counter() - self._began) * self._rate) - self._offset
        while len(received) < min(limit, due) and size < 8_000_000 and (head := self._file.read(4)):
            value = self._file.read(int.from_bytes(head, "little"))
            if self._rate is not None:  # committed just now
                value = orjson.dumps({**orjson.loads(value), "at": time.time_ns() // 1000})
            received.append(Received(0, self._offset, None, value, -1))
            self._offset += 1
            size += len(value)
        if not received and due > 0:
            self._done.set()
        elif not received:
            time.sleep(0.001)
        return received

    def rewind(self, partition: int, offset: int) -> None:
        raise NotImplementedError("the benchmark loses no connection")

    def applied(self, offsets: dict[int, int]) -> None:
        """Nobody waits for it."""

    def bounds(self, partition: int) -> tuple[int, int]:
        return 0, self._offset

    def close(self) -> None:
        self._file.close()


def prepare(dsn: str) -> None:
    with connect(dsn, autocommit=True) as target:
        target.execute("DROP SCHEMA IF EXISTS widebeam CASCADE; DROP SCHEMA IF EXISTS wide CASCADE")
        target.execute(files("sink").joinpath("control.sql").read_bytes())
        target.execute(
            "INSERT INTO widebeam.connectors (connector, transport, partitions, slot, publication, system_id, timeline,"
            " cutoff, planned_at, settings)"
            " VALUES ('ships', 'direct', 1, 's', 'p', '1', 1, '0/1', now(), '{}')"
        )
        target.execute("INSERT INTO widebeam.progress (connector, partition) VALUES ('ships', 0)")
        keys = [(f"ship-{ship}", f"channel {channel}") for ship in range(SHIPS) for channel in range(CHANNELS)]
        Registry(MAPPING).ensure(target, [Need((ship,), key, "double_v", "double precision") for ship, key in keys])


def run(dsn: str, file: Path, shape: str, rows: int, batch_rows: int) -> dict[str, Any]:
    """One sink in this process over the records of the file."""
    done = threading.Event()
    given = Given(file, 10_000 if shape == "steady" else None, done)
    began, used = time.perf_counter(), time.process_time()
    Sink(SinkSettings(dsn, MAPPING, batch_rows), given.join).run(done)
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    with connect(dsn, autocommit=True) as target:
        row = target.execute("SELECT rows, latency FROM widebeam.progress").fetchone() or (0, [])
        heap = target.execute(
            "SELECT sum(pg_total_relation_size(c.oid)) / 1000000 FROM pg_class c"
            " WHERE relnamespace = 'wide'::regnamespace AND relkind = 'r'"
        ).fetchone() or (0,)
    if row[0] != rows:
        raise SystemExit(f"{row[0]} rows are applied, {rows} were given")
    return {
        "bench": "sink",
        "shape": shape,
        "rows": rows,
        "seconds": round(seconds, 2),
        "cells_s": round(rows / seconds),
        "cpu_us_per_cell": round(cpu / rows * 1e6, 3),
        "cores": round(cpu / seconds, 2),
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "wide_mb": int(heap[0]),
        "latency_ms": {k: None if v is None else round(v, 1) for k, v in percentiles([row[1]]).items()}
        if shape == "steady"
        else None,
    }


def server_cpu(server: PostgresServer) -> float:
    """CPU seconds of the server's sessions that have ended."""
    times = psutil.Process(server.pid).cpu_times()
    return float(times.children_user + times.children_system)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--shape", nargs="*", default=["whole", "cells", "scattered", "steady"])
    parser.add_argument("--batch-rows", type=int, default=20_000)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(
            json.dumps(
                run(options.child[0], Path(options.child[1]), options.shape[0], options.rows, options.batch_rows)
            )
        )
        return
    directory = new_directory("wb-bench-")
    server = PostgresServer.start(directory / "pg", settings=QUICK)
    try:
        for shape in options.shape:
            rows = {"scattered": options.rows // 10, "steady": min(options.rows, 100_000)}.get(shape, options.rows)
            rows -= rows % CHANNELS
            file = directory / shape
            with file.open("wb") as out:
                for value in records(shape, rows):
                    out.write(len(value).to_bytes(4, "little") + value)
            prepare(server.dsn())
            command = [
                sys.executable,
                "-P",
                __file__,
                "--child",
                server.dsn(),
                str(file),
                "--rows",
                str(rows),
                "--shape",
                shape,
                "--batch-rows",
                str(options.batch_rows),
            ]
            environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
            used = server_cpu(server)
            done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE)
            measured = json.loads(done.stdout)
            measured["server_cpu_us_per_cell"] = round((server_cpu(server) - used) / rows * 1e6, 3)
            print(json.dumps(measured), flush=True)
            file.unlink()
    finally:
        server.stop("immediate")
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
