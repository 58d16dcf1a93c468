"""The life of a key while the pipeline runs: caps, overflow, conflicts of types."""

from __future__ import annotations

import threading
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from cdc.log.transport import Received
from cdc.lsn import Lsn
from cdc.record.envelope import decode, encode
from cdc.record.record import Changes, Stamp
from cdc.source.session import connect
from sink.apply import Applier
from sink.fold.batch import Batch
from sink.mapping.wide import Need
from sink.state import account
from sink.target import open_target
from sink.wide.registry import Registry

TABLE = "tenant.tbl_data_timeseries"
COLUMNS = ["data_channel_id", "double_v", "long_v", "str_v", "bool_v", "value_format"]
FORMATS = {"Decimal": 1, "Integer": 2, "String": 3, "Boolean": 4}
AT = "2024-01-01 00:00:00"


def narrow(key, chosen=None, value=None, op="i"):
    row = [op, key, None, None, None, None, chosen]
    if chosen is not None:
        row[FORMATS[chosen] + 1] = value
    return row


class Line:
    """One partition of a log, applied by hand, by a process that may be told to see nothing of the others."""

    def __init__(self, dsn, mapping):
        self.dsn, self.mapping, self.offset, self.position = dsn, mapping, 0, 0x100
        self.connection = open_target(dsn, "test")
        self.applier = self.process(self.connection)

    def process(self, connection):
        registry = Registry(self.mapping)
        registry.refresh(connection)
        return Applier(connection, self.mapping, registry)

    def apply(self, *rows, at=AT, applier=None):
        self.position += 8
        stamp = Stamp("ships", 1, self.offset, Lsn(self.position), 1, 0)
        wide = {"ship_id": "ship-1", "created_time": at}
        batch = Batch(self.mapping, decode, {0: account.load(self.connection, "ships", [0])[0].progress})
        batch.take(Received(0, self.offset, None, encode(Changes(stamp, TABLE, wide, COLUMNS, list(rows))), -1))
        (applier or self.applier).apply(batch)
        self.offset += 1

    def read(self, *columns, at=AT):
        names = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(column)) for column in columns)
        query = sql.SQL('SELECT {} FROM wide."ship-1" WHERE created_time = %s').format(names)
        return self.connection.execute(query, [at]).fetchone()

    def types(self):
        query = (
            "SELECT key, format_type(a.atttypid, a.atttypmod) FROM widebeam.columns c JOIN pg_attribute a"
            " ON a.attname = c.column_name AND a.attrelid = 'wide.\"ship-1\"'::regclass ORDER BY ordinal"
        )
        return dict(self.connection.execute(query).fetchall())

    def reasons(self):
        query = "SELECT reason, count(*) FROM widebeam.quarantine GROUP BY 1 ORDER BY 1"
        return dict(self.connection.execute(query).fetchall())


@pytest.fixture
def line(target, database, mapping):
    """Makes lines; the connection of each is closed in the end."""
    made = []

    def make(**policies):
        made.append(Line(database, replace(mapping, **policies)))
        return made[-1]

    yield make
    for each in made:
        each.connection.close()


# Caps


def test_a_flood_of_hostile_keys_stays_under_the_cap_and_the_pipeline_goes_on(line):
    flooded = line(columns_per_table=50)
    flooded.apply(narrow("speed", "Decimal", "1.5"))
    for n in range(5):
        flooded.apply(*(narrow(f"'; DROP TABLE x{n}-{m}", "Decimal", "1") for m in range(20_000)))
    flooded.apply(narrow("speed", "Decimal", "2.5"))
    assert flooded.read("speed") == ("2.5",)
    assert len(flooded.types()) == 50
    assert flooded.reasons() == {"too_many_columns": 100_001 - 50}


def test_no_more_columns_come_about_than_a_table_may_have(line):
    limited = line(columns_per_table=2)
    limited.apply(*(narrow(f"k{n}", "Decimal", "1") for n in range(3)))
    assert list(limited.types()) == ["k0", "k1"]
    assert limited.reasons() == {"too_many_columns": 1}


def test_no_more_columns_come_about_in_an_hour_than_are_allowed(line):
    limited = line(columns_per_hour=3)
    limited.apply(*(narrow(f"k{n}", "Decimal", "1") for n in range(5)))
    assert list(limited.types()) == ["k0", "k1", "k2"]
    assert limited.reasons() == {"too_many_columns": 2}
    limited.connection.execute("UPDATE widebeam.columns SET created_at = now() - interval '61 minutes'")
    limited.apply(narrow("k4", "Decimal", "1"))
    assert list(limited.types()) == ["k0", "k1", "k2", "k4"]


