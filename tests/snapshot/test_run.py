"""A worker on real servers: rule M, failures, and chunks that are heavier than planned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from time import monotonic
from typing import Any, TypeAlias

import psycopg
import pytest
from psycopg import sql

from cdc.failpoint import Failpoint, Injected, armed, doing
from cdc.halt import Cause, Halt
from cdc.lsn import Lsn
from cdc.source.session import connect
from sink.fold.column_route import Routes
from sink.mapping.mapping import Mapping
from sink.wide.registry import Registry
from snapshot.chunks import ledger
from snapshot.chunks.estimate import plan_chunks
from snapshot.chunks.ledger import Counts
from snapshot.fill.fold import ChunkFold
from snapshot.fill.merge import ChunkMerger
from snapshot.fill.reader import ChunkReader, Stopped
from snapshot.run import Backfill, BackfillSettings
from snapshot.sessions import connect as worker_session
from tests.waiting import until

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Cells: TypeAlias = "dict[tuple[Any, ...], Any]"

LOAD = r"""
INSERT INTO tenant.readings (ship_id, data_channel_id, created_time, double_v, long_v, str_v, bool_v, value_format)
SELECT ship, ch.name, at, random() * 1e6, 9007199254740993 + extract(epoch FROM at)::int8, E'tab\t\\N "é" \n' || ship,
       random() < 0.5, ch.format
FROM unnest('{a,b b}'::text[]) AS ship, generate_series('2024-01-01'::timestamp, '2024-01-05 23:00', '1 hour') AS at,
     (VALUES ('temp/é', 'Decimal'), ('count', 'Integer'), (E'back\\slash', 'String'), ('on', 'Boolean'))
         AS ch (name, format);
INSERT INTO tenant.readings (ship_id, data_channel_id, created_time, double_v, value_format) VALUES
    ('a', 'temp/é', 'infinity', 'NaN', 'Decimal'), ('a', 'temp/é', '0044-03-15 BC', '-Infinity', 'Decimal'),
    ('a', 'temp/é', '2024-01-01 00:30', NULL, 'Decimal'), ('a', 'other', '2024-01-01', '1e-300', 'Decimal');
ANALYZE tenant.readings;
"""
ROWS = 2 * 120 * 4 + 4
VALUE = """CASE value_format WHEN 'Decimal' THEN double_v::text WHEN 'Integer' THEN long_v::text
           WHEN 'String' THEN str_v ELSE bool_v::text END"""


@pytest.fixture
def loaded(source: Connection, target: Connection, mapping: Mapping) -> Connection:
    """The target's session, after loading and planning."""
    source.execute(LOAD)
    ledger.write_plan(target, "ships", plan_chunks(source, mapping.rule, 150, 24))
    return target


@pytest.fixture
def settings(database: str, mapping: Mapping) -> BackfillSettings:
    return BackfillSettings(mapping, database, database, attempts=2, backoff=0.01)


def narrow(session: Connection) -> Cells:
    """What the narrow table says, as text."""
    query = f"SELECT ship_id, created_time::text, data_channel_id, {VALUE} FROM tenant.readings"
    return {row[:3]: row[3] for row in session.execute(query) if row[3] is not None}


def wide(session: Connection) -> Cells:
    """What readers of the views see, as text."""
    cells: Cells = {}
    for entity, view in session.execute("SELECT DISTINCT entity, view_name FROM widebeam.tables").fetchall():
        table = sql.Identifier("wide", view)
        names = [each.name for each in session.execute(sql.SQL("SELECT * FROM {}").format(table)).description or []]
        texts = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in names)
        for row in session.execute(sql.SQL("SELECT {} FROM {}").format(texts, table)):
            values = dict(zip(names, row, strict=True))
            ship = json.loads(entity)[0] if entity != "[]" else values.pop("ship_id")
            time = values.pop("created_time")
            del values["_lsn"]
            cells |= {(ship, time, name): value for name, value in values.items() if value is not None}
    return cells


@pytest.mark.parametrize("layout", ["per_entity", "single"])
def test_the_whole_history_is_filled_in(loaded: Connection, settings: BackfillSettings, layout: str) -> None:
    mapping = replace(settings.mapping, layout=layout, name="ships" if layout == "single" else "{entity}")
    counts = Backfill(replace(settings, mapping=mapping)).run(Event())
    assert (counts.open, counts.given_up, counts.rows, counts.cells) == (0, 0, ROWS, ROWS - 1)
    assert counts.merged > 5
    assert wide(loaded) == narrow(loaded)


