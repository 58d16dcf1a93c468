"""Merging into real tables: sets, clears, fills, and the text of every value."""

from __future__ import annotations

import threading

import pytest

from cdc.lsn import Lsn
from cdc.source.session import connect
from sink.fold.copytext import escaped
from sink.fold.rows import WideRow
from sink.fold.spread import spread, spread_all
from sink.mapping.wide import Need
from sink.merge.bound import FEW
from sink.merge.merge import Merger
from sink.wide.registry import Registry

ENTITY = '["ship-1"]'


class Table:
    """One ship's wide table, for writing rows as {time: {key: text or None}} and reading them back."""

    def __init__(self, target, mapping, *, binds=False):
        self.target, self.mapping = target, mapping
        self.registry = Registry(mapping)
        self.merger, self.binds = Merger(target, self.registry), binds

    def columns(self, *keys, source="double_v"):
        self.registry.ensure(self.target, [Need(("ship-1",), key, source, self.mapping.types[source]) for key in keys])

    def spread(self, rows, position):
        entity = self.registry.entities[ENTITY]
        folded = {}
        for time, cells in rows.items():
            row = folded[time,] = WideRow(Lsn(position))
            row.cells = {entity.columns[key].ordinal: value for key, value in cells.items()}
            row.clears = True
        return spread(entity, folded)

    def write(self, rows, position=8, how="upsert"):
        parts = self.spread(rows, position)
        few = self.merger.few(parts) if self.binds else None
        prepared = self.merger.prepare(parts) if few is None else None
        with self.target.transaction():
            locked = few.lock() if prepared is None else prepared.stage([parts]).lock()
            locked.upsert() if how == "upsert" else locked.fill()

    def read(self, *keys):
        columns = ", ".join(f'"{key}"::text' for key in keys)
        query = f'SELECT created_time::text, _lsn::text, {columns} FROM wide."ship-1" ORDER BY created_time'
        return self.target.execute(query).fetchall()


@pytest.fixture(params=[False, True], ids=["staged", "bound"])
def few(target, mapping, request):
    """A table for few rows, which are staged, or bound to a statement."""
    made = Table(target, mapping, binds=request.param)
    made.columns("a", "b", "c")
    return made


@pytest.fixture
def table(target, mapping):
    made = Table(target, mapping)
    made.columns("a", "b", "c")
    return made


T1, T2, T3 = "2024-01-01 00:00:00", "2024-01-02 00:00:00", "2024-01-03 00:00:00"


def test_a_row_keeps_what_a_change_does_not_set(few):
    few.write({T1: {"a": "1", "b": "2"}, T2: {"a": "3"}})
    few.write({T1: {"b": "4"}, T2: {"c": "5"}}, position=16)
    assert few.read("a", "b", "c") == [(T1, "0/10", "1", "4", None), (T2, "0/10", "3", None, "5")]


def test_a_cleared_cell_is_null_and_a_row_without_cells_goes(few):
    few.write({T1: {"a": "1", "b": "2"}, T2: {"a": "3"}, T3: {"b": "3"}})
    few.write({T1: {"a": None}, T2: {"a": None, "b": None}, T3: {"a": None, "b": None, "c": "1"}}, position=16)
    assert few.read("a", "b", "c") == [(T1, "0/10", None, "2", None), (T3, "0/10", None, None, "1")]


def test_a_clear_of_a_row_that_is_not_there_makes_none(table):
    table.write({T1: {"a": None}})
    assert table.read("a") == []


def test_a_row_with_a_cell_in_a_column_that_this_sink_has_not_heard_of_is_not_empty(table, target, mapping):
    table.write({T1: {"a": "1"}})
    other = Table(target, mapping)
    other.columns("new")
    other.write({T1: {"new": "7"}}, position=16)
    table.write({T1: {"a": None, "b": None, "c": None}}, position=24)
    assert table.read("a", "new") == [(T1, "0/18", None, "7")]


def test_a_chunk_fills_what_is_null_and_leaves_position_and_value(table):
    table.write({T1: {"a": "1"}}, position=16)
    table.write({T1: {"a": "9", "b": "9"}, T2: {"a": "9"}}, position=8, how="fill")
    assert table.read("a", "b") == [(T1, "0/10", "1", "9"), (T2, "0/8", "9", None)]


def test_a_column_that_is_added_later_is_staged_too(few):
    few.write({T1: {"a": "1"}})
    few.columns("d", source="str_v")
    few.write({T1: {"d": "x"}})
    assert few.read("a", "d") == [(T1, "0/8", "1", "x")]


