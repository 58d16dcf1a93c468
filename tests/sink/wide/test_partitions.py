"""Wide tables that are partitioned by time, on a real server: the sink's side."""

from __future__ import annotations

import re
import threading
from dataclasses import replace

import pytest
from psycopg import sql

from cdc.log.transport import Received
from cdc.lsn import Lsn
from cdc.record.envelope import decode, encode
from cdc.record.record import Changes, Stamp
from cdc.source.session import connect
from sink.apply import Applier
from sink.fold.batch import Batch
from sink.mapping.group import Group
from sink.mapping.rule import Rule
from sink.state import account
from sink.target import open_target
from sink.wide import partitions
from sink.wide.registry import Registry

TABLE = "tenant.tbl_data_timeseries"
COLUMNS = ["data_channel_id", "double_v", "long_v", "str_v", "bool_v", "value_format"]
FORMATS = {"Decimal": 1, "Integer": 2, "String": 3, "Boolean": 4}


class Log:
    """One partition of a log, applied by hand: `put` writes a reading of one channel and moment, None clears it."""

    def __init__(self, dsn, mapping):
        self.mapping, self.offset, self.position = mapping, 0, 0x100
        self.connection = open_target(dsn, "test")
        self.registry = Registry(mapping)
        self.applier = Applier(self.connection, mapping, self.registry)

    def put(self, time, key="a", value="1.5", op="i", chosen="Decimal"):
        self.position += 8
        stamp = Stamp("ships", 1, self.offset, Lsn(self.position), 1, 0)
        wide = {"ship_id": "ship-1", "created_time": time}
        rows = [[op, key, None, None, None, None, chosen]]
        rows[0][FORMATS[chosen] + 1] = value
        batch = Batch(self.mapping, decode, {0: account.load(self.connection, "ships", [0])[0].progress})
        batch.take(Received(0, self.offset, None, encode(Changes(stamp, TABLE, wide, COLUMNS, rows)), -1))
        self.applier.apply(batch)
        self.offset += 1

    @property
    def view(self):
        return next(iter(self.registry.entities.values())).view

    def cells(self, key="a"):
        query = sql.SQL("SELECT created_time::text, {}::text FROM wide.{} AS wide ORDER BY wide.created_time")
        return dict(self.connection.execute(query.format(sql.Identifier(key), sql.Identifier(self.view))).fetchall())

    def partitions(self, number=1):
        query = (
            "SELECT relname::text, pg_get_expr(relpartbound, oid), reltuples FROM pg_class WHERE relispartition"
            " AND relkind = 'r' AND relname LIKE %s ORDER BY 1"
        )
        prefix = f"{self.view}__{number}__"
        found = self.connection.execute(query, [prefix + "%"]).fetchall()
        return {name.removeprefix(prefix): bounds for name, bounds, _ in found}


@pytest.fixture(params=["per_entity", "single"])
def monthly(request, mapping, single):
    return replace(mapping if request.param == "per_entity" else single, partition_by="month")


@pytest.fixture
def log(target, database):
    made = []

    def make(mapping):
        made.append(Log(database, mapping))
        return made[-1]

    yield make
    for each in made:
        each.connection.close()


def test_partitions_are_made_as_readings_come_and_the_next_one_ahead(log, monthly):
    line = log(monthly)
    line.put("2024-05-31 23:59:59.999999")
    assert list(line.partitions()) == ["2024_05", "2024_06"]
    line.put("2024-06-01 00:00:00")
    assert list(line.partitions()) == ["2024_05", "2024_06", "2024_07"]
    line.put("2019-02-28 12:00:00")  # late: nothing is ahead of it but what is there
    assert list(line.partitions()) == ["2019_02", "2024_05", "2024_06", "2024_07"]
    assert line.cells() == {
        "2019-02-28 12:00:00": "1.5",
        "2024-05-31 23:59:59.999999": "1.5",
        "2024-06-01 00:00:00": "1.5",
    }
    options = "SELECT DISTINCT reloptions FROM pg_class WHERE relispartition AND relkind = 'r'"
    assert line.connection.execute(options).fetchall() == [(["fillfactor=50"],)]


def test_infinity_and_the_years_before_and_after_ours_have_partitions(log, monthly):
    line = log(monthly)
    times = [
        "-infinity",
        "0044-03-15 00:00:00 BC",
        "0001-01-01 00:00:00",
        "9999-12-31 23:59:59",
        "10000-01-01 00:00:00",
    ]
    times += ["294276-12-31 00:00:00", "infinity"]
    for time in times:
        line.put(time)
    assert list(line.cells()) == times
    assert list(line.partitions()) == ["0001_01", "0001_02", "9999_12", "early", "late"]