def test_a_second_run_does_nothing(loaded: Connection, settings: BackfillSettings) -> None:
    versions = 'SELECT created_time::text, xmin, ctid FROM wide."a__1" ORDER BY 1'
    first = Backfill(settings).run(Event())
    before = loaded.execute(versions).fetchall()
    assert Backfill(settings).run(Event()) == first
    assert loaded.execute(versions).fetchall() == before


def test_several_workers_share_the_chunks(loaded: Connection, settings: BackfillSettings) -> None:
    with ThreadPoolExecutor(3) as threads:
        runs = [threads.submit(Backfill(settings).run, Event()) for _ in range(3)]
        results = [each.result(60) for each in runs]
    assert {each.rows for each in results} == {ROWS}
    assert wide(loaded) == narrow(loaded)


def test_defaults_of_database_and_role_do_not_change_a_value(
    loaded: Connection, settings: BackfillSettings, database: str
) -> None:
    name = loaded.info.dbname
    for setting in (
        "DateStyle = 'German'",
        "extra_float_digits = -10",
        "TimeZone = 'Asia/Tokyo'",
        "statement_timeout = 5",
    ):
        loaded.execute(sql.SQL("ALTER DATABASE {} SET ").format(sql.Identifier(name)) + sql.SQL(setting))
    with worker_session(database) as session:
        assert session.execute("SHOW statement_timeout").fetchone() == ("0",)
    Backfill(settings).run(Event())
    assert wide(loaded) == narrow(loaded)


def test_the_stream_wins_and_its_position_stays(loaded: Connection, settings: BackfillSettings) -> None:
    Backfill(settings).run(Event())
    cutoff = loaded.execute("SELECT cutoff::text FROM widebeam.connectors").fetchone()
    loaded.execute("""DELETE FROM wide."a__1"; UPDATE widebeam.chunks SET state = 'planned'""")
    loaded.execute("""INSERT INTO wide."a__1" (created_time, _lsn, count) VALUES ('2024-01-02', 'FF/0', -1)""")
    Backfill(settings).run(Event())
    assert wide(loaded) == narrow(loaded) | {("a", "2024-01-02 00:00:00", "count"): "-1"}
    positions = loaded.execute("""SELECT created_time = '2024-01-02', _lsn::text FROM wide."a__1" GROUP BY 1, 2""")
    assert set(positions) == {(True, "FF/0"), (False, cutoff and cutoff[0])}


@pytest.mark.parametrize("layout", ["per_entity", "single"])
def test_a_chunk_leaves_out_what_has_a_tombstone(loaded: Connection, settings: BackfillSettings, layout: str) -> None:
    mapping = replace(settings.mapping, layout=layout, name="ships" if layout == "single" else "{entity}")
    chunk = loaded.execute("SELECT chunk FROM widebeam.chunks WHERE upper_bound > '2024-01-02' LIMIT 1").fetchone()
    assert chunk is not None
    loaded.execute(
        "INSERT INTO widebeam.tombstones VALUES ('ships', %s, '[\"b b\"]', '[\"2024-01-02 00:00:00\"]', 'count'),"
        " ('ships', %s, '[\"b b\"]', '[\"2024-01-02 00:00:00\"]', 'no such column')",
        [chunk[0], chunk[0]],
    )
    Backfill(replace(settings, mapping=mapping)).run(Event())
    expected = narrow(loaded)
    del expected["b b", "2024-01-02 00:00:00", "count"]
    assert wide(loaded) == expected
    assert loaded.execute("SELECT count(*) FROM widebeam.tombstones").fetchone() == (0,)


def test_a_tombstone_that_is_being_written_is_waited_for(
    loaded: Connection, settings: BackfillSettings, database: str
) -> None:
    loaded.execute("DELETE FROM widebeam.chunks WHERE chunk > 1; UPDATE widebeam.chunks SET upper_bound = NULL")
    with connect(database) as sink, ThreadPoolExecutor(1) as threads:
        sink.execute("SELECT FROM widebeam.chunks WHERE chunk = 1 FOR KEY SHARE")
        running = threads.submit(Backfill(settings).run, Event())
        until(lambda: loaded.execute("SELECT FROM pg_stat_activity WHERE wait_event = 'transactionid'").rowcount)
        sink.execute(
            "INSERT INTO widebeam.tombstones VALUES ('ships', 1, '[\"a\"]', '[\"2024-01-01 00:00:00\"]', 'on')"
        )
        sink.commit()
        running.result(30)
    assert ("a", "2024-01-01 00:00:00", "count") in wide(loaded)
    assert ("a", "2024-01-01 00:00:00", "on") not in wide(loaded)