def test_a_staging_table_used_twice_in_one_transaction_is_empty_the_second_time(table):
    first, second = table.spread({T1: {"a": "1"}}, 8), table.spread({T1: {"a": None}, T2: {"a": "2"}}, 16)
    third = table.spread({T2: {"a": None}}, 24)
    prepared = table.merger.prepare([*first, *second, *third])
    with table.target.transaction():
        held = prepared.hold()
        for part in (*first, *second, *third):
            held.upsert([part])
    assert table.read("a") == []


def test_a_truncate_takes_the_rows_below_its_position(table):
    table.write({T1: {"a": "1"}, T2: {"a": "2"}}, position=8)
    table.write({T2: {"b": "2"}}, position=17)
    table.merger.few([]).lock().truncate(table.registry.parts, Lsn(17))
    assert table.read("a", "b") == [(T2, "0/11", "2", "2")]


def test_no_temporary_table_is_made_or_dropped_once_there_is_one(table):
    table.write({T1: {"a": "1"}, T2: {"b": None}})
    tables = "SELECT oid::text, relfilenode FROM pg_class WHERE relname LIKE 'widebeam_stage%' ORDER BY oid"
    before = table.target.execute(tables).fetchall()
    for n in range(10):
        table.write({T1: {"a": str(n)}, T3: {"a": None}}, position=8 * n)
    assert table.target.execute(tables).fetchall() == before
    assert len(before) == 2  # one for sets, one for clears


TEXTS = [
    "",
    "NULL",
    r"\N",
    r"\.",
    "a\tb",
    "a\nb",
    "a\rb",
    "\\",
    "\\t",
    "'\"",
    "엔진 🚢",
    "%s %(x)s {}",
    "\x01\x7f",
    "\u2028",
]
FLOATS = ["NaN", "Infinity", "-Infinity", "-0", "0.1", "1.7976931348623157e+308", "5e-324", "0.30000000000000004"]


def test_every_text_comes_back_as_it_was(few):
    keys = [f"s{n}" for n in range(len(TEXTS))]
    few.columns(*keys, source="str_v")
    few.write({T1: {key: escaped(text) for key, text in zip(keys, TEXTS, strict=True)}})
    assert list(few.read(*keys)[0][2:]) == TEXTS


def test_every_float_comes_back_as_it_was(few):
    keys = [f"f{n}" for n in range(len(FLOATS))]
    few.columns(*keys)
    few.write({T1: dict(zip(keys, FLOATS, strict=True))})
    assert list(few.read(*keys)[0][2:]) == FLOATS


def test_every_float_of_a_chunk_comes_back_as_it_was(table):
    keys = [f"f{n}" for n in range(len(FLOATS))]
    table.columns(*keys)
    table.write({T1: dict(zip(keys, FLOATS, strict=True))}, how="fill")
    assert list(table.read(*keys)[0][2:]) == FLOATS


def test_integers_beyond_a_float_s_precision_come_back_as_they_were(few):
    few.columns("i", source="long_v")
    few.write({T1: {"i": "9007199254740993"}, T2: {"i": "-9223372036854775808"}})
    assert [row[2] for row in few.read("i")] == ["9007199254740993", "-9223372036854775808"]


def test_times_at_the_ends_of_history_are_keys_like_others(few):
    times = [
        "-infinity",
        "0044-03-15 12:00:00 BC",
        "2024-01-01 00:00:00.000001",
        "294276-12-31 23:59:59.999999",
        "infinity",
    ]
    few.write({time: {"a": "1"} for time in times})
    few.write({time: {"b": "2"} for time in times})
    assert [row[0] for row in sorted(few.read("a", "b"), key=lambda row: times.index(row[0]))] == [
        "-infinity", "0044-03-15 12:00:00 BC", "2024-01-01 00:00:00.000001", "294276-12-31 23:59:59.999999", "infinity",
    ]  # fmt: skip


def test_rows_of_two_parts_are_cleared_and_deleted_part_by_part(target, mapping):
    table = Table(target, mapping)
    table.columns(*(f"k{n}" for n in range(1037)))
    table.write({T1: {f"k{n}": str(n) for n in range(1037)}, T2: {"k0": "1", "k1036": "2"}})
    table.write({T1: {"k0": None}, T2: {"k1036": None}}, position=16)
    assert table.read("k0", "k1", "k1036") == [(T1, "0/10", None, "1", "1036"), (T2, "0/8", "1", None, None)]
    table.write({T1: {f"k{n}": None for n in range(1, 1037)}}, position=24)
    assert table.read("k0") == [(T2, "0/8", "1")]
    assert target.execute('SELECT count(*) FROM wide."ship-1__2"').fetchone() == (0,)