def test_a_refused_key_does_not_keep_a_known_one_in_its_record_back(line):
    limited = line(columns_per_table=1)
    limited.apply(narrow("a", "Decimal", "1"), narrow("b", "Decimal", "2"), narrow("a", "Decimal", "3"))
    assert limited.read("a") == ("3",)
    assert limited.reasons() == {"too_many_columns": 1}


# Overflow


def test_a_key_without_a_column_is_a_member_of_the_overflow(line):
    over = line(unknown_key="overflow")
    over.apply(narrow("a", "Decimal", "NaN"), narrow("b\\N\u00e9", "String", 'x\ty\n"\\'))
    assert over.read("_overflow") == ('{"a": "NaN", "b\\\\N\u00e9": "x\\ty\\n\\"\\\\"}',)
    over.apply(narrow("a", "Integer", "9007199254740993"), narrow("c", "Boolean", "t"))
    assert over.read("_overflow")[0].startswith('{"a": "9007199254740993"')
    assert over.reasons() == {}
    assert over.types() == {"": "jsonb"}


def test_members_of_the_overflow_are_cleared_and_an_empty_row_goes(line):
    over = line(unknown_key="overflow")
    over.apply(narrow("a", "Decimal", "1"), narrow("b", "Decimal", "2"))
    over.apply(narrow("a", op="d"), narrow("nothing", op="d"))
    assert over.read("_overflow", "_lsn") == ('{"b": "2"}', str(Lsn(over.position)))
    over.apply(narrow("b", "Decimal", None))
    assert over.read("_overflow") is None


def test_set_and_cleared_in_one_batch_the_last_one_counts(line):
    over = line(unknown_key="overflow")
    over.apply(narrow("a", "Decimal", "1"), narrow("a", op="d"), narrow("b", op="d"), narrow("b", "Decimal", "2"))
    assert over.read("_overflow") == ('{"b": "2"}',)


def test_columns_and_overflow_live_in_one_row(line):
    first = line()
    first.apply(narrow("speed", "Decimal", "1"))
    over = line(unknown_key="overflow")
    over.offset = 1
    over.apply(narrow("speed", "Decimal", "2"), narrow("new", "Decimal", "3"), narrow("speed", op="d"))
    assert over.read("speed", "_overflow") == (None, '{"new": "3"}')
    over.apply(narrow("new", op="d"), narrow("speed", "Decimal", "4"))
    assert over.read("speed", "_overflow") == ("4", None)


def test_a_key_with_cells_in_the_overflow_stays_there_when_columns_are_added_again(line):
    over = line(unknown_key="overflow")
    over.apply(narrow("a", "Decimal", "1"))
    adding = line()
    adding.offset = 1
    adding.apply(narrow("a", "Decimal", "2"), narrow("b", "Decimal", "3"))
    assert adding.read("b", "_overflow") == ("3", '{"a": "2"}')
    assert adding.types() == {"": "jsonb", "b": "double precision"}


def test_a_key_that_is_called_like_the_overflow_gets_another_name(line):
    over = line(unknown_key="overflow")
    over.apply(narrow("a", "Decimal", "1"))
    adding = line()
    adding.offset = 1
    adding.apply(narrow("_overflow", "Decimal", "2"))
    assert list(adding.types()) == ["", "_overflow"]
    assert over.read("_overflow") == ('{"a": "1"}',)


@pytest.mark.parametrize("key", ["", "a\tb", "a\x7fb"])
def test_keys_that_are_no_names_do_not_go_into_the_overflow_either(line, key):
    over = line(unknown_key="overflow")
    over.apply(narrow(key, "Decimal", "1"))
    assert sum(over.reasons().values()) == 1
    assert over.connection.execute("SELECT count(*) FROM widebeam.tables").fetchone() == (0,)


# Conflicts of types


def test_a_conflict_goes_into_quarantine_by_default(line):
    strict = line()
    strict.apply(narrow("a", "Integer", "1"))
    strict.apply(narrow("a", "Decimal", "1.5"), narrow("b", "Decimal", "2"))
    assert strict.read("a", "b") == (None, "2")
    assert strict.reasons() == {"type_conflict": 1}


