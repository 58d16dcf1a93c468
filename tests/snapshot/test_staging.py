"""A chunk is staged before it locks anything, and then merged table by table: nobody waits for it for long."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from typing import Any, TypeAlias

import psycopg
import pytest

from cdc.failpoint import Failpoint, doing
from cdc.record.record import Changes, Record, Stamp
from sink.mapping.group import Group
from sink.mapping.mapping import Mapping
from sink.mapping.wide import Need
from sink.target import open_target
from sink.wide.registry import Registry
from snapshot.chunks import ledger
from snapshot.chunks.estimate import plan_chunks
from snapshot.fill import merge
from snapshot.run import Backfill, BackfillSettings
from tests.pipeline import until
from tests.snapshot.test_orders import COLUMNS, LOAD, LOCKED, TABLE, Side, apply, held_at

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


def one_chunk(source: Connection, target: Connection, mapping: Mapping) -> None:
    """Ten rows, and one chunk for them all."""
    source.execute(LOAD)
    ledger.write_plan(target, "ships", plan_chunks(source, mapping.rule, 10**9, 24)[:1])
    target.execute("UPDATE widebeam.chunks SET lower_bound = NULL, upper_bound = NULL")
    target.execute("INSERT INTO widebeam.progress (connector, partition) SELECT 'ships', generate_series(0, 3)")


def delete(source: Connection, database: str, mapping: Mapping, hour: int) -> None:
    """A row goes, and a sink hears of it."""
    at = f"2024-01-01 {hour:02}:00:00"

    def deleted(stamp: Stamp) -> Record:
        wide = {"ship_id": "s", "created_time": at}
        return Changes(stamp, TABLE, wide, COLUMNS, [["d", "c", *[None] * 5]])

    source.execute("DELETE FROM tenant.readings WHERE created_time = %s", [at])
    target = "UPDATE widebeam.progress SET next_offset = 0, generation = 0, next_sequence = 0"
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(target)  # every record comes at offset 0 here
    apply(database, mapping, deleted)


def equal(source: Connection, target: Connection) -> bool:
    narrow = source.execute("SELECT created_time, double_v FROM tenant.readings ORDER BY 1").fetchall()
    return target.execute("SELECT created_time, c FROM wide.s ORDER BY 1").fetchall() == narrow


def test_no_sink_waits_for_a_chunk_that_stands_still_while_it_is_staged(
    source: Connection, target: Connection, mapping: Mapping, database: str
) -> None:
    one_chunk(source, target, mapping)
    with held_at(Failpoint.BACKFILL_STAGED) as (staged, go):
        chunk = Side(lambda: Backfill(BackfillSettings(mapping, database, database)).run(threading.Event()))
        assert staged.wait(60)
        Side(lambda: delete(source, database, mapping, 0)).finish()
        go.set()
        chunk.finish()
    assert equal(source, target)


def test_a_chunk_that_stands_still_while_it_holds_locks_lets_go_after_a_minute(
    source: Connection, target: Connection, mapping: Mapping, database: str
) -> None:
    """What the session is set to is asked where the ledger is told, when all of the chunk's locks are held."""
    one_chunk(source, target, mapping)
    target.execute("CREATE TABLE public.said (patience text)")
    target.execute("""CREATE FUNCTION public.say() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO public.said VALUES (current_setting('idle_in_transaction_session_timeout')); RETURN NULL; END $$""")
    target.execute("""CREATE TRIGGER say AFTER UPDATE ON widebeam.chunks FOR EACH ROW
        WHEN (new.state = 'merged') EXECUTE FUNCTION public.say()""")
    Backfill(BackfillSettings(mapping, database, database)).run(threading.Event())
    assert target.execute("SELECT patience FROM public.said").fetchall() == [("1min",)]


def test_a_chunk_that_is_cleared_in_again_and_again_is_staged_under_its_lock_at_last(
    source: Connection, target: Connection, mapping: Mapping, database: str
) -> None:
    one_chunk(source, target, mapping)
    hours = iter(range(merge._STAGINGS))

    def clear() -> None:
        if (hour := next(hours, None)) is not None:
            delete(source, database, mapping, hour)

    with doing(Failpoint.BACKFILL_STAGED, clear):
        Backfill(BackfillSettings(mapping, database, database)).run(threading.Event())
    assert next(hours, None) is None
    assert target.execute("SELECT state, rows FROM widebeam.chunks").fetchall() == [("merged", 10)]
    assert equal(source, target)


def test_a_large_chunk_does_not_come_back_to_a_table_behind_those_of_another_one(
    source: Connection, target: Connection, mapping: Mapping, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are spread two at a time here. A sink that goes by the order of locks never meets it crosswise."""
    monkeypatch.setattr(merge, "_ROWS_AT_ONCE", 2)
    mapping = replace(mapping, groups=(Group("more", frozenset(["d"])),))
    one_chunk(source, target, mapping)
    source.execute("INSERT INTO tenant.readings SELECT id + 100, ship_id, 'd', created_time, bool_v, str_v, long_v,"
                   " double_v, value_format FROM tenant.readings")  # fmt: skip
    registry = Registry(mapping)
    registry.ensure(target, [Need(("s",), key, "double_v", "double precision") for key in ("c", "d")])
    first, second = sorted(part.table for part in registry.parts)
    for table in (first, second):
        target.execute(f"INSERT INTO wide.{table} (created_time, _lsn) SELECT created_time, '0/8'"
                       " FROM tenant.readings WHERE data_channel_id = 'c'".encode())  # fmt: skip
    with closing(open_target(database, "sink")) as sink, sink.transaction():
        sink.execute("SET LOCAL lock_timeout = '20s'")
        sink.execute(f"UPDATE wide.{first} SET c = 1 WHERE created_time = '2024-01-01 09:00:00'".encode())
        chunk = Side(lambda: Backfill(BackfillSettings(mapping, database, database)).run(threading.Event()))
        until(lambda: target.execute(LOCKED).fetchone() == (True,))
        sink.execute(f"UPDATE wide.{second} SET d = 1 WHERE created_time = '2024-01-01 00:00:00'".encode())
    chunk.finish()
    assert target.execute("SELECT sum(c), sum(d), count(*) FROM wide.s").fetchone() == (37.0, 46.0, 10)
    assert target.execute("SELECT attempts, state FROM widebeam.chunks").fetchall() == [(0, "merged")]
