"""Renamed entries of a dictionary: which columns go along with them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.log.transport import Received
from cdc.lsn import Lsn
from cdc.record.envelope import decode, encode
from cdc.record.record import Changes, Stamp
from cdc.source.narrow import NarrowTable
from cdc.source.session import connect
from cdc.trouble import TROUBLES
from sink import lookup
from sink.apply import Applier
from sink.fold.batch import Batch
from sink.lookup import Lookup
from sink.mapping.dictionary import Dictionary
from sink.mapping.mapping import Mapping
from sink.mapping.rule import DictionaryRule, Rule
from sink.state import account
from sink.target import open_target
from sink.wide.registry import Registry
from sink.wide.rename import renamed_keys

RULE = Rule(
    NarrowTable("public", "ts_kv", ("entity",), ("at",), ("key",), ("v",)),
    {"entity": "text", "at": "timestamp without time zone", "key": "integer", "v": "double precision"},
    ("entity",),
    ("name",),
    dictionary=DictionaryRule("key", "SELECT id, name FROM public.names", ("name",)),
)
MAPPING = Mapping("ships", (RULE,), "wide", "{entity}")


def keys(before, now, rule=RULE):
    dictionary = Dictionary({each: (name,) for each, name in before.items()})
    renamed = dictionary.take((each, (name,)) for each, name in now.items())
    return renamed_keys(rule, dictionary, renamed, now.keys() - before.keys())


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        ({"1": "a"}, {"1": "b"}, {"a": "b"}),
        ({"1": "a", "2": "b"}, {"1": "b", "2": "a"}, {"a": "b", "b": "a"}),
        ({"1": "a", "2": "b"}, {"1": "b", "2": "c"}, {"a": "b", "b": "c"}),
        ({"1": "a", "2": "a"}, {"1": "b"}, {}),  # the other id still has the name
        ({"1": "a", "2": "a"}, {"1": "b", "2": "b"}, {"a": "b"}),
        ({"1": "a", "2": "a"}, {"1": "b", "2": "c"}, {}),  # one column cannot become two
        ({"1": "a", "2": "b"}, {"1": "c", "2": "c"}, {}),  # nor two one
        ({"1": "a"}, {"1": None}, {}),
        ({"1": "a"}, {"1": "b", "2": "a"}, {"a": "b"}),  # a new id takes the name over, and has no cell yet
        ({"1": "a", "2": "a"}, {"1": "b", "3": "a"}, {}),
    ],
)
def test_a_key_is_renamed_when_all_its_ids_are(before, now, found):
    assert keys(before, now) == found


def test_with_measures_each_column_of_the_key_is_renamed():
    assert keys({"1": "a"}, {"1": "b"}, replace(RULE, measures=True)) == {"a.v": "b.v"}


def test_a_key_that_is_not_all_out_of_the_dictionary_stays():
    assert keys({"1": "a"}, {"1": "b"}, replace(RULE, key=("name", "key"))) == {}


class Sinks:
    """Two processes over one target, and the dictionary's table in the same database."""

    def __init__(self, dsn):
        self.dsn, self.offset, self.open = dsn, 0, []
        self.target = self.connected(open_target(dsn, "test"))
        self.target.execute("CREATE TABLE public.names (id int PRIMARY KEY, name text)")
        self.target.execute("INSERT INTO public.names VALUES (1, 'temp'), (2, 'speed')")
        self.one, self.two = self.process(), self.process()

    def connected(self, connection):
        self.open.append(connection)
        return connection

    def process(self):
        connection = self.connected(open_target(self.dsn, "test"))
        registry = Registry(MAPPING)
        registry.refresh(connection)
        looked_up = self.connected(Lookup(self.dsn, "ships", RULE.dictionary))
        return Applier(connection, MAPPING, registry, looked_up)

    def apply(self, applier, key, value, at="2024-01-01 00:00:00"):
        stamp = Stamp("ships", 1, self.offset, Lsn(0x108 + 8 * self.offset), 1, 0)
        changes = Changes(stamp, "public.ts_kv", {"entity": "e", "at": at}, ["key", "v"], [["u", key, value]])
        batch = Batch(MAPPING, decode, {0: account.load(self.target, "ships", [0])[0].progress})
        batch.take(Received(0, self.offset, None, encode(changes), -1))
        applier.apply(batch)
        self.offset += 1

    def rename(self, *names):
        self.target.execute("TRUNCATE public.names")
        with self.target.cursor() as cursor:
            cursor.executemany("INSERT INTO public.names VALUES (%s, %s)", names)

    def look(self, applier):
        """What it does once a minute."""
        applier._lookup.refresh(applier._connection, registry=applier._registry)

    def columns(self):
        query = "SELECT key, column_name FROM widebeam.columns ORDER BY ordinal"
        return self.target.execute(query).fetchall()

    def row(self):
        with self.target.cursor() as cursor:
            cursor.execute("SELECT * FROM wide.e")
            names = [column.name for column in cursor.description][2:]
            return dict(zip(names, cursor.fetchone()[2:], strict=True))


