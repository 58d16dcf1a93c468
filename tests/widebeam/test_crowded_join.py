"""A table that joins where rows meet in cells: its rows hold or do not hold, whatever was there before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import pytest

from cdc.failpoint import Failpoint
from sink.state import sources
from snapshot import attached, join
from tests.widebeam.interleaved import COMMITTING, READ, World

Make: TypeAlias = "Callable[..., World]"

HISTORIES = 2


@pytest.fixture
def make(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(attached, "SOON", 0.0)
    monkeypatch.setattr(join, "LOOK_SECONDS", 0.0)

    def made(seed: int = 1, several: str = "last", on_delete: str = "clear", **more: Any) -> World:
        return World(database, f"h{seed}", several, on_delete, Random(seed), tmp_path, **more)

    return made


@pytest.mark.parametrize(("several", "on_delete"), [("last", "clear"), ("first", "clear"), ("last", "ignore")])
def test_whoever_comes_in_between_each_cell_has_what_the_rows_of_all_tables_come_to(
    make: Make, several: str, on_delete: str
) -> None:
    for seed in range(HISTORIES):
        with make(seed, several, on_delete) as world:
            for _ in range(30):
                world.step()
            world.finish()
            assert world.there() == world.should(), "\n".join([f"seed {seed}", *world.said])


MOMENT = "2024-01-01 00:00:00+00"
HISTORY = f"INSERT INTO t_a VALUES ('{MOMENT}', 1, 1, 1, 10)"
OF_B = f"INSERT INTO t_b VALUES ('{MOMENT}', 1, 1, {{}}, {{}})"


class Once:
    """Does something at the first time that a place is come to."""

    def __init__(self, place: str, do: Callable[[], None]) -> None:
        self.place, self.do, self.done = place, do, False

    def __call__(self, place: str) -> None:
        if place == self.place and not self.done:
            self.done = True
            self.do()


@contextmanager
def scripted(make: Make, **more: Any) -> Iterator[World]:
    """A world whose first table has one row, value 1 and place 10; in the end each cell has what it should have."""
    with make(filled=0, **{"before": HISTORY, "tables": "ab", "crashes": False, **more}) as world:
        world.between = lambda place: None
        yield world
        assert not isinstance(world.between, Once) or world.between.done
        world.finish()
        assert world.there() == world.should(), "\n".join(world.said)


def values(world: World) -> list[int]:
    return [value for *_, value in world.there()]


def joined(world: World, value: object, place: int) -> None:
    """Another table with a row in the same cell joins, and workers do what they can of it."""
    world.make(0)
    world.do(f"INSERT INTO t_{world.letters[-1]} VALUES ('{MOMENT}', 1, 1, {value}, {place})")
    world.look()
    for _ in range(3):
        world.chunk()


@pytest.mark.parametrize(
    ("several", "value", "place", "holds"),
    [("last", 9, 20, [9]), ("last", 9, 5, [1]), ("first", 9, 5, [9]), ("first", 9, 20, [1]), ("last", "NULL", 20, [])],
)
def test_a_row_that_was_there_before_its_table_joined_holds_its_cell_if_it_comes_in_the_order(
    make: Make, several: str, value: object, place: int, holds: list[int]
) -> None:
    with scripted(make, several=several) as world:
        world.chunk()
        assert values(world) == [1]
        joined(world, value, place)
        world.finish()
        assert values(world) == holds


def test_a_sink_that_has_read_its_cells_before_a_table_joined_does_not_undo_its_rows(make: Make) -> None:
    with scripted(make) as world:
        world.chunk()
        world.do("UPDATE t_a SET v = 2")
        world.pull()
        world.between = Once(COMMITTING, lambda: joined(world, 9, 20))
        world.apply()


def come_to_rest(world: World) -> None:
    """All that there is is brought, applied and filled in."""
    for _ in range(3):
        world.pull()
        world.apply()
        world.chunk()


def test_a_sink_knows_a_table_that_it_had_no_record_of(make: Make) -> None:
    with scripted(make) as world:
        world.chunk()
        world.do("UPDATE t_a SET v = 2")
        world.pull()
        world.apply()
        joined(world, 9, 20)
        come_to_rest(world)
        assert values(world) == [9]
        world.do("UPDATE t_a SET v = 3")
        world.pull()
        world.apply()
        assert values(world) == [9]


def test_a_table_that_is_dropped_and_made_again_is_waited_for_again(make: Make) -> None:
    with scripted(make) as world:
        del world.workers[1]
        world.chunk()
        joined(world, 9, 20)
        come_to_rest(world)
        assert values(world) == [9]
        world.do("DROP TABLE t_b")
        [gone] = [each for each in sources.load(world.source, world.name) if each.name == "t_b"]
        sources.forget(world.source, world.name, gone)
        world.letters = "a"
        world.do("UPDATE t_a SET v = 2")
        world.pull()
        world.between = Once(COMMITTING, lambda: joined(world, 7, 30))
        world.apply()


def test_a_chunk_that_was_read_before_a_table_joined_does_not_fill_what_its_rows_have_cleared(make: Make) -> None:
    def others() -> None:
        joined(world, "NULL", 20)
        world.pull()
        world.apply()
        world.chunk()

    with scripted(make) as world:
        world.between = Once(READ, others)
        world.chunk()


@pytest.mark.parametrize("reader", ["sink", "chunk"])
def test_rows_of_a_table_that_is_not_published_yet_hold_no_cell(make: Make, reader: str) -> None:
    def others() -> None:
        world.do("UPDATE t_a SET v = v + 1")
        world.pull()
        if reader == "chunk":
            world.chunk()
        world.apply()
        world.do("DELETE FROM t_b")  # nobody hears of it

    with scripted(make) as world:
        if reader == "sink":
            world.chunk()
        world.between = Once(Failpoint.JOIN_WRITTEN_DOWN, others)
        joined(world, 9, 20)


def test_tables_that_join_at_once_meet_each_other(make: Make) -> None:
    def others() -> None:
        joined(world, 9, 30)
        world.pull()
        world.apply()
        world.chunk()
        assert values(world) == [9]

    with scripted(make, tables="abc") as world:
        world.chunk()
        joined(world, 5, 20)
        world.pull()
        world.apply()
        world.between = Once(READ, others)
        world.chunk()


def test_a_replay_that_begins_while_a_chunk_is_read_holds_it_up(make: Make) -> None:
    """Where deletes are ignored, a change counts as it was: here one of a row that is gone, and comes after b's."""

    def others() -> None:
        world.replay(0, 0)
        world.replay(1, 0)

    with scripted(make, on_delete="ignore") as world:
        world.chunk()
        world.do("UPDATE t_a SET v = 2, n = 30")
        world.do("DELETE FROM t_a")
        world.pull()
        world.apply()
        joined(world, 9, 20)
        world.pull()
        world.apply()
        assert values(world) == [2]
        world.between = Once(READ, others)
        world.chunk()


@pytest.mark.parametrize("on_delete", ["clear", "ignore"])
def test_no_replay_goes_below_a_chunk_that_it_would_undo(make: Make, on_delete: str) -> None:
    with scripted(make, on_delete=on_delete) as world:
        world.chunk()
        world.do("UPDATE t_a SET v = 2, n = 30")
        world.do("DELETE FROM t_a")
        joined(world, 9, 20)
        world.finish()
        floors = world.source.execute("SELECT floor > 0 FROM widebeam.progress").fetchall()
        assert floors == [(on_delete == "ignore",)] * 2
        if on_delete == "clear":
            world.replay(0, 0)
            world.replay(1, 0)