def test_a_void_chunk_is_not_merged(loaded: Connection, settings: BackfillSettings) -> None:
    loaded.execute("UPDATE widebeam.chunks SET state = 'void'")
    counts = Backfill(settings).run(Event())
    assert (counts.merged, counts.rows, wide(loaded)) == (0, 0, {})


def test_a_chunk_that_became_void_after_it_was_read_is_not_merged(
    loaded: Connection, source: Connection, mapping: Mapping, database: str
) -> None:
    with connect(database, autocommit=True) as other:
        reader, merger = parts(source, loaded, mapping, other)
        chunk = ledger.claim(loaded, "ships")
        assert chunk is not None
        with reader.read(chunk, Event()) as reading:
            loaded.execute("UPDATE widebeam.chunks SET state = 'void'")
            assert not merger.merge(chunk, reading, monotonic())
    assert wide(loaded) == {}


def parts(
    source: Connection, target: Connection, mapping: Mapping, other: Connection
) -> tuple[ChunkReader, ChunkMerger]:
    registry = Registry(mapping)
    routes = Routes(mapping, registry.entities, first=1)
    reader = ChunkReader(source, mapping, routes, Lsn(8), lambda needs: registry.ensure(other, needs))
    return reader, ChunkMerger(target, registry)


def test_a_chunk_that_is_heavier_than_memory_allows_is_merged_in_pieces(
    source: Connection, target: Connection, mapping: Mapping, database: str
) -> None:
    source.execute(LOAD)
    source.execute(
        "INSERT INTO tenant.readings (ship_id, data_channel_id, created_time, double_v, value_format)"
        " SELECT 'c', '', '2024-01-01'::timestamp + n * interval '1 s', 1, 'Decimal' FROM generate_series(1, 5000) AS n"
    )
    ledger.write_plan(target, "ships", plan_chunks(source, mapping.rule, 10**9, 24))
    target.execute("DELETE FROM widebeam.chunks WHERE chunk > 1; UPDATE widebeam.chunks SET upper_bound = NULL")
    with connect(database, autocommit=True) as other:
        reader, merger = parts(source, target, mapping, other)
        chunk = ledger.claim(target, "ships")
        assert chunk is not None
        with reader.read(chunk, Event(), most_bytes=100_000) as reading:
            assert reading.entities.keys() == {'["a"]', '["b b"]', '["c"]'}
            assert merger.merge(chunk, reading, monotonic())
    assert wide(target) == {cell: value for cell, value in narrow(source).items() if cell[0] != "c"}
    assert ledger.counts(target, "ships").rows == ROWS + 5000
    origins = target.execute("SELECT count(DISTINCT origin), min(reason), max(reason) FROM widebeam.quarantine")
    assert origins.fetchone() == (5000, "empty_key", "empty_key")


def test_a_chunk_that_is_read_twice_is_read_as_of_one_moment(
    source: Connection, target: Connection, mapping: Mapping, database: str
) -> None:
    source.execute(
        "INSERT INTO tenant.readings (ship_id, data_channel_id, created_time, double_v, value_format)"
        " SELECT 'c', 'speed', '2024-01-01'::timestamp + n * interval '1 min', n, 'Decimal'"
        " FROM generate_series(1, 5000) AS n"
    )
    ledger.write_plan(target, "ships", plan_chunks(source, mapping.rule, 10**9, 24))
    target.execute("DELETE FROM widebeam.chunks WHERE chunk > 1; UPDATE widebeam.chunks SET upper_bound = NULL")
    before, weights = narrow(source), []

    def noted(pieces: Iterator[ChunkFold]) -> Iterator[ChunkFold]:
        for piece in pieces:
            weights.append(piece.weight)
            yield piece

    with connect(database, autocommit=True) as other:
        reader, merger = parts(source, target, mapping, other)
        chunk = ledger.claim(target, "ships")
        assert chunk is not None
        with reader.read(chunk, Event(), most_bytes=100_000) as reading:
            other.execute("DELETE FROM tenant.readings WHERE created_time > '2024-01-02'")
            assert merger.merge(chunk, reading._replace(pieces=noted(reading.pieces)), monotonic())
    assert wide(target) == before
    assert len(weights) > 1, "it is never in memory as a whole"