def test_a_conflict_can_be_null(line):
    careless = line(type_conflict="null")
    careless.apply(narrow("a", "Integer", "1"), narrow("b", "Integer", "2"))
    careless.apply(narrow("a", "Decimal", "1.5"))
    assert careless.read("a", "b") == (None, "2")
    assert careless.reasons() == {}


def test_a_column_widens_and_no_digit_is_lost(line):
    wide = line(type_conflict="widen")
    values = {
        "int": ("Integer", "9007199254740993"),
        "float": ("Decimal", "0.30000000000000004"),
        "bool": ("Boolean", "t"),
    }
    wide.apply(*(narrow(key, *value) for key, value in values.items()))
    later = "2024-01-02 00:00:00"
    wide.apply(*(narrow(key, "String", " text") for key in values), at=later)
    assert wide.types() == dict.fromkeys(values, "text")
    assert wide.read(*values) == tuple(value for _, value in values.values())
    assert wide.read(*values, at=later) == (" text",) * 3
    wide.apply(*(narrow(key, *value) for key, value in values.items()), at=later)
    assert wide.read(*values, at=later) == tuple(value for _, value in values.values())
    assert wide.reasons() == {}
    wide.apply(*(narrow(key, op="d") for key in values), at=later)
    assert wide.read(*values, at=later) is None


def test_the_view_keeps_its_rights_when_a_column_widens(line):
    wide = line(type_conflict="widen")
    wide.apply(narrow("a", "Integer", "1"))
    wide.connection.execute('GRANT SELECT ON wide."ship-1" TO PUBLIC')
    wide.apply(narrow("a", "String", "x"))
    assert wide.read("a") == ("x",)
    query = "SELECT privilege_type FROM pg_class, aclexplode(relacl) WHERE relname = 'ship-1' AND grantee = 0"
    assert wide.connection.execute(query).fetchall() == [("SELECT",)]


def test_a_process_that_has_not_heard_of_it_stages_the_new_type(line, database):
    wide = line(type_conflict="widen")
    wide.apply(narrow("a", "Boolean", "t"), narrow("b", "Boolean", "f"))
    with connect(database, autocommit=True) as connection:
        other = wide.process(connection)
        wide.apply(narrow("a", "Boolean", "f"), applier=other)  # it has staged them as booleans
        wide.apply(narrow("a", "String", "x"), narrow("b", "String", "y"))
        wide.apply(narrow("a", "Boolean", "t"), applier=other)
        assert wide.read("a", "b") == ("t", "y")
        wide.apply(narrow("b", "Integer", "7"), applier=other)
    assert wide.read("a", "b") == ("t", "7")


def test_many_processes_widen_one_column_at_the_same_time(line, database, mapping):
    wide = line(type_conflict="widen")
    wide.apply(narrow("a", "Boolean", "t"))
    types = ["bigint", "text", "double precision", "text"]

    def ensure(kind):
        with connect(database, autocommit=True) as connection:
            assert Registry(wide.mapping).ensure(connection, [Need(("ship-1",), "a", "x", kind)]) == {}

    threads = [threading.Thread(target=ensure, args=[kind]) for kind in types]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wide.types() == {"a": "text"}


def test_what_somebody_else_made_upon_a_column_is_not_broken_but_the_reading_waits(line):
    wide = line(type_conflict="widen")
    wide.apply(narrow("a", "Integer", "1"))
    wide.connection.execute('CREATE VIEW public.mine AS SELECT a FROM wide."ship-1"')
    wide.apply(narrow("a", "String", "x"), narrow("b", "Integer", "2"))
    assert wide.read("a", "b") == (None, "2")
    detail = wide.connection.execute("SELECT reason, detail FROM widebeam.quarantine").fetchall()
    assert [reason for reason, _ in detail] == ["not_widened"]
    assert "mine" in detail[0][1]
    wide.connection.execute("DROP VIEW public.mine")
    wide.apply(narrow("a", "String", "y"))
    assert wide.read("a") == ("y",)


def test_a_wider_column_that_would_not_fit_the_page_is_not_made(line):
    wide = line(type_conflict="widen")
    needs = [Need(("ship-1",), f"k{n}", "double_v", "double precision") for n in range(1005)]
    Registry(wide.mapping).ensure(wide.connection, needs)
    wide.apply(narrow("k1", "String", "x"))
    ((reason, detail),) = wide.connection.execute("SELECT reason, detail FROM widebeam.quarantine").fetchall()
    assert (reason, "page" in detail) == ("not_widened", True)