def test_a_reading_is_updated_cleared_and_truncated_in_its_partition(log, monthly):
    line = log(replace(monthly, on_truncate="apply"))
    line.put("2024-05-01 00:00:00", "a", "1")
    line.put("2024-05-01 00:00:00", "b", "2")
    line.put("2024-05-01 00:00:00", "a", "3", op="u")
    line.put("2024-06-01 00:00:00", "a", "4")
    line.put("2024-05-01 00:00:00", "b", None, op="d")
    line.put("2024-06-01 00:00:00", "a", None, op="d")
    assert line.cells() == {"2024-05-01 00:00:00": "3"}
    line.put("2031-01-01 00:00:00", "a", None, op="d")
    assert not any(name.startswith("2031") for name in line.partitions()), "nothing is set there"


def test_a_partition_that_its_owner_drops_or_detaches_does_not_stop_the_sink(log, monthly):
    line = log(monthly)
    for month in ("01", "02", "03"):
        line.put(f"2024-{month}-10 00:00:00")
    drop = sql.SQL("DROP TABLE wide.{}")
    detach = sql.SQL("ALTER TABLE wide.{} DETACH PARTITION wide.{}")
    part = f"{line.view}__1"
    line.connection.execute(drop.format(sql.Identifier(f"{part}__2024_01")))
    line.connection.execute(detach.format(sql.Identifier(part), sql.Identifier(f"{part}__2024_02")))
    assert list(line.cells()) == ["2024-03-10 00:00:00"]
    line.put("2024-01-10 00:00:00", "a", None, op="d")  # the narrow table's own retention, later
    assert "2024_01" not in line.partitions()
    line.put("2024-01-11 00:00:00")
    line.put("2024-02-11 00:00:00")
    assert list(line.cells()) == ["2024-01-11 00:00:00", "2024-02-11 00:00:00", "2024-03-10 00:00:00"]
    reasons = line.connection.execute("SELECT count(*) FROM widebeam.quarantine").fetchone()
    assert reasons == (0,)
    registry = Registry(monthly)
    registry.refresh(line.connection)
    registry.check(line.connection)


def test_a_default_partition_of_the_owner_s_takes_what_has_no_other(log, monthly):
    line = log(monthly)
    line.put("2024-05-01 00:00:00")
    part = sql.Identifier("wide", f"{line.view}__1")
    line.connection.execute(sql.SQL("CREATE TABLE wide.rest PARTITION OF {} DEFAULT").format(part))
    line.put("2020-01-01 00:00:00")
    line.put("2020-01-02 00:00:00")
    assert line.connection.execute("SELECT count(*) FROM wide.rest").fetchone() == (2,)
    assert list(line.partitions()) == ["2024_05", "2024_06"]


def test_partitions_of_other_sizes_are_filled_up(log, monthly):
    """Somebody has merged old months into a year, and cut another one in the middle of a day."""
    line = log(monthly)
    line.put("2024-05-01 00:00:00")
    part = sql.Identifier("wide", f"{line.view}__1")
    for name, lower, upper in (
        ("y2020", "2020-01-01", "2021-01-01"),
        ("half", "2022-01-10 12:00", "2022-01-20"),
    ):
        statement = "CREATE TABLE wide.{} PARTITION OF {} FOR VALUES FROM ({}) TO ({})"
        names = sql.Identifier(name), part, sql.Literal(lower), sql.Literal(upper)
        line.connection.execute(sql.SQL(statement).format(*names))
    for time in ("2020-07-01 00:00:00", "2022-01-10 11:00:00", "2022-01-10 12:00:00", "2022-01-31 00:00:00"):
        line.put(time)
    assert len(line.cells()) == 5
    assert line.connection.execute("SELECT count(*) FROM wide.y2020").fetchone() == (1,)
    assert len([name for name in line.partitions() if name.startswith("2022_01")]) == 2


def test_beyond_so_many_partitions_one_fills_a_gap(log, mapping, monkeypatch):
    monkeypatch.setattr(partitions, "MOST", 4)
    line = log(replace(mapping, partition_by="day"))
    times = [f"{year}-01-01 00:00:00" for year in range(2000, 2030)]
    for time in times:
        line.put(time)
    assert list(line.cells()) == times
    assert len(line.partitions()) <= 12


def test_when_there_are_many_partitions_further_ones_are_for_years(log, mapping, monkeypatch):
    monkeypatch.setattr(partitions, "MOST", 4)
    line = log(replace(mapping, partition_by="day"))
    times = [f"2024-01-{day:02} 00:00:00" for day in range(1, 12)] + ["2024-07-01 00:00:00", "2025-07-01 00:00:00"]
    for time in times:
        line.put(time)
    assert list(line.cells()) == times
    assert list(line.partitions()) == ["2024", "2024_01_01", "2024_01_02", "2024_01_03", "2024_01_04", "2025"]