@pytest.fixture
def sinks(target, database):
    made = Sinks(database)
    yield made
    for each in made.open:
        each.close()


def test_a_column_is_renamed_with_its_entry_and_all_processes_follow(sinks):
    sinks.apply(sinks.one, "1", "1.5")
    sinks.apply(sinks.two, "2", "7")
    sinks.rename((1, "temperature"), (2, "speed"))
    sinks.look(sinks.one)
    assert sinks.columns() == [("temperature", "temperature"), ("speed", "speed")]
    assert sinks.row() == {"temperature": 1.5, "speed": 7.0}
    sinks.apply(sinks.two, "1", "2.5")  # it has not heard of it
    sinks.apply(sinks.one, "1", "3.5")
    assert sinks.row() == {"temperature": 3.5, "speed": 7.0}
    assert len(sinks.columns()) == 2


def test_two_entries_may_exchange_their_names(sinks):
    sinks.apply(sinks.one, "1", "1")
    sinks.apply(sinks.two, "2", "2")
    sinks.rename((1, "speed"), (2, "temp"))
    sinks.look(sinks.one)
    assert sinks.row() == {"speed": 1.0, "temp": 2.0}
    sinks.apply(sinks.two, "1", "10")
    sinks.apply(sinks.two, "2", "20")
    assert sinks.row() == {"speed": 10.0, "temp": 20.0}


def test_a_process_that_finds_a_new_key_reads_the_dictionary_before_it_makes_a_column(sinks):
    sinks.apply(sinks.one, "1", "1")
    sinks.apply(sinks.two, "1", "1")
    sinks.rename((1, "temperature"), (2, "temp"))
    sinks.apply(sinks.two, "2", "2")
    assert sinks.row() == {"temperature": 1.0, "temp": 2.0}
    sinks.apply(sinks.one, "1", "3")
    assert sinks.row() == {"temperature": 3.0, "temp": 2.0}


def test_where_the_new_name_has_a_column_the_old_one_stays(sinks):
    sinks.apply(sinks.one, "1", "1")
    sinks.apply(sinks.one, "2", "2")
    sinks.rename((1, "speed"), (2, "speed"))
    sinks.look(sinks.one)
    assert sinks.columns() == [("temp", "temp"), ("speed", "speed")]
    sinks.apply(sinks.one, "1", "3")
    assert sinks.row() == {"temp": 1.0, "speed": 3.0}


def test_a_rename_while_nothing_ran_is_seen_at_the_start(sinks):
    sinks.apply(sinks.one, "1", "1")
    sinks.rename((1, "temperature"), (2, "speed"))
    sinks.apply(sinks.process(), "1", "2")
    assert sinks.row() == {"temperature": 2.0}


def test_a_column_that_somebody_else_shows_keeps_its_name_and_gets_the_key(sinks):
    sinks.apply(sinks.one, "1", "1")
    sinks.target.execute("CREATE VIEW public.mine AS SELECT temp FROM wide.e")
    sinks.rename((1, "temperature"), (2, "speed"))
    sinks.look(sinks.one)
    assert sinks.columns() == [("temperature", "temp")]
    sinks.apply(sinks.two, "1", "2")
    assert sinks.row() == {"temp": 2.0}
    with connect(sinks.dsn) as reader:
        assert reader.execute("SELECT * FROM public.mine").fetchone() == (2.0,)


def test_a_name_that_a_new_id_takes_over_in_the_same_transaction_leaves_the_column_to_the_old_one(sinks):
    sinks.apply(sinks.one, "1", "1.5")
    sinks.rename((1, "temp_old"), (2, "speed"), (9, "temp"))
    sinks.apply(sinks.two, "9", "3")
    sinks.apply(sinks.one, "9", "4")
    assert [key for key, _ in sinks.columns()] == ["temp_old", "temp"]
    assert sinks.row() == {"temp_old": 1.5, "temp": 4.0}


def test_known_keys_go_on_while_the_dictionary_cannot_be_read(sinks, monkeypatch):
    """Its table is named; readings of unknown ids wait in the quarantine."""
    sinks.apply(sinks.one, "1", "1.5")
    sinks.target.execute("ALTER TABLE public.names RENAME TO elsewhere")
    sinks.look(sinks.one)
    [trouble] = [each for each in TROUBLES.all() if each.where == lookup.DICTIONARY]
    assert 'relation "public.names" does not exist' in trouble.what
    sinks.apply(sinks.one, "1", "2.5")
    sinks.apply(sinks.one, "7", "7")
    assert sinks.row() == {"temp": 2.5}
    assert sinks.target.execute("SELECT reason FROM widebeam.quarantine").fetchall() == [("unknown_id",)]
    monkeypatch.setattr(lookup, "AGAIN_SECONDS", 0.0)
    sinks.target.execute("ALTER TABLE public.elsewhere RENAME TO names")
    sinks.target.execute("INSERT INTO public.names VALUES (7, 'late')")
    sinks.apply(sinks.one, "7", "8")
    assert sinks.row() == {"temp": 2.5, "late": 8.0}
