"""Wide tables of one shape share a staging table: a session has few of them, however many wide tables there are."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from cdc.lsn import Lsn
from sink.fold.rows import WideRow
from sink.fold.spread import spread_all
from sink.mapping.rule import Rule
from sink.mapping.wide import Need
from sink.merge import plans, stage, table_slots
from sink.merge.merge import Merger
from sink.merge.table_slots import Unprepared
from sink.wide.registry import Registry

T1, T2 = "2024-01-01 00:00:00", "2024-01-02 00:00:00"
STAGES = "SELECT count(*) FROM pg_class WHERE relname LIKE 'widebeam_stage%' AND relkind = 'r'"


class Fleet:
    """Ships with wide tables of their own."""

    def __init__(self, target, mapping, columns):
        """`columns`: ship -> key -> narrow value column."""
        self.target, self.mapping = target, mapping
        self.registry = Registry(mapping)
        self.merger = Merger(target, self.registry)
        cells = [(ship, *cell) for ship, some in columns.items() for cell in some.items()]
        self.registry.ensure(target, [Need((ship,), key, source, mapping.types[source]) for ship, key, source in cells])

    def spread(self, rows, position=8):
        """`rows`: ship -> time -> key -> text or None."""
        folded = {}
        for ship, times in rows.items():
            entity = self.registry.entities[f'["{ship}"]']
            for time, cells in times.items():
                row = folded.setdefault(entity.identity, {})[time,] = WideRow(Lsn(position))
                row.cells = {entity.columns[key].ordinal: value for key, value in cells.items()}
                row.clears = None in cells.values()
        return spread_all(self.registry.entities, folded)

    def write(self, rows, position=8, how="upsert"):
        parts = self.spread(rows, position)
        prepared = self.merger.prepare(parts)
        with self.target.transaction():
            locked = prepared.stage([parts]).lock()
            locked.upsert() if how == "upsert" else locked.fill()

    def read(self, ship, *keys):
        columns = ", ".join(f'"{key}"::text' for key in keys)
        return self.target.execute(f'SELECT {columns} FROM wide."{ship}" ORDER BY 1'.encode()).fetchall()


@pytest.mark.parametrize("how", ["upsert", "fill"])
def test_ships_whose_columns_are_alike_but_for_their_order_share_one(target, mapping, how):
    columns = [("a", "double_v"), ("s", "str_v"), ("b", "double_v"), ("i", "long_v")] * 2
    fleet = Fleet(target, mapping, {f"ship-{n}": dict(columns[n % 4 : n % 4 + 4]) for n in range(9)})
    rows = {
        f"ship-{n}": {T1: {"a": f"{n}", "s": f"x{n}", "b": f"{n}.5", "i": f"7{n}"}, T2: {"a": f"9{n}"}}
        for n in range(9)
    }
    fleet.write(rows, how=how)
    assert target.execute(STAGES).fetchone() == (1,)
    for n in range(9):
        assert fleet.read(f"ship-{n}", "a", "s", "b", "i") == [
            (f"{n}", f"x{n}", f"{n}.5", f"7{n}"), (f"9{n}", None, None, None),
        ]  # fmt: skip


def test_what_one_ship_clears_stays_in_the_others(target, mapping):
    fleet = Fleet(target, mapping, {f"ship-{n}": {"a": "double_v", "b": "double_v"} for n in range(3)})
    fleet.write({f"ship-{n}": {T1: {"a": "1", "b": "2"}, T2: {"a": "3"}} for n in range(3)})
    fleet.write(
        {"ship-0": {T1: {"a": None}}, "ship-1": {T1: {"b": None}, T2: {"a": None}}, "ship-2": {T1: {"a": "5"}}}, 16
    )
    assert fleet.read("ship-0", "a", "b") == [("3", None), (None, "2")]
    assert fleet.read("ship-1", "a", "b") == [("1", None)]
    assert fleet.read("ship-2", "a", "b") == [("3", None), ("5", "2")]
    assert target.execute(STAGES).fetchone() == (2,)  # one for sets, one for clears


def test_their_number_has_a_bound_however_many_shapes_there_are(target, mapping, monkeypatch):
    monkeypatch.setattr(stage, "_MOST", 3)
    columns = {f"ship-{n}": {f"k{m}": "long_v" if m % 2 else "double_v" for m in range(n + 1)} for n in range(8)}
    fleet = Fleet(target, mapping, columns)
    for round_ in range(3):
        for n in range(8):
            fleet.write({f"ship-{n}": {T1: {f"k{m}": str(round_ + m) for m in range(n + 1)}}})
        assert target.execute(STAGES).fetchone()[0] <= 3
    fleet.write({f"ship-{n}": {T1: {"k0": f"1{n}"}} for n in range(8)})  # in use together
    assert [fleet.read(f"ship-{n}", "k0") for n in range(8)] == [[(f"1{n}",)] for n in range(8)]
    assert fleet.read("ship-7", *(f"k{m}" for m in range(1, 8))) == [tuple(str(2 + m) for m in range(1, 8))]


def test_a_key_column_may_have_any_name(target, mapping):
    table = replace(mapping.table, time=("_part",))
    types = {**mapping.types, "_part": "timestamp without time zone"}
    rule = Rule.of(table, types, discriminator="value_format", choices=mapping.rule.choices)
    mine = replace(mapping, rules=(rule,))
    fleet = Fleet(target, mine, {"ship-1": {"_part": "double_v", "__0": "double_v"}})
    fleet.write({"ship-1": {T1: {"__0": "1"}}})
    fleet.write({"ship-1": {T1: {"__0": None}}})
    assert fleet.read("ship-1", "__0") == []


def test_beyond_the_plans_that_are_kept_statements_are_planned_anew(target, mapping, monkeypatch):
    monkeypatch.setattr(plans, "_PLANNED_COLUMNS", 2 * plans._PLAN)  # with their columns, for one
    fleet = Fleet(target, mapping, {f"ship-{n}": {"a": "double_v", "b": "double_v"} for n in range(3)})
    for n in range(3):
        fleet.write({f"ship-{m}": {T1: {"a": str(n)}} for m in range(3)})
    kept = target.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'INSERT INTO \"wide%'")
    assert kept.fetchone() == (1,)
    assert [fleet.read(f"ship-{m}", "a") for m in range(3)] == [[("2",)]] * 3


def test_plans_outlive_a_commit(target, mapping):
    """Else each batch would plan its statements anew, which for many columns takes longer than to merge it."""
    fleet = Fleet(target, mapping, {f"ship-{n}": {"a": "double_v"} for n in range(2)})
    for n in range(3):
        fleet.write({f"ship-{m}": {T1: {"a": str(n)}} for m in range(2)})
    kept = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE 'INSERT INTO \"wide%'"
    assert target.execute(kept).fetchall() == [(3, 0), (3, 0)]


def test_after_an_error_of_one_of_them_all_can_be_written_again(target, mapping):
    fleet = Fleet(target, mapping, {f"ship-{n}": {"a": "double_v"} for n in range(3)})
    target.execute('ALTER TABLE wide."ship-1__1" ADD CONSTRAINT small CHECK (a < 5)')
    with pytest.raises(psycopg.errors.CheckViolation, match="small"):
        fleet.write({f"ship-{n}": {T1: {"a": "7"}} for n in range(3)})
    fleet.write({f"ship-{n}": {T1: {"a": "3"}} for n in range(3)})
    assert [fleet.read(f"ship-{n}", "a") for n in range(3)] == [[("3",)]] * 3


def test_a_column_may_have_any_name(target, mapping):
    keys = ['"', "{}", "{0}", "%s", "$1", "a b", "'", "엔진", "_part", "_0"]
    fleet = Fleet(target, mapping, {"ship-1": dict.fromkeys(keys, "double_v")})
    for how in ("upsert", "fill"):
        fleet.write({"ship-1": {T1: {key: str(n) for n, key in enumerate(keys)}}}, how=how)
    assert fleet.target.execute('SELECT * FROM wide."ship-1"').fetchone()[2:] == tuple(map(float, range(len(keys))))
    fleet.write({"ship-1": {T1: dict.fromkeys(keys)}})
    assert fleet.target.execute('SELECT * FROM wide."ship-1"').fetchall() == []


def test_nothing_goes_in_a_pipeline(target, mapping, monkeypatch):
    """Between its statements a server waits without a bound, and with all locks, for a process that is stopped."""

    def refused(_):
        raise AssertionError("a pipeline")

    monkeypatch.setattr(psycopg.Connection, "pipeline", refused)
    fleet = Fleet(target, mapping, {f"ship-{n}": {"a": "double_v"} for n in range(3)})
    for how in ("upsert", "fill"):
        fleet.write({f"ship-{n}": {T1: {"a": "7"}} for n in range(3)}, how=how)
    assert [fleet.read(f"ship-{n}", "a") for n in range(3)] == [[("7",)]] * 3


@pytest.mark.parametrize("how", ["upsert", "fill"])
def test_a_row_that_fills_its_page_is_staged_and_merged(target, mapping, how):
    columns = {"b0": "bool_v", "b1": "bool_v"} | {f"k{n}": "double_v" for n in range(1000)}
    cells = {key: "t" if source == "bool_v" else "1.5" for key, source in columns.items()}
    del cells["b0"]  # a row without a NULL has no bits for them
    fleet = Fleet(target, mapping, {"ship": columns})
    assert len(fleet.registry.entities['["ship"]'].of_part(1)) == 1000
    fleet.write({"ship": {T1: cells, T2: {"k1": "2.5"}}}, how=how)
    assert fleet.read("ship", "k0", "k1", "k997", "k999", "b1") == [
        ("1.5", "1.5", "1.5", "1.5", "true"), (None, "2.5", None, None, None),
    ]  # fmt: skip
    if how == "upsert":
        fleet.write({"ship": {T1: dict.fromkeys(cells), T2: {"k1": None, "k997": "7"}}}, 16)
        assert fleet.read("ship", "k1", "k997") == [(None, "7")]


def test_a_row_shares_no_staging_table_in_which_it_outgrows_its_page(target, mapping, monkeypatch):
    monkeypatch.setattr(stage, "_MOST", 1)
    floats = {f"k{n}": "double_v" for n in range(998)}
    fleet = Fleet(target, mapping, {"small": {f"s{n}": "str_v" for n in range(400)}, "zbig": floats})
    for _ in range(2):
        fleet.write({"small": {T1: {"s1": "x"}}, "zbig": {T1: dict.fromkeys(floats, "1.5")}})
    assert fleet.read("zbig", "k0", "k997") == [("1.5", "1.5")]


@pytest.mark.parametrize("halves", [False, True])
def test_rows_with_a_column_that_came_about_since_all_was_prepared_are_not_merged_without_it(
    target, mapping, monkeypatch, halves
):
    if halves:
        monkeypatch.setattr(table_slots, "pieces", lambda _, columns: [columns[:1], columns[1:]])
    fleet = Fleet(target, mapping, {"ship-1": {"a": "double_v", "b": "double_v"}})
    prepared = fleet.merger.prepare(fleet.spread({"ship-1": {T1: {"a": "1"}}}))
    fleet.registry.ensure(target, [Need(("ship-1",), "new", "double_v", "double precision")])
    rows = fleet.spread({"ship-1": {T1: {"a": "1", "new": "2"}}})
    with pytest.raises(Unprepared, match="ship-1__1"), target.transaction():
        prepared.stage([rows])
    with pytest.raises(Unprepared, match="ship-1__1"), target.transaction():
        prepared.hold().upsert(rows)
