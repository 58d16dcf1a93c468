"""Widebeam's stages as a user runs them: the parts of the command as processes, over a connector that is prepared."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from psycopg import sql

from cdc import slot
from cdc.lsn import Lsn
from cdc.session import connect
from cdc.stream import Stream
from sink.latency import percentile
from tests.bench import reference
from tests.bench.pace import steady
from tests.bench.process import LOOK, ROOT, Measured, Usage, figures, running, until, used, widebeam
from tests.bench.stack import Stack
from widebeam.config import Connector
from widebeam.prepare import prepare


class Ours:
    """One connector over the reference table."""

    def __init__(self, stack: Stack, name: str = "ours") -> None:
        self.stack, self.name = stack, name
        self.dsn = stack.database(name)
        self.connector: Connector = stack.connector(name, self.dsn)
        self.rows = 0

    @property
    def file(self) -> str:
        return str(self.connector.file)

    def one(self, query: str, *parameters: object) -> Any:
        with connect(self.dsn, autocommit=True) as session:
            row = session.execute(query.encode(), parameters or None).fetchone()
            return None if row is None else row[0]

    def prepare(self) -> None:
        """Slot, publication, topic; and the wide tables' columns, made by the first moment's readings."""
        prepare(self.connector)
        self.write(reference.TICK_ROWS)
        with self.parts(capture=1, sink=2) as parts:
            until(lambda: self.applied() == self.rows, parts)

    def write(self, rows: int) -> None:
        """So many more narrow rows."""
        reference.insert(self.dsn, self.rows, self.rows + rows)
        self.rows += rows

    @contextmanager
    def parts(self, **counts: int) -> Iterator[list[Measured]]:
        """So many processes of each part."""
        with ExitStack() as stack:
            yield [
                stack.enter_context(running(widebeam(verb, self.file), self.stack.log(f"{self.name}-{verb}-{n}")))
                for verb, count in counts.items()
                for n in range(count)
            ]

    def applied(self) -> int:
        """Narrow rows that the sinks have applied."""
        return int(self.one("SELECT coalesce(sum(rows), 0) FROM widebeam.progress"))

    def _slot(self) -> slot.SlotState:
        with connect(self.dsn, autocommit=True) as session:
            state = slot.inspect(session, self.connector.slot)
        assert state is not None
        return state

    def _end(self) -> Lsn:
        return Lsn.parse(self.one("SELECT pg_current_wal_insert_lsn()::text"))

    def capture(self, rows: int) -> dict[str, float]:
        """WAL that lies there -> Kafka."""
        self.write(rows)
        end = self._end()
        with self.parts(capture=1) as parts:
            began = until(lambda: self._slot().active_pid is not None, parts)
            parts[0].began()
            ended = until(lambda: self._slot().confirmed_flush >= end, parts)
            return figures(rows, ended - began, used(parts))

    def sink(self, sinks: int) -> dict[str, float]:
        """Records that lie in Kafka -> wide tables: all that capture has brought."""
        before = self.applied()
        with self.parts(sink=sinks) as parts:
            began = until(lambda: self.applied() > before, parts)
            first = self.applied()
            for part in parts:
                part.began()
            ended = until(lambda: self.applied() == self.rows, parts)
            return figures(self.rows - first, ended - began, used(parts))

    def chain(self, rows: int, sinks: int) -> dict[str, float]:
        """WAL that lies there -> Kafka -> wide tables, all at once."""
        before = self.applied()
        self.write(rows)
        with self.parts(capture=1, sink=sinks) as parts:
            began = until(lambda: self._slot().active_pid is not None, parts)
            for part in parts:
                part.began()
            ended = until(lambda: self.applied() == before + rows, parts)
            return figures(rows, ended - began, used(parts))

    def latency(self, per_second: int, seconds: float) -> dict[str, Any]:
        """Commit -> visible in the wide table, while an application writes so many rows a second."""
        with self.parts(capture=1, sink=1) as parts:
            until(lambda: self._slot().active_pid is not None, parts)
            self.rows += steady(self.dsn, self.rows, per_second, seconds / 4)
            until(lambda: self.applied() == self.rows, parts)
            before, begun = self._latencies(), time.monotonic()
            for part in parts:
                part.began()
            self.rows += steady(self.dsn, self.rows, per_second, seconds)
            cores = used(parts).cpu / (time.monotonic() - begun)
            until(lambda: self.applied() == self.rows, parts)
            time.sleep(3)  # what the histogram's last second holds is written after it
            after = self._latencies()
            peak = used(parts).peak_mb
            counts = [now - (before[n] if n < len(before) else 0) for n, now in enumerate(after)]
        shares = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
        return {
            "rows_s": per_second,
            **{name: round(percentile(counts, share) or 0, 1) for name, share in shares.items()},
            "cores": round(cores, 3),
            "peak_mb": peak,
        }

    def _latencies(self) -> list[int]:
        with connect(self.dsn, autocommit=True) as session:
            found = [row[0] or [] for row in session.execute("SELECT latency FROM widebeam.progress").fetchall()]
        width = max(map(len, found))
        return [sum(each[n] if n < len(each) else 0 for each in found) for n in range(width)]


class Backfilled:
    """A connector over a narrow table with a history, for the backfill alone."""

    def __init__(self, stack: Stack, rows: int, name: str = "history") -> None:
        self.ours = Ours(stack, name)
        self.ours.write(rows)
        with connect(self.ours.dsn, autocommit=True) as session:
            session.execute("VACUUM ANALYZE tenant.tbl_data_timeseries")
        subprocess.run(widebeam("plan", "--apply", self.ours.file), check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        prepare(self.ours.connector)

    def fill(self, workers: int) -> dict[str, float]:
        """Narrow table -> wide tables, from the moment when the workers have connected."""
        ours = self.ours
        with ours.parts(backfill=workers) as parts:
            connected = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'widebeam-backfill'"
            began = until(lambda: ours.one(connected) > 0, parts)
            for part in parts:
                part.began()
            seen: list[Usage] = []

            def filled() -> bool:
                seen.append(used(parts))  # before the look: the workers end by themselves
                merged = ours.one("SELECT coalesce(sum(rows), 0) FROM widebeam.chunks WHERE state = 'merged'")
                return bool(merged >= ours.rows)

            return figures(ours.rows, until(filled, []) - began, seen[-1])


def raw_copy(dsn: str) -> float:
    """Rows a second of COPY out | COPY in of the columns that a worker reads, into a table without an index."""
    columns = sql.SQL(", ").join(map(sql.Identifier, reference.TABLE.columns))
    with connect(dsn, autocommit=True) as one, connect(dsn, autocommit=True) as other:
        other.execute("CREATE TABLE tenant.copied AS SELECT * FROM tenant.tbl_data_timeseries LIMIT 0")
        out = sql.SQL("COPY tenant.tbl_data_timeseries ({}) TO STDOUT").format(columns)
        into = sql.SQL("COPY tenant.copied ({}) FROM STDIN").format(columns)
        began = time.monotonic()
        with one.cursor().copy(out) as source, other.cursor().copy(into) as target:
            for block in source:
                target.write(block)
        seconds = time.monotonic() - began
        row = other.execute("SELECT count(*) FROM tenant.copied").fetchone()
        other.execute("DROP TABLE tenant.copied")
        assert row is not None
        return int(row[0]) / seconds


def receive(ours: Ours, copy_of: str) -> dict[str, float]:
    """The WAL that capture reads, received and thrown away: what no reader of ours can be faster than.

    Reads a copy of the slot, in this process.
    """
    name = f"{copy_of}_raw"
    with connect(ours.dsn, autocommit=True) as session:
        session.execute("SELECT pg_copy_logical_replication_slot(%s, %s)", [copy_of, name])
    end, start = ours._end(), Lsn(0)
    stream = Stream.start(ours.dsn, name, ours.connector.publication, start)
    frames, began, cpu = 0, time.monotonic(), time.process_time()
    try:
        while stream.received < end and stream.passed < end:
            frames += sum(frame.startswith(b"I") for frame in stream.read(2_000, LOOK))
    finally:
        stream.close()
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    with connect(ours.dsn, autocommit=True) as session:
        session.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", [name]
        )
    return figures(frames, seconds, Usage(cpu, 0))
