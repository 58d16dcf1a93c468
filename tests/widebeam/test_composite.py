"""Composite values whose fields are NULL, on each way to a wide table: they are cells as others are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cdc.source.session import connect
from sink.target import open_target
from snapshot.chunks.plan import Chunk
from tests.plant import Plant
from widebeam.gap.repair import RangeRepair
from widebeam.quarantine.retry import Retry
from widebeam.quarantine.store import Choice

FILE = """
[source]
dsn = "{dsn}"
table = "public.n"
entity = ["e"]
time = "t"
key = "k"
{where}
[source.value]
columns = ["v", "s"]
[target]
dsn = "{dsn}"
[sink]
unknown_key = "{unknown_key}"
type_conflict = "{type_conflict}"
"""

TABLE = """
CREATE TYPE pos AS (lat float8, alt float8);
CREATE DOMAIN place AS pos;
CREATE TABLE n (e text, t timestamptz, k text, v {type}, s text, PRIMARY KEY (e, t, k));
INSERT INTO n VALUES ('s1', '2026-01-01', 'p', '(1,)'), ('s1', '2026-01-01', 'q', '(2,3)'),
    ('s1', '2026-01-02', 'p', '(,)'), ('s1', '2026-01-02', 'q', '(5,6)');
"""

WHERES = ["", 'where = { e = ["s1"] }']
"""A rule that the databases can be asked in, and one that is read row by row."""


@pytest.fixture
def plant(database: str, tmp_path: Path) -> Callable[..., Plant]:
    def made(type_: str = "pos", **options: str) -> Plant:
        given = {"where": "", "unknown_key": "add_column", "type_conflict": "quarantine", "dsn": database, **options}
        made = Plant(database, tmp_path / "places.toml", FILE.format(**given))
        made.execute(TABLE.format(type=type_))
        made.prepare()
        made.backfill()
        return made

    return made


def wide(plant: Plant) -> list[Any]:
    return plant.execute("SELECT extract(day FROM t AT TIME ZONE 'UTC')::int, p::text, q::text FROM wide.s1 ORDER BY t")


@pytest.mark.parametrize("where", WHERES)
@pytest.mark.parametrize("type_", ["pos", "place"])
def test_a_row_that_holds_only_fields_of_null_stays_and_verify_sees_it(
    plant: Callable[..., Plant], where: str, type_: str
) -> None:
    places = plant(type_, where=where)
    with places.streaming():
        places.execute("DELETE FROM n WHERE k = 'q'")
    assert wide(places) == [(1, "(1,)", None), (2, "(,)", None)]
    assert (report := places.verify(0)).right
    assert report.cells == 2
    places.execute("UPDATE wide.s1__1 SET p = CASE WHEN t < '2026-01-02' THEN '(999,)'::pos END")
    assert places.verify(0).differences == 2
    with places.streaming():
        places.execute("DELETE FROM n WHERE k = 'p'")
    assert wide(places) == []


@pytest.mark.parametrize("where", WHERES)
def test_a_gap_brings_them_over(plant: Callable[..., Plant], where: str) -> None:
    places = plant(where=where)
    places.execute("UPDATE n SET v = '(42,)' WHERE t = '2026-01-01' AND k = 'p'")
    places.execute("INSERT INTO n VALUES ('s1', '2026-01-03', 'p', '(,)')")
    places.execute(
        "INSERT INTO widebeam.chunks (connector, chunk, source, estimated) VALUES ('places', 9, 'public.n', 0)"
    )
    with connect(places.dsn, autocommit=True) as source, open_target(places.dsn, "test") as target:
        RangeRepair(source, target, places.ready.mapping)(Chunk(9, None, None, 0), 0.0)
    assert wide(places) == [(1, "(42,)", "(2,3)"), (2, "(,)", "(5,6)"), (3, "(,)", None)]


def test_an_overflow_that_becomes_empty_leaves_the_row_of_a_value_of_nulls(plant: Callable[..., Plant]) -> None:
    places = plant()
    places.configure(FILE.format(dsn=places.dsn, where="", unknown_key="overflow", type_conflict="quarantine"))
    places.prepare()
    places.execute("INSERT INTO n VALUES ('s1', '2026-01-02', 'new', '(,)'), ('s1', '2026-01-02', 'newer', '(8,)')")
    with places.streaming():
        places.execute("UPDATE n SET v = '(,)' WHERE k = 'new'")
    assert places.verify(0).right
    with places.streaming():
        places.execute("DELETE FROM n WHERE k <> 'p'")
    assert wide(places) == [(1, "(1,)", None), (2, "(,)", None)]
    assert places.verify(0).right


def test_they_are_texts_once_their_column_is_widened(plant: Callable[..., Plant]) -> None:
    places = plant(type_conflict="widen")
    with places.streaming():
        places.execute("INSERT INTO n VALUES ('s1', '2026-01-03', 'p', NULL, 'none')")
    assert [row[1] for row in wide(places)] == ["(1,)", "(,)", "none"]
    assert places.verify(0).right


def test_a_retry_of_the_quarantine_places_them(plant: Callable[..., Plant]) -> None:
    places = plant()
    with places.streaming():
        places.execute("INSERT INTO n VALUES ('s1', '2026-01-03', 'p', '(,)', 'none')")
    assert places.execute("SELECT reason FROM widebeam.quarantine") == [("two_values",)]
    places.execute("UPDATE n SET s = NULL WHERE t = '2026-01-03'")
    with connect(places.dsn, autocommit=True) as source, open_target(places.dsn, "test") as target:
        Retry(source, target, places.ready.mapping).run(Choice(places.connector.name))
    assert wide(places)[-1] == (3, "(,)", None)
