"""From which rows a column has its values, who is told of it, and when its cells are read again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from threading import Event, Thread
from typing import Any, TypeAlias

import psycopg
import pytest

from cdc.lsn import Lsn
from cdc.source.narrow import NarrowTable
from cdc.source.session import connect
from sink import reread
from sink.fold.column_route import Routes
from sink.fold.pivot import Fold
from sink.mapping.interpret import Interpreters, Reading
from sink.mapping.mapping import Mapping
from sink.mapping.origin import Origins, may_meet
from sink.mapping.rule import Rule
from sink.mapping.several import Cell, SourceRow, Touch
from sink.reread import SourceCells
from sink.state import origins

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

TYPES = {"ship": "text", "at": "date", "name": "text", "v": "integer"}
TABLE = NarrowTable("public", "a", ("ship",), ("at",), ("name",), ("v",))
PLAIN = Rule.of(TABLE, TYPES)
OTHER = replace(PLAIN, table=replace(TABLE, name="b"))
MADE = replace(PLAIN, key=("name", "v"))


@pytest.mark.parametrize(
    ("rules", "so"),
    [
        ([PLAIN], False),
        ([PLAIN, OTHER], True),
        ([MADE], True),
        ([replace(PLAIN, measures=True)], True),
        ([replace(MADE, several="last")], False),  # there they are read again anyway
        ([replace(MADE, table=replace(TABLE, entity=(), time=()))], False),
    ],
    ids=["plain", "tables", "made keys", "measures", "told who holds", "one row"],
)
def test_rows_may_meet_where_tables_share_columns_or_keys_are_made_of_something(rules: list[Rule], so: bool) -> None:
    assert may_meet(Mapping("ships", tuple(rules), "wide", "{entity}")) == so


def test_who_meets_the_second_origin_of_a_column_shares_it_with_all(target: Connection) -> None:
    first, second, third = Origins(), Origins(), Origins()
    speed = '["s"]', "speed"
    assert first.alone(speed, "public.a")
    assert not origins.write(target, "ships", first)
    assert second.alone(speed, "public.b")  # as far as it knows
    assert origins.write(target, "ships", second)
    assert not second.alone(speed, "public.b")
    assert third.alone(speed, "public.a")
    assert origins.write(target, "ships", third), "it is written down for all"
    assert first.alone(speed, "public.a")
    origins.follow(target, "ships", first)
    assert not first.alone(speed, "public.a")


def test_a_cell_is_read_again_only_once_the_transaction_that_touched_it_is_visible(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, seen = Event(), list[object]()

    def settle(source: Connection, *_: object) -> None:
        seen.append(source.execute("SELECT count(*) FROM public.a").fetchone())
        read.set()

    monkeypatch.setattr(reread, "settle", settle)
    mapping = Mapping("ships", (PLAIN, OTHER), "wide", "{entity}")
    with connect(database, autocommit=True) as watching, connect(database) as writer:
        watching.execute("CREATE TABLE public.a (v int)")
        writer.execute("INSERT INTO public.a VALUES (1)")
        xid = writer.execute("SELECT pg_current_xact_id()::xid::text::bigint").fetchone()
        assert xid is not None
        fold, cells = _touched(mapping, xid[0]), SourceCells(database)
        with closing(cells):
            thread = Thread(target=cells.settle, args=[fold, mapping, Interpreters(mapping, None)])
            thread.start()
            _await(lambda: read.is_set() or _asks(watching))
            writer.commit()
            thread.join(60)
    assert seen == [(1,)]


def test_where_deletes_are_ignored_a_row_that_was_changed_since_does_not_meet_itself(database: str) -> None:
    mapping = Mapping("ships", (PLAIN, OTHER), "wide", "{entity}", on_delete="ignore")
    with connect(database, autocommit=True) as source:
        for name in ("a", "b"):
            source.execute(f"CREATE TABLE public.{name} (ship text, at date, name text, v int)".encode())
        fold = _touched(mapping, 1)
        source.execute("INSERT INTO public.a VALUES ('s', '2024-01-01', 'speed', 8)")  # it was 1
        reread.settle(source, fold, mapping, Interpreters(mapping, None))
    assert [each.detail for each in fold.quarantine_entries] == []
    assert fold.crowded == {}


def _touched(mapping: Mapping, xid: int) -> Fold:
    """A fold in which a transaction has touched a cell."""
    fold = Fold(mapping, Routes(mapping, {}, first=1), {}, Interpreters(mapping, None))
    cell = Cell(("s",), ("2024-01-01",), "speed")
    row = SourceRow("public.a", (*cell.entity, *cell.time), ("speed", "1"))
    fold.touched[cell] = Touch(row, Reading(*cell, "v", "integer", "1"), True, xid, Lsn(1), "")
    return fold


def _asks(watching: Connection) -> bool:
    """Does a session that reads cells again ask which transactions are visible?"""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'widebeam-cells' AND query LIKE %s"
    return watching.execute(asked, ["%visible_in_snapshot%"]).fetchone() != (0,)


def _await(condition: Callable[[], bool]) -> None:
    pause = Event()
    for _ in range(3_000):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError("it never came to that")
