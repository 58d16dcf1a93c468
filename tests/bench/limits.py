"""What nothing of ours can be faster than, on the same servers and rows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import psycopg
from psycopg import sql

from cdc.lsn import Lsn
from cdc.source.session import connect
from cdc.wire.stream import Stream
from tests.bench import reference
from tests.bench.ours import Ours
from tests.bench.process import LOOK, Line, Meter, running, until

_ROWS: Final = frozenset(b"IUD")
"""pgoutput's messages that are rows."""


class Table(NamedTuple):
    """A table and some of its columns; none means all."""

    schema: str
    name: str
    columns: Sequence[str] = ()

    def copy(self) -> sql.Composed:
        """COPY them out."""
        listed = sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Identifier, self.columns)))
        table = sql.Identifier(self.schema, self.name)
        return sql.SQL("COPY {} {} TO STDOUT").format(table, listed if self.columns else sql.SQL(""))

    def empty(self) -> sql.Composed:
        """A table that takes what is copied out, public.copied."""
        columns = sql.SQL(", ").join(map(sql.Identifier, self.columns)) if self.columns else sql.SQL("*")
        table = sql.Identifier(self.schema, self.name)
        return sql.SQL("CREATE TABLE public.copied AS SELECT {} FROM {} WITH NO DATA").format(columns, table)


NARROW: Final = Table("tenant", "tbl_data_timeseries", reference.TABLE.columns)


def received(ours: Ours, slot: str) -> Line:
    """The WAL from that slot on, received and thrown away; the slot goes. Reads in this process."""
    end = ours.end()
    stream = Stream.start(ours.source, slot, ours.connector.publication, Lsn(0))
    rows, began, cpu = 0, time.monotonic(), time.process_time()
    try:
        while stream.received < end and stream.passed < end:
            rows += sum(frame[0] in _ROWS for frame in stream.read(2_000, LOOK))
    finally:
        stream.close()
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    _drop(ours, slot)
    return {"what": "raw receive loop", "rows_s": round(rows / seconds), "cpu_us_row": round(cpu * 1e6 / rows, 2)}


def recvlogical(ours: Ours, slot: str, rows: int) -> Line:
    """The same by pg_recvlogical, into /dev/null; the slot goes."""
    program = ours.stack.postgres.binaries / "pg_recvlogical"
    if not program.exists():
        return {"left_out": f"there is no {program}"}
    options = {"proto_version": "1", "publication_names": ours.connector.publication, "messages": "true"}
    command = [str(program), "-d", ours.source, "-S", slot, "--start", "--no-loop", "-f", "/dev/null",
               "--endpos", str(ours.end())]  # fmt: skip
    for name, value in options.items():
        command += ["-o", f"{name}={value}"]
    with running("pg_recvlogical", command, ours.stack.log(f"{ours.name}-recvlogical")) as process:
        meter = Meter([process], ours.stack.servers)
        # Its end is behind the last row: a message makes the server go there.
        ours.origin.execute("SELECT pg_logical_emit_message(false, 'bench', '')")
        line = meter.line(rows, until(process.ended, [process], may_end=True))
    _drop(ours, slot)
    return line


def _drop(ours: Ours, slot: str) -> None:
    """The slot's walsender may take a moment to see that its reader is gone."""

    def gone() -> bool:
        with suppress(psycopg.errors.ObjectInUse):
            ours.origin.execute("SELECT pg_drop_replication_slot(%s)", [slot])
            return True
        return False

    until(gone, [])


def copied(dsn: str, tables: Iterable[Table]) -> float:
    """Seconds for COPY out | COPY in of these tables, one after the other, into tables without an index."""
    seconds = 0.0
    with connect(dsn, autocommit=True) as one, connect(dsn, autocommit=True) as other:
        for table in tables:
            other.execute(table.empty())
            began = time.monotonic()
            with (
                one.cursor().copy(table.copy()) as source,
                other.cursor().copy("COPY public.copied FROM STDIN") as target,
            ):
                for block in source:
                    target.write(block)
            seconds += time.monotonic() - began
            other.execute("DROP TABLE public.copied")
    return seconds


def copied_wide(ours: Ours, cells: int) -> Line:
    """COPY out | COPY in of the wide tables as they are, with so many cells in them."""
    found = ours.target.execute("SELECT schema_name, table_name FROM widebeam.tables ORDER BY 1, 2").fetchall()
    seconds = copied(ours.dsn, [Table(*each) for each in found])
    return {"what": "COPY out | COPY in of the wide tables", "rows_s": round(cells / seconds)}


def copied_narrow(dsn: str, rows: int) -> Line:
    """COPY out | COPY in of the columns that a backfill reads."""
    return {"what": "COPY out | COPY in", "rows_s": round(rows / copied(dsn, [NARROW]))}
