"""A chunk and a sink meet in the order that is the worst for each: one is held, the other one runs into it.

The chunk has always been read before the source's row went, so it carries a cell that is not there any more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import psycopg
import pytest

from cdc.failpoint import Failpoint, doing
from cdc.log.transport import Received
from cdc.lsn import Lsn
from cdc.record.envelope import decode, encode
from cdc.record.record import Changes, Record, Stamp, Truncated
from sink.apply import Applier
from sink.fold.batch import Batch
from sink.mapping.mapping import Mapping
from sink.state import account
from sink.target import open_target
from sink.wide.registry import Registry
from snapshot.chunks import ledger
from snapshot.chunks.estimate import plan_chunks
from snapshot.run import Backfill, BackfillSettings
from tests.pipeline import until

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

REACHED = {Failpoint.SINK_VOIDED, Failpoint.SINK_TRUNCATED, Failpoint.BACKFILL_VOIDED}
TABLE = "tenant.readings"
COLUMNS = ["data_channel_id", "double_v", "long_v", "str_v", "bool_v", "value_format"]
LOAD = """
INSERT INTO tenant.readings (ship_id, data_channel_id, created_time, double_v, value_format)
SELECT 's', 'c', '2024-01-01'::timestamp + n * interval '1 h', n, 'Decimal' FROM generate_series(0, 9) n
"""
DELETE = "DELETE FROM tenant.readings WHERE created_time = '2024-01-01'"
LOCKED = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"


@contextmanager
def held_at(point: Failpoint) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Whoever reaches this point stays there: the first event tells that, the second one lets him go on."""
    there, go = threading.Event(), threading.Event()

    def stay() -> None:
        there.set()
        assert go.wait(60)

    with doing(point, stay):
        try:
            yield there, go
        finally:
            go.set()


class Side(threading.Thread):
    """One of the two, at work."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__()
        self._work, self.error = work, None
        self.start()

    def run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001  raised again below
            self.error = error

    def finish(self) -> None:
        self.join(60)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error


@pytest.fixture
def applying(mapping: Mapping) -> Mapping:
    return replace(mapping, on_truncate="apply")


def apply(database: str, mapping: Mapping, make: Callable[[Stamp], Record]) -> None:
    """What a sink does with one record that was committed just now."""
    with open_target(database, "sink") as session:
        (position,) = session.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
        record = make(Stamp("ships", 1, 0, Lsn.parse(position), 1, 1))
        known = {0: account.load(session, "ships", [0])[0].progress}
        batch = Batch(mapping, decode, known)
        batch.take(Received(0, 0, None, encode(record), 1))
        registry = Registry(mapping)
        registry.refresh(session)
        Applier(session, mapping, registry).apply(batch)


def deleted(stamp: Stamp) -> Record:
    wide = {"ship_id": "s", "created_time": "2024-01-01 00:00:00"}
    return Changes(stamp, TABLE, wide, COLUMNS, [["d", "c", *[None] * 5]])


def truncated(stamp: Stamp) -> Record:
    return Truncated(stamp, [TABLE])


ORDERS = [
    # A cleared cell: the chunk has read its tombstones, and the sink writes one; or the sink has written it already.
    (DELETE, deleted, Failpoint.BACKFILL_STAGED, "chunk", "merged"),
    (DELETE, deleted, Failpoint.SINK_TOMBSTONED, "sink", "merged"),
    # A truncate: the chunk is merged and not committed, so it cannot be void; or it is being made void.
    ("TRUNCATE tenant.readings", truncated, Failpoint.BACKFILL_MARKED, "chunk", "merged"),
    ("TRUNCATE tenant.readings", truncated, Failpoint.SINK_VOIDED, "sink", "void"),
    ("TRUNCATE tenant.readings", truncated, Failpoint.SINK_TRUNCATED, "sink", "void"),
]


@pytest.mark.parametrize(("statement", "record", "point", "first", "state"), ORDERS)
def test_of_a_chunk_and_a_sink_that_meet_the_later_one_waits_and_then_sees_what_the_other_did(
    source: Connection, target: Connection, applying: Mapping, database: str,
    statement: str, record: Callable[[Stamp], Record], point: Failpoint, first: str, state: str,
) -> None:  # fmt: skip
    source.execute(LOAD)
    ledger.write_plan(target, "ships", plan_chunks(source, applying.rule, 10**9, 24)[:1])
    target.execute("UPDATE widebeam.chunks SET lower_bound = NULL, upper_bound = NULL")
    target.execute("INSERT INTO widebeam.progress (connector, partition) SELECT 'ships', generate_series(0, 3)")
    found_void = threading.Event()
    with ExitStack() as stack:
        stack.enter_context(doing(Failpoint.BACKFILL_VOIDED, found_void.set))
        read, merge = stack.enter_context(held_at(Failpoint.BACKFILL_READ))
        reached, let_go = stack.enter_context(held_at(point))
        chunk = Side(lambda: Backfill(BackfillSettings(applying, database, database)).run(threading.Event()))
        assert read.wait(60)
        source.execute(statement.encode())
        if first == "chunk":
            merge.set()
            assert reached.wait(60)
            sink = later = Side(lambda: apply(database, applying, record))
        else:
            sink = Side(lambda: apply(database, applying, record))
            assert reached.wait(60)
            merge.set()
            later = chunk
        until(lambda: target.execute(LOCKED).fetchone() == (True,) or not later.is_alive())
        let_go.set()
        chunk.finish()
        sink.finish()
    narrow = source.execute("SELECT created_time, double_v FROM tenant.readings ORDER BY 1").fetchall()
    assert target.execute("SELECT created_time, c FROM wide.s ORDER BY 1").fetchall() == narrow
    assert target.execute("SELECT state FROM widebeam.chunks").fetchone() == (state,)
    assert found_void.is_set() is (state == "void")
