from __future__ import annotations

import threading
from random import Random

import psycopg
import pytest

from widebeam.demo.fleet import SHIPS, channels, late_comers
from widebeam.demo.history import History, load, tick_lines
from widebeam.demo.writer import APPEAR_AFTER_TICKS, Writer

ROWS = 20_000


@pytest.fixture
def history(database: str) -> History:
    return load(database, ROWS)


def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def test_every_channel_has_a_name_of_its_own() -> None:
    names = [channel.name for channel in [*channels(), *late_comers()]]
    assert len(set(names)) == len(names) > 250
    assert {channel.kind for channel in channels()} == {"Decimal", "Integer", "String", "Boolean"}


def test_the_same_seed_gives_the_same_readings() -> None:
    assert tick_lines(7, SHIPS[0], channels(), Random(5)) == tick_lines(7, SHIPS[0], channels(), Random(5))


def test_the_history_has_at_least_the_readings_asked_for_and_all_that_makes_one_hard(
    database: str, history: History
) -> None:
    [(count, ships, kinds, empty)] = rows(
        database,
        "SELECT count(*), count(DISTINCT ship_id), count(DISTINCT value_format), count(*) FILTER"
        " (WHERE num_nonnulls(bool_v, str_v, long_v, double_v) = 0) FROM tenant.tbl_data_timeseries",
    )
    assert count == history.rows >= ROWS
    assert (ships, kinds) == (8, 4)
    assert empty > 0  # type: ignore[operator]
    assert history.late
    [(backwards,)] = rows(
        database,
        "SELECT count(*) FROM (SELECT created_time < lag(created_time) OVER (ORDER BY id) AS b"
        " FROM tenant.tbl_data_timeseries) x WHERE b",
    )
    assert backwards > 0  # type: ignore[operator]


def test_the_live_writer_does_all_that_an_application_may_do(database: str, history: History) -> None:
    writer = Writer(database, history, rate=1_000_000)
    stop = threading.Event()
    with psycopg.connect(database, autocommit=True) as watching:
        thread = threading.Thread(target=writer.run, args=[stop])
        thread.start()
        new = late_comers()[0].name
        query = "SELECT count(DISTINCT ship_id) FROM tenant.tbl_data_timeseries WHERE data_channel_id = %s"
        while watching.execute(query, [new]).fetchone() != (len(SHIPS),):
            assert thread.is_alive()
        stop.set()
        thread.join()
    assert writer.tally.inserted > APPEAR_AFTER_TICKS * len(SHIPS) * 200
    assert writer.tally.late > 0
    [(inserted, updated, deleted)] = rows(
        database,
        "SELECT n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables, pg_stat_force_next_flush()"
        " WHERE relname = 'tbl_data_timeseries'",
    )
    assert min(inserted, updated, deleted) > 0  # type: ignore[type-var]
    moved = "SELECT count(*) FROM tenant.tbl_data_timeseries WHERE extract(second FROM created_time)::int % 15 = "
    assert rows(database, moved + "7")[0] > (0,)
    assert rows(database, moved + "9")[0] > (0,)


class Clock:
    """Time that only passes while somebody waits, and the end after two seconds of it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def is_set(self) -> bool:
        return self.now >= 2


def test_the_writer_keeps_its_rate(database: str, history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, writer = Clock(), Writer(database, history, rate=1_000)
    monkeypatch.setattr("widebeam.demo.writer.time", clock)
    writer.run(clock)  # type: ignore[arg-type]
    assert writer.tally.rows == pytest.approx(1_000 * clock.now)


def test_a_backlog_has_the_rows_asked_for_in_large_transactions(database: str, history: History) -> None:
    writer = Writer(database, history, rate=1)
    assert writer.backlog(10_000) >= 10_000
    [(largest,)] = rows(
        database, "SELECT max(n) FROM (SELECT count(*) n FROM tenant.tbl_data_timeseries GROUP BY xmin::text) x"
        f" WHERE n < {ROWS // 2}"
    )  # fmt: skip
    assert largest > 1_000  # type: ignore[operator]
