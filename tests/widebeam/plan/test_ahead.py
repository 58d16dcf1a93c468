"""A run's own plan: the columns are there before the slot, as the plan says, within bounds and policies."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sink.wide import build
from tests.readings import PUBLIC_SOURCE
from widebeam.config.config import load
from widebeam.config.connector import Connector
from widebeam.plan import ahead
from widebeam.plan.ahead import Bounds
from widebeam.plan.make import make
from widebeam.setup import prepare as module
from widebeam.setup.prepare import prepare

NARROW = """
CREATE TABLE readings (ship text, channel text, at timestamp, kind text, f float8, i int8, s text,
    PRIMARY KEY (ship, channel, at));
INSERT INTO readings SELECT ship, ch.channel, '2024-01-01'::timestamp + n * interval '1 h', ch.kind, n, n, n
FROM unnest('{a,b}'::text[]) ship, generate_series(1, 20) n,
    (VALUES ('wind', 'F'), ('Azimuth', 'I'), ('état 상태', 'S'), ('fuel', 'F')) AS ch (channel, kind);
UPDATE readings SET kind = 'I' WHERE channel = 'fuel' AND ship = 'b' AND at = '2024-01-01 01:00';
ANALYZE readings;
"""

FILE = (
    PUBLIC_SOURCE
    + """
[source.value]
discriminator = "kind"
columns = {{ F = "f", I = "i", S = "s" }}
[target]
dsn = "{dsn}"
[sink]
{options}
"""
)

COLUMNS = "SELECT entity, key, column_name, column_type FROM widebeam.columns ORDER BY entity, ordinal"
TYPES = {"Azimuth": "bigint", "fuel": "double precision", "wind": "double precision", "état 상태": "text"}

Ask = Callable[[str], list[tuple[Any, ...]]]


class Crash(BaseException):
    pass


@pytest.fixture
def connect_it(database: str, tmp_path: Path) -> Callable[..., Connector]:
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(NARROW)

    def connect_it(options: str = "", name: str = "ahead") -> Connector:
        file = tmp_path / f"{name}.toml"
        file.write_text(FILE.format(dsn=database, options=options))
        return load(str(file), {})

    return connect_it


@pytest.fixture
def ask(database: str) -> Ask:
    def ask(query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(database, autocommit=True) as session:
            cursor = session.execute(query)
            return cursor.fetchall() if cursor.description else []

    return ask


def test_the_columns_are_there_as_planned_before_the_slot_is(connect_it, ask, monkeypatch):
    connector = connect_it()
    promised = [(each.entity, each.key, each.column, each.type) for each in make(connector)[0].plan.columns]
    seen: list[Any] = []
    slot = module._slot
    monkeypatch.setattr(module, "_slot", lambda *given: (seen.extend(ask(COLUMNS)), slot(*given)))
    prepare(connector)
    assert seen == promised
    assert [(key, kind) for entity, key, _, kind in seen if entity == '["b"]'] == list(TYPES.items())
    order = "SELECT attname::text FROM pg_attribute WHERE attrelid = 'wide.b'::regclass AND attnum > 0 ORDER BY attnum"
    assert [name for (name,) in ask(order)] == ["at", "_lsn", *TYPES]


def test_a_second_run_makes_nothing_and_does_not_look(connect_it, ask, monkeypatch):
    prepare(connect_it())
    before = ask(COLUMNS)
    ask("INSERT INTO readings VALUES ('a', 'late', '2025-01-01', 'F', 1, 1, 1)")
    monkeypatch.setattr(ahead, "look", lambda *_, **__: pytest.fail("looked again"))
    prepare(connect_it())
    assert ask(COLUMNS) == before


@pytest.mark.parametrize("when", ["while it looks", "while it makes them", "before the slot"])
def test_a_crash_half_way_goes_on_at_the_next_run(when, connect_it, ask, monkeypatch):
    place, name = {
        "while it looks": (ahead, "look"),
        "while it makes them": (build, "make"),
        "before the slot": (module, "_slot"),
    }[when]

    def dies(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(place, name, dies)
        with pytest.raises(Crash):
            prepare(connect_it())
    assert len(ask(COLUMNS)) == (8 if when == "before the slot" else 0)
    prepare(connect_it())
    assert {key: kind for _, key, _, kind in ask(COLUMNS)} == TYPES
    assert ask("SELECT cutoff IS NOT NULL FROM widebeam.connectors") == [(True,)]


@pytest.mark.parametrize("policy", ["overflow", "reject"])
def test_where_unknown_keys_are_not_to_become_columns_none_is_made_ahead(policy, connect_it, ask, caplog):
    caplog.set_level(logging.INFO)
    prepare(connect_it(f'unknown_key = "{policy}"'))
    assert ask(COLUMNS) == []
    assert "plan ahead --apply" in caplog.text


@pytest.mark.parametrize(("cap", "made"), [("columns_per_table = 3", 6), ("columns_per_hour = 5", 5)])
def test_the_caps_hold_for_columns_that_are_made_ahead(cap, made, connect_it, ask, caplog):
    caplog.set_level(logging.WARNING)
    prepare(connect_it(cap))
    assert len(ask(COLUMNS)) == made
    assert f"no column for {8 - made} keys (too_many_columns)" in caplog.text


def test_a_column_is_as_wide_as_its_readings_where_types_may_widen(connect_it, ask):
    prepare(connect_it('type_conflict = "widen"'))
    types = {(entity, key): kind for entity, key, _, kind in ask(COLUMNS)}
    assert types['["b"]', "fuel"] == "text" and types['["a"]', "fuel"] == "double precision"


def test_a_look_that_takes_too_long_is_given_up_and_the_run_goes_on(connect_it, ask, database, monkeypatch, caplog):
    caplog.set_level(logging.INFO)

    def behind_a_lock(*given: Any) -> None:
        with psycopg.connect(database) as holder:
            holder.execute("LOCK TABLE readings IN ACCESS EXCLUSIVE MODE")
            ahead.make_ahead(*given, Bounds(seconds=0.2))

    monkeypatch.setattr(module, "make_ahead", behind_a_lock)
    prepare(connect_it())
    assert ask(COLUMNS) == []
    assert ask("SELECT planned_at IS NOT NULL FROM widebeam.connectors") == [(True,)]
    assert "the keys of public.readings were not looked at: canceling statement due to statement timeout" in caplog.text


def test_more_pairs_than_the_bound_are_looked_at_by_a_sample(connect_it, ask, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG, "widebeam.plan.ahead")
    monkeypatch.setattr(module, "make_ahead", lambda *given: ahead.make_ahead(*given, Bounds(pairs=3)))
    prepare(connect_it())
    assert len(ask(COLUMNS)) == 8
    assert "looked at public.readings by reading all of it: it is small" in caplog.text