def test_clearing_a_cell_reads_no_more_than_its_partition_has_for_it(log, monthly):
    line = log(monthly)
    for month in range(1, 7):
        line.put(f"2024-{month:02}-01 00:00:00")
    fill = (
        "INSERT INTO wide.{} ({}, _lsn, a, b) SELECT {}, '0/1', 1, 2"
        " FROM generate_series('2024-01-01 00:15'::timestamp, '2024-06-30', '15 min') time ON CONFLICT DO NOTHING"
    )
    values = sql.SQL("'ship-1', time" if monthly.layout == "single" else "time")
    line.put("2024-01-01 00:00:00", "b")
    names = sql.SQL(", ").join(map(sql.Identifier, monthly.key_columns))
    line.connection.execute(sql.SQL(fill).format(sql.Identifier(f"{line.view}__1"), names, values))
    line.connection.execute("VACUUM ANALYZE")
    rows = len(line.cells())
    before = rows_read(line.connection)
    for key in ("a", "b"):
        line.put("2024-03-10 00:00:00", key, None, op="d")
    assert rows_read(line.connection) - before < 2000
    assert len(line.cells()) == rows - 1


def rows_read(connection):
    connection.execute("SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()")
    query = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables WHERE schemaname = 'wide'"
    return connection.execute(query).fetchone()[0]


def test_a_process_that_makes_a_partition_still_sees_that_a_column_was_widened(log, monthly):
    widening = replace(monthly, type_conflict="widen")
    mine, theirs = log(widening), log(widening)
    mine.put("2024-01-01 00:00:00", "a", "t", chosen="Boolean")
    theirs.offset, theirs.position = mine.offset, mine.position
    theirs.put("2024-01-02 00:00:00", "a", "so", chosen="String")
    mine.offset, mine.position = theirs.offset, theirs.position
    mine.put("2029-01-01 00:00:00", "a", "t", chosen="Boolean")
    assert set(mine.cells().values()) == {"t", "so"}, "a boolean's column would make `true` of it"


def test_many_at_once_make_each_partition_once(log, database, monthly):
    line = log(monthly)
    line.put("2024-01-01 00:00:00")
    days = {f"{year}-07-01" for year in range(2000, 2020)}
    parts = line.registry.parts
    failed = []

    def make():
        try:
            with connect(database, autocommit=True) as connection:
                registry = Registry(monthly)
                for day in sorted(days):
                    registry.cover(connection, lambda day=day: {part: {day} for part in parts})
        except Exception as error:  # noqa: BLE001  asserted below, in the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(line.partitions()) == 22


def test_keys_of_the_overflow_are_in_the_tables_of_no_group(log, monthly):
    groups = (Group("engine", pattern=re.compile("^ME")),)
    line = log(replace(monthly, groups=groups, unknown_key="overflow"))
    for time in ("2024-01-01 00:00:00", "infinity"):
        line.put(time, "ME1", "1.50")
        line.put(time, "b", "2")
    assert list(line.partitions()) == ["2024_01", "2024_02", "late"]
    line.put("infinity", "ME1", None, op="d")
    line.put("2024-01-01 00:00:00", "b", None, op="d")
    line.put("2024-01-01 00:00:00", "ME1", None, op="d")
    assert line.cells("_overflow") == {"infinity": '{"b": "2"}'}


def test_neither_readers_nor_writers_are_in_the_way_of_a_new_partition(log, database, monthly):
    line = log(monthly)
    line.put("2024-05-01 00:00:00")
    with connect(database) as reader, connect(database) as writer:
        reader.execute(sql.SQL("SELECT * FROM wide.{}").format(sql.Identifier(line.view)))
        table = sql.Identifier("wide", f"{line.view}__1")
        writer.execute(sql.SQL("UPDATE {} SET a = 2").format(table))
        line.put("2030-05-01 00:00:00")  # in vain for two minutes, and a Halt, if one of the two were waited for
        assert len(line.cells()) == 2
        reader.execute(sql.SQL("SELECT * FROM wide.{}").format(sql.Identifier(line.view)))


def test_a_value_that_a_constraint_of_somebody_s_refuses_is_still_refused(log, monthly):
    line = log(monthly)
    line.put("2024-05-01 00:00:00")
    table = sql.Identifier("wide", f"{line.view}__1")
    line.connection.execute(sql.SQL("ALTER TABLE {} ADD CHECK (a < 100)").format(table))
    with pytest.raises(Exception, match="violates check constraint"):
        line.put("2024-05-02 00:00:00", value="1000")
    line.put("2024-05-02 00:00:00", value="10")
    assert len(line.cells()) == 2


@pytest.mark.parametrize(
    ("type_text", "time"),
    [
        ("date", "2024-05-31"),
        ("timestamp with time zone", "2024-05-31 23:59:59+00"),
        ("timestamp(3) without time zone", "2024-05-31 23:59:59.999"),
    ],
)
@pytest.mark.parametrize("unit", ["year", "month", "week", "day"])
def test_every_type_of_time_can_be_partitioned_by(log, mapping, type_text, time, unit):
    rule = mapping.rule
    typed = Rule.of(
        rule.table, {**rule.types, "created_time": type_text}, discriminator=rule.discriminator, choices=rule.choices
    )
    line = log(replace(mapping, rules=(typed,), partition_by=unit))
    for each in (time, "infinity", "-infinity"):
        line.put(each)
    assert list(line.cells()) == ["-infinity", time, "infinity"]
    assert len(line.partitions()) == 4
