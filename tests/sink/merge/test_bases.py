"""Wide rows over several parts: the first part of a view has a row wherever another one has, and readers see no other.

Whatever is set, cleared, filled or truncated, a view shows each wide row that has a cell, and none that has none.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from threading import Event

import pytest
from psycopg import sql

from cdc.lsn import Lsn
from cdc.source.session import connect
from sink.fold.rows import WideRow
from sink.fold.spread import spread
from sink.mapping.group import Group
from sink.mapping.wide import OVERFLOW, Need
from sink.mapping.width import Width, width
from sink.merge.merge import Merger
from sink.wide import tables
from sink.wide.registry import Registry
from snapshot.bases import bring_along

ENTITY = '["ship-1"]'
KEYS = ("a1", "a2", "b1", "b2", "c1")
OVER = ("x", "y")
TIMES = tuple(f"2024-01-0{n} 00:00:00" for n in range(1, 5))


class Narrow(Width):
    """Room for one column beside the time and `_lsn`."""

    __slots__ = ()

    def plus(self, type_name):
        return Narrow(*super().plus(type_name))

    @property
    def fits(self):
        return self.columns <= 3


class Ship:
    """One ship's wide tables: those of groups a, b and c, in any order; c has the overflow, too."""

    def __init__(self, target, mapping, order):
        groups = tuple(Group(name, frozenset(key for key in KEYS if key[0] == name)) for name in "abc")
        self.target, self.mapping = target, replace(mapping, groups=groups)
        self.registry = Registry(self.mapping)
        self.merger = Merger(target, self.registry)
        self.cells: dict[tuple[str, str], str] = {}
        self.columns(*order)

    def columns(self, *keys):
        needs = [Need(("ship-1",), key, "double_v", "jsonb" if key == OVERFLOW else "double precision") for key in keys]
        self.registry.ensure(self.target, needs)

    def change(self, rows, position, how="upsert", binds=False):
        """{time: {key: text or None}}."""
        entity = self.registry.entities[ENTITY]
        folded = {}
        for time, cells in rows.items():
            row = folded[time,] = WideRow(Lsn(position))
            for key, value in cells.items():
                if key in entity.columns:
                    row.cells[entity.columns[key].ordinal] = value
                    row.clears |= value is None
                elif value is None:
                    row.clear_bare(key)
                else:
                    row.put_over(key, value)
        parts = sorted(spread(entity, folded), key=lambda rows: rows.part.table)
        few = self.merger.few(parts) if binds else None
        prepared = self.merger.prepare(parts) if few is None else None
        with self.target.transaction():
            locked = few.lock() if prepared is None else prepared.stage([parts]).lock()
            locked.upsert() if how == "upsert" else locked.fill()
        self._note(rows, how)

    def _note(self, rows, how):
        for time, cells in rows.items():
            for key, value in cells.items():
                if value is None:
                    self.cells.pop((time, key), None)
                elif how == "upsert" or (time, key) not in self.cells:
                    self.cells[time, key] = value

    def truncate(self, position, remaining=()):
        with self.target.transaction():
            self.merger.prepare([]).stage([]).lock().truncate(self.registry.parts, Lsn(position))
        self.cells = {cell: value for cell, value in self.cells.items() if cell in remaining}

    def view(self, name):
        query = f"SELECT created_time::text, to_jsonb(v) - 'created_time' - '_lsn' FROM wide.\"{name}\" AS v"
        found = {}
        for time, row in self.target.execute(query):
            cells = row | (row.pop("_overflow", None) or {})
            found[time] = {key: str(value) for key, value in cells.items() if value is not None}
        return found

    def expected(self, groups):
        found = {}
        for (time, key), value in self.cells.items():
            if key[0] in groups:
                found.setdefault(time, {})[key] = value
        return found

    def holds(self):
        assert self.view("ship-1") == self.expected("abcxy")
        for part in self.registry.parts:
            assert part.group_view is None or self.view(part.group_view) == self.expected(part.group)
        union = " UNION ".join(f"SELECT created_time FROM {each}" for each in self.tables())
        assert self.target.execute(f"SELECT count(*) FROM ({union}) AS t").fetchone() == (len(self.expected("abcxy")),)

    def tables(self):
        return [tables.relation(part).as_string(self.target) for part in self.registry.parts]