def test_a_worker_that_is_told_to_stop_leaves_the_rest_for_the_next_run(
    loaded: Connection, source: Connection, settings: BackfillSettings, database: str
) -> None:
    stop = Event()
    stop.set()
    counts = Backfill(settings).run(stop)
    assert (counts.merged, counts.failed) == (0, 0)
    with connect(database, autocommit=True) as other:
        source.execute(
            "INSERT INTO tenant.readings (ship_id, data_channel_id, created_time)"
            " SELECT 'z', 'x', '1000-01-01'::timestamp + n * interval '1 s' FROM generate_series(1, 2000) AS n"
        )
        reader, _ = parts(source, loaded, settings.mapping, other)
        chunk = ledger.claim(loaded, "ships")
        assert chunk is not None
        with pytest.raises(Stopped), reader.read(chunk, stop):
            pass
    ledger.release(loaded, "ships", chunk.number)
    Backfill(settings).run(Event())
    assert wide(loaded) == narrow(loaded)


def test_a_chunk_that_fails_is_given_up_at_last_and_done_when_the_cause_is_mended(
    loaded: Connection, settings: BackfillSettings
) -> None:
    loaded.execute(
        "CREATE TABLE public.off (); CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$"
        "BEGIN IF new.state = 'merged' AND new.chunk = 3 THEN RAISE 'no room'; END IF; RETURN new; END $$"
    )
    loaded.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE ON widebeam.chunks FOR EACH ROW EXECUTE FUNCTION public.refuse()"
    )
    with pytest.raises(Halt) as halt:
        Backfill(settings).run(Event())
    assert halt.value.cause is Cause.CHUNKS_FAILED
    assert "no room" in str(halt.value)
    counts = ledger.counts(loaded, "ships")
    assert (counts.given_up, counts.open) == (1, 0)
    assert [each.attempts for each in ledger.given_up(loaded, "ships")] == [2]
    loaded.execute("DROP TRIGGER refuse ON widebeam.chunks")
    assert Backfill(settings).run(Event()).given_up == 0
    assert wide(loaded) == narrow(loaded)


def test_a_worker_whose_sessions_are_ended_connects_again(loaded: Connection, settings: BackfillSettings) -> None:
    killing, stop = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'widebeam-backfill'",
        Event(),
    )
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(Backfill(replace(settings, attempts=100)).run, stop)
        until(lambda: loaded.execute(killing).rowcount)
        until(lambda: loaded.execute(killing).rowcount or running.done())
        counts = running.result(60)
    assert isinstance(counts, Counts)
    assert wide(loaded) == narrow(loaded)


def test_a_worker_whose_sessions_are_ended_between_two_chunks_connects_again(
    loaded: Connection, settings: BackfillSettings
) -> None:
    ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'widebeam-backfill'"
    ended: list[int] = []

    def end_once() -> None:
        if not ended:
            ended.append(loaded.execute(ours + " AND datname = current_database()").rowcount)

    with doing(Failpoint.BACKFILL_COMMITTED, end_once):
        counts = Backfill(settings).run(Event())
    assert (ended, counts.open, counts.given_up) == ([2], 0, 0)
    assert wide(loaded) == narrow(loaded)


def test_a_reading_in_quarantine_is_there_once(
    loaded: Connection, source: Connection, settings: BackfillSettings
) -> None:
    source.execute(
        "INSERT INTO tenant.readings (ship_id, data_channel_id, created_time, str_v, value_format)"
        " VALUES ('a', '', '2024-01-03', 'lost?', 'String'), ('a', 'count', '2024-01-03 00:01', 'x', 'String')"
    )
    Backfill(settings).run(Event())
    loaded.execute("UPDATE widebeam.chunks SET state = 'planned'")
    Backfill(settings).run(Event())
    found = loaded.execute(
        "SELECT reason, origin ~ '^chunk:[0-9]+:[0-9]+', raw ~ 'lost' FROM widebeam.quarantine ORDER BY 1"
    )
    assert found.fetchall() == [("empty_key", True, True), ("type_conflict", True, False)]


def test_a_chunk_that_fails_when_it_is_marked_already_is_merged_by_the_next_run(
    loaded: Connection, source: Connection, settings: BackfillSettings
) -> None:
    with armed("backfill.marked=error@1"), pytest.raises(Injected):
        Backfill(settings).run(Event())
    Backfill(settings).run(Event())
    assert wide(loaded) == narrow(source)


def test_a_chunk_whose_commit_is_not_answered_is_merged_once(
    loaded: Connection, source: Connection, settings: BackfillSettings
) -> None:
    with armed("backfill.marked=cut@1") as traps:
        counts = Backfill(settings).run(Event())
        assert traps[Failpoint.BACKFILL_MARKED].hits == counts.merged
    assert (counts.open, counts.given_up, counts.rows) == (0, 0, ROWS)
    assert loaded.execute("SELECT sum(attempts) FROM widebeam.chunks").fetchone() == (0,)
    assert wide(loaded) == narrow(source)