@pytest.mark.parametrize(
    ("cells", "binds"),
    [({"a": "9"}, False), ({"a": None}, False), ({"a": "9"}, True)],
    ids=["set", "clear", "bound"],
)
def test_rows_are_locked_in_the_order_of_their_keys_whatever_order_they_came_in(table, database, cells, binds):
    """So two sessions never wait for each other: who waits for the first row holds no later one."""
    table.write({T2: {"a": "2", "b": "2"}})
    table.write({T1: {"a": "1", "b": "1"}})
    table.binds = binds
    row = 'SELECT FROM wide."ship-1__1" WHERE created_time = %s FOR UPDATE'
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with connect(database) as other, connect(database, autocommit=True) as watcher:
        other.execute(row, [T1])
        merging = threading.Thread(target=table.write, args=[{T2: cells, T1: cells}, 16])
        merging.start()
        try:
            while merging.is_alive() and watcher.execute(waiting).fetchone() == (0,):
                pass
            free = watcher.execute(row + " SKIP LOCKED", [T2]).rowcount
        finally:
            other.rollback()
            merging.join()
    assert free == 1
    assert table.read("a", "b") == [(T1, "0/10", cells["a"], "1"), (T2, "0/10", cells["a"], "2")]


def test_part_tables_come_in_the_order_of_their_names_whatever_order_entities_came_in(target, mapping):
    registry = Registry(mapping)
    registry.ensure(target, [Need((f"ship-{n}",), "a", "double_v", mapping.types["double_v"]) for n in (3, 1, 2)])
    folded = {}
    for entity in registry.entities.values():
        row = folded.setdefault(entity.identity, {})[T1,] = WideRow(Lsn(8))
        row.cells = {entity.columns["a"].ordinal: "1"}
    backwards = dict(sorted(folded.items(), reverse=True))
    assert [rows.part.table for rows in spread_all(registry.entities, backwards)] == [
        "ship-1__1", "ship-2__1", "ship-3__1",
    ]  # fmt: skip


def test_a_batch_of_few_rows_touches_no_temporary_table(target, mapping):
    table = Table(target, mapping, binds=True)
    table.columns("a", "b")
    for n in range(8):
        table.write({T1: {"a": str(n)}, T2: {"b": str(n)}}, position=8 * n)
    assert target.execute("SELECT count(*) FROM pg_class WHERE relpersistence = 't'").fetchone() == (0,)
    assert table.read("a", "b") == [(T1, "0/38", "7", None), (T2, "0/38", None, "7")]
    many = {f"2025-01-01 00:00:0{n}": {"a": str(n)} for n in range(FEW + 1)}
    table.write(many, position=72)
    assert target.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'widebeam_stage%'").fetchone() == (1,)
    assert [row[2] for row in table.read("a")] == ["7", None, *(str(n) for n in range(FEW + 1))]


@pytest.mark.parametrize(
    ("text", "bound"),
    [("x" * 2_000, True), ("x" * 8_000, False), ("\u2028" * 2_700, False)],
    ids=["short", "long", "wide"],
)
def test_a_row_is_only_bound_if_it_is_sent_at_once(target, mapping, text, bound):
    """Else a process that is stopped between two sendings would keep the locks for ever."""
    table = Table(target, mapping, binds=True)
    table.columns("s", source="str_v")
    table.write({T1: {"s": text}})
    assert table.read("s")[0][2] == text
    staged = target.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'widebeam_stage%'").fetchone()[0]
    assert staged == (not bound)


def test_a_column_that_was_widened_is_bound_as_what_it_is_now(target, mapping, database):
    table = Table(target, mapping, binds=True)
    table.columns("i", source="long_v")
    table.write({T1: {"i": "1"}})
    with connect(database, autocommit=True) as other:  # the session that merges would forget its statements at a DROP
        other.execute('DROP VIEW wide."ship-1"; ALTER TABLE wide."ship-1__1" ALTER i TYPE numeric')
    column = table.registry.entities[ENTITY].columns["i"]
    table.registry.entities[ENTITY].add(column._replace(type="numeric", widened=1))
    table.registry._known.changes = 1
    table.write({T1: {"i": "1.5"}}, 16)
    assert target.execute('SELECT i::text FROM wide."ship-1__1"').fetchall() == [("1.5",)]