@pytest.mark.parametrize("seed", range(6))
def test_views_show_each_row_that_has_a_cell_and_none_that_has_none(target, mapping, monkeypatch, seed):
    random = Random(seed)
    if seed % 2 == 0:  # a column a part: a group has several
        monkeypatch.setattr("sink.wide.planned.width", lambda types: Narrow(*width(types)))
    order = random.sample(KEYS, len(KEYS))
    ship = Ship(target, mapping, order if seed % 2 else order[:2])
    if seed % 3 == 0:
        ship.columns(OVERFLOW)
    for step in range(40):
        if step == 15:
            ship.columns(*KEYS)
        known = [key for key in KEYS if key in ship.registry.entities[ENTITY].columns]
        if ship.registry.entities[ENTITY].overflow is not None:
            known += OVER
        how = random.choice(["upsert", "upsert", "fill"])
        rows = {}
        for time in random.sample(TIMES, random.randint(1, 3)):
            keys = random.sample(known, random.randint(1, len(known)))
            clears = how == "upsert" and random.random() < 0.6
            rows[time] = {key: None if clears and random.random() < 0.7 else f"{step}.5" for key in keys}
        if random.random() < 0.05:
            ship.truncate(8 * (step + 1))
        ship.change(rows, 8 * (step + 1), how, binds=how == "upsert" and random.random() < 0.5)
        ship.holds()
    everything = {time: dict.fromkeys((*KEYS, *OVER[: 2 * (seed % 3 == 0)])) for time in TIMES}
    ship.change(everything, 8 * 100)
    ship.holds()
    assert {target.execute(f"SELECT count(*) FROM {each}").fetchone() for each in ship.tables()} == {(0,)}


def test_a_truncate_leaves_a_row_without_a_cell_where_another_part_has_a_later_one(target, mapping):
    ship = Ship(target, mapping, KEYS)
    ship.change({TIMES[0]: {"a1": "1.5", "b1": "2.5"}, TIMES[1]: {"a1": "3.5"}, TIMES[2]: {"c1": "4.5"}}, 16)
    ship.change({TIMES[0]: {"b1": "5.5"}}, 32)
    ship.truncate(24, remaining=[(TIMES[0], "b1")])
    ship.holds()
    ship.truncate(40)
    ship.holds()


@pytest.mark.parametrize("seed", range(2))
def test_tables_from_before_are_brought_along_beside_the_stream(target, database, mapping, monkeypatch, seed):
    monkeypatch.setattr("snapshot.bases._ROWS", 2)
    ship = Ship(target, mapping, KEYS)
    for n, time in enumerate(TIMES):
        ship.change({time: dict.fromkeys(Random(seed + n).sample(KEYS, 2), f"{n}.5")}, 8)
    for part in ship.registry.parts:  # as they were: no row is there for those of others, and views read all keys
        target.execute(sql.SQL("DELETE FROM {} WHERE _lsn = '0/0'").format(tables.relation(part)))
    target.execute("UPDATE widebeam.tables SET in_base = false")
    ship.registry.refresh(target)
    for view in {view for part in ship.registry.parts for view in part.views}:
        target.execute(tables.create_view(ship.mapping, ship.registry.entities[ENTITY], view))
    target.execute('COMMENT ON VIEW wide."ship-1" IS $$ours$$')
    ship.holds()
    ship.change({TIMES[0]: dict.fromkeys(KEYS), TIMES[1]: {"c1": "7.5"}}, 16)
    ship.holds()
    with connect(database) as reader:  # in a transaction, which is in nobody's way for long
        reader.execute('SELECT FROM wide."ship-1"')
        assert not bring_along(target, ship.registry, Event())
        assert not any(part.in_base for part in ship.registry.parts)
        ship.holds()
    assert bring_along(target, ship.registry, Event())
    assert all(part.in_base for part in ship.registry.parts)
    definition = target.execute("SELECT pg_get_viewdef('wide.\"ship-1\"'::regclass)").fetchone()[0]
    assert "UNION" not in definition
    assert target.execute("SELECT obj_description('wide.\"ship-1\"'::regclass)").fetchone() == ("ours",)
    ship.holds()
    ship.change({time: dict.fromkeys(KEYS) for time in TIMES}, 24)
    ship.holds()