def test_a_reader_in_the_way_is_waited_for_in_short_attempts(line, database):
    wide = line(type_conflict="widen")
    wide.apply(narrow("a", "Integer", "1"))
    with psycopg.connect(database) as reader:
        reader.execute('SELECT * FROM wide."ship-1"')
        applying = threading.Thread(target=wide.apply, args=[narrow("a", "String", "x")])
        applying.start()
        applying.join(0.5)
        assert applying.is_alive()
        reader.rollback()
        applying.join(30)
    assert wide.read("a") == ("x",)


# Two sinks that meet the same new key in the same moment


class Race:
    """Two sinks, each with a partition, a connection and a registry of its own, as two processes have them."""

    def __init__(self, line, monkeypatch):
        self.line, self.both, self.late = line, threading.Barrier(2, timeout=60), threading.local()
        ensure = Registry.ensure

        def together(registry, connection, needs):
            if getattr(self.late, "waits", False):  # at the first need of a batch: neither has made anything for it
                self.late.waits = False
                self.both.wait()
            return ensure(registry, connection, needs)

        monkeypatch.setattr(Registry, "ensure", together)
        self.sinks = [(number, open_target(line.dsn, "test")) for number in (0, 1)]
        self.appliers = [line.process(connection) for _, connection in self.sinks]
        self.offset = 0

    def run(self, *sides):
        """Each side's rows are applied by a sink of its own, at a time of its own, in the same moment."""
        failed = []

        def work(number, connection, rows):
            self.late.waits = True
            try:
                stamp = Stamp("ships", 1, self.offset, Lsn(0x200 + self.offset), 1, 0)
                wide = {"ship_id": "ship-1", "created_time": f"2024-02-0{number + 1} 00:00:0{self.offset}"}
                known = {number: account.load(connection, "ships", [number])[number].progress}
                batch = Batch(self.line.mapping, decode, known)
                batch.take(Received(number, self.offset, None, encode(Changes(stamp, TABLE, wide, COLUMNS, rows)), -1))
                self.appliers[number].apply(batch)
            except Exception as error:  # noqa: BLE001  raised again below, in the test's own thread
                self.both.abort()
                failed.append(error)

        pairs = zip(self.sinks, sides, strict=True)
        threads = [threading.Thread(target=work, args=[*sink, list(rows)]) for sink, rows in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed, failed
        self.offset += 1

    def rows(self, *columns):
        return [self.line.read(*columns, at=f"2024-02-0{number + 1} 00:00:0{self.offset - 1}") for number in (0, 1)]


@pytest.fixture
def race(line, monkeypatch):
    made = []

    def make(**policies):
        made.append(Race(line(**policies), monkeypatch))
        return made[-1]

    yield make
    for each in made:
        for _, connection in each.sinks:
            connection.close()


def test_two_sinks_that_meet_the_first_key_for_the_overflow_at_once_lose_neither_reading(race):
    over = race(unknown_key="overflow")
    over.run([narrow("a", "Decimal", "1"), narrow("b", "String", "x")], [narrow("a", "String", "y")])
    assert over.line.types() == {"": "jsonb"}
    assert over.rows("_overflow") == [('{"a": "1", "b": "x"}',), ('{"a": "y"}',)]
    assert over.line.reasons() == {}


def test_two_sinks_that_meet_a_new_key_with_two_types_at_once_widen_its_column_and_lose_neither_reading(race):
    wide = race(type_conflict="widen")
    whole, text, exact = ("Integer", "9007199254740993"), ("String", "+007"), ("Decimal", "0.1")
    wide.run([narrow("a", *whole), narrow("b", *text)], [narrow("a", *text), narrow("b", *exact)])
    assert wide.rows("a", "b") == [(whole[1], text[1]), (text[1], exact[1])]
    wide.run([narrow("c", *whole)], [narrow("c", *exact)])
    wide.run([narrow("c", *exact), narrow("d", *exact)], [narrow("c", *text), narrow("d", *whole)])
    assert wide.rows("c", "d") == [(exact[1], exact[1]), (text[1], whole[1])]
    assert wide.line.types() == dict.fromkeys("abcd", "text")
    assert wide.line.reasons() == {}


def test_two_sinks_that_meet_a_new_key_with_two_types_at_once_keep_one_and_put_the_other_into_quarantine(race):
    strict = race()
    strict.run([narrow("a", "Integer", "1")], [narrow("a", "String", "x")])
    first, second = strict.rows("a")
    assert (first, second) in [(("1",), None), (None, ("x",))]
    assert strict.line.reasons() == {"type_conflict": 1}
