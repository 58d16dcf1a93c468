"""A sink that is stopped in the middle of a COPY, where no time limit of the server sees it, holds nobody up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import psycopg

from cdc.log.transport import Received
from cdc.lsn import Lsn
from cdc.record.envelope import decode, encode
from cdc.record.record import Changes, Stamp
from sink.apply import Applier
from sink.fold.batch import Batch
from sink.mapping.mapping import Mapping
from sink.mapping.wide import Need
from sink.state import account
from sink.target import open_target
from sink.wide.registry import Registry
from tests.pipeline import until
from tests.sink.stopping import FENCED
from tests.waiting import PATIENCE

TABLE = "tenant.tbl_data_timeseries"
COLUMNS = ["data_channel_id", "double_v", "long_v", "str_v", "bool_v", "value_format"]
SHIP = ("ship-1",)
IN_COPY = """
SELECT 1 FROM pg_stat_activity WHERE application_name = 'stopping' AND state = 'active'
    AND query LIKE 'COPY%' AND wait_event = 'ClientRead'
"""


def record(value: str) -> bytes:
    wide = {"ship_id": "ship-1", "created_time": "2024-01-01 00:00:00"}
    row = ["i", "a", value, None, None, None, "Decimal"]
    return encode(Changes(Stamp("ships", 1, 0, Lsn(8), 1, 1), TABLE, wide, COLUMNS, [row]))


@contextmanager
def stopped_in_copy(dsn: str, target: psycopg.Connection[Any]) -> Iterator[psutil.Popen]:
    """A sink in a process of its own, which stands still in the middle of a COPY."""
    with psutil.Popen([sys.executable, "-m", "tests.sink.stopping", dsn, record("1").decode()]) as process:
        try:
            until(lambda: process.status() == psutil.STATUS_STOPPED and target.execute(IN_COPY).fetchone())
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def apply(session: psycopg.Connection[Any], mapping: Mapping, value: str) -> None:
    registry = Registry(mapping)
    registry.refresh(session)
    batch = Batch(mapping, decode, {0: account.load(session, "ships", [0])[0].progress})
    batch.take(Received(0, 0, None, value and record(value), 1))
    Applier(session, mapping, registry).apply(batch)


def test_the_next_owner_goes_on_while_a_sink_is_stopped_in_mid_copy_which_is_fenced_when_it_comes_back(
    target: psycopg.Connection[Any], database: str, mapping: Mapping
) -> None:
    registry = Registry(mapping)
    registry.ensure(target, [Need(SHIP, "a", "double_v", "double precision")])
    with stopped_in_copy(database, target) as stopped, open_target(database, "next owner") as session:
        session.execute("SET lock_timeout = '20s'")
        apply(session, mapping, "2")
        registry.ensure(session, [Need(SHIP, "b", "str_v", "text")])  # a new column waits for nobody either
        assert target.execute(IN_COPY).fetchone() == (1,)
        stopped.resume()
        assert stopped.wait(PATIENCE) == FENCED
    assert target.execute('SELECT a, b FROM wide."ship-1"').fetchall() == [(2.0, None)]


def test_the_catalog_does_not_grow_with_batches(
    target: psycopg.Connection[Any], database: str, mapping: Mapping
) -> None:
    """A staging table belongs to the session, and is kept."""
    catalog = "SELECT sum(n_tup_ins) FROM pg_stat_sys_tables WHERE relname IN ('pg_class', 'pg_attribute', 'pg_type')"

    def written() -> int:
        with psycopg.connect(database, autocommit=True) as other:
            return int(other.execute(catalog).fetchone()[0])  # type: ignore[index]

    with open_target(database, "sink") as session:
        registry = Registry(mapping)
        applier = Applier(session, mapping, registry)
        progress = account.load(session, "ships", [0])[0].progress
        grown = []
        for number in range(320):
            batch = Batch(mapping, decode, {0: progress})
            wide = {"ship_id": "ship-1", "created_time": f"2024-01-01 00:00:0{number % 7}"}
            rows = [["i", "a", str(number), None, None, None, "Decimal"], ["d", "b", *[None] * 5]]
            rows += [["i", "b", None, None, "x", None, "String"]] if number % 2 else []
            changes = Changes(Stamp("ships", 1, number, Lsn(8 * number + 8), 1, 1), TABLE, wide, COLUMNS, rows)
            batch.take(Received(0, number, None, encode(changes), 1))
            applier.apply(batch)
            progress = batch.admissions[0].now
            if number in (20, 319):
                session.execute("SELECT pg_stat_force_next_flush()")
                grown.append(written())
    assert grown[1] == grown[0]
