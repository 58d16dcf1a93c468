"""Verify finds every kind of damage, and nothing else, beside a live writer too."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, TypeAlias

import psycopg
import pytest

from cdc.source.session import connect
from tests.beside import beside
from tests.plant import Plant
from tests.readings import SOURCE
from tests.waiting import PATIENCE
from widebeam.verify import barrier
from widebeam.verify.proof import Difference, VerifySettings
from widebeam.verify.verify import verify

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

FILE = (
    SOURCE
    + """
[source.value]
discriminator = "kind"
columns = {{ F = "f", I = "i", T = "t", B = "b", N = "n", C = "c", J = "j" }}
[target]
dsn = "{dsn}"
layout = "{layout}"
[sink]
on_delete = "{on_delete}"
"""
)

TABLE = """
CREATE SCHEMA tenant;
CREATE TABLE tenant.readings (ship text, at timestamp, channel text, kind text, f float8, i int8, t text, b bool,
    n numeric, c char(5), j jsonb, PRIMARY KEY (ship, channel, at));
CREATE INDEX ON tenant.readings (at);
INSERT INTO tenant.readings (ship, at, channel, kind, f, i, t, b, n, c, j)
SELECT ship, at, ch.*, random() * 10, (random() * 10) :: int8, E'a\\tb\\\\N' || ship, random() < 0.5, 1.50,
    'ab', '{"a": [1]}'
FROM unnest('{a,b}'::text[]) AS ship, generate_series('2024-01-01'::timestamp, '2024-01-03', '1 hour') AS at,
    (VALUES ('speed', 'F'), ('count', 'I'), ('state', 'T'), ('on', 'B'), ('exact', 'N'), ('padded', 'C'), ('json', 'J'))
        AS ch (channel, kind);
INSERT INTO tenant.readings (ship, at, channel, kind, f) VALUES
    ('a', 'infinity', 'speed', 'F', 'NaN'), ('a', '-infinity', 'speed', 'F', '-Infinity'),
    ('a', '0044-03-15 BC', 'speed', 'F', 0.1), ('a', '2024-01-01 00:30', 'speed', 'F', NULL);
ANALYZE tenant.readings;
"""

ROWS = 2 * 49 * 7 + 4


class Stage(Plant):
    """A connector whose history is filled in, and no stream running."""

    def __init__(self, dsn: str, file: Path, **options: str) -> None:
        super().__init__(dsn, file, FILE.format(dsn=dsn, **{"layout": "per_entity", "on_delete": "clear", **options}))
        self.execute(TABLE)
        self.prepare()
        self.backfill()
        self.settings = VerifySettings(self.ready.mapping, dsn, dsn, chunk_rows=200, patience=0.05)


@pytest.fixture
def stage(database: str, tmp_path: Path) -> Callable[..., Stage]:
    return lambda **options: Stage(database, tmp_path / "ships.toml", **options)


@pytest.mark.parametrize("layout", ["per_entity", "single"])
def test_a_right_copy_of_all_types_has_no_difference(stage: Callable[..., Stage], layout: str) -> None:
    report = verify(stage(layout=layout).settings)
    assert report.differing == []
    assert (report.rows, report.cells, report.differences) == (ROWS, ROWS - 1, 0)
    assert report.right
    assert report.ranges > 3
    json.dumps(report.as_dict())


@pytest.mark.parametrize(
    ("layout", "damage", "difference"),
    [
        (
            "per_entity",
            """UPDATE wide.a SET padded = 'x' WHERE created = '2024-01-02'""",
            Difference(("a",), ("2024-01-02 00:00:00",), "padded", "ab   ", "x    "),
        ),
        (
            "per_entity",
            """UPDATE wide.b SET exact = NULL WHERE created = '2024-01-02'""",
            Difference(("b",), ("2024-01-02 00:00:00",), "exact", "1.50", None),
        ),
        (
            "single",
            """UPDATE wide.ships SET exact = 1.5 WHERE created = '2024-01-02' AND ship = 'b'""",
            Difference(("b",), ("2024-01-02 00:00:00",), "exact", "1.50", "1.5"),
        ),
        (
            "per_entity",
            """INSERT INTO wide.a (created, _lsn, "on") VALUES ('1999-01-01', '0/0', true)""",
            Difference(("a",), ("1999-01-01 00:00:00",), "on", None, "t"),
        ),
        (
            "per_entity",
            """DELETE FROM wide.a WHERE created = '-infinity'""",
            Difference(("a",), ("-infinity",), "speed", "-Infinity", None),
        ),
        (
            "per_entity",
            """UPDATE wide.a SET speed = 1 WHERE created = 'infinity'""",
            Difference(("a",), ("infinity",), "speed", "NaN", "1"),
        ),
    ],
)
def test_a_damaged_cell_is_found_and_named(
    stage: Callable[..., Stage], layout: str, damage: str, difference: Difference
) -> None:
    made = stage(layout=layout)
    for name in ("a", "b", "ships"):
        damage = damage.replace(f"wide.{name} ", f'wide."{name}__1" ')
    made.execute(damage.replace("created", "at"))
    report = verify(made.settings)
    assert (report.differing, report.differences, report.right) == ([difference], 1, False)


def test_every_cell_is_counted_even_if_only_some_are_named(stage: Callable[..., Stage]) -> None:
    made = stage()
    made.execute("DELETE FROM wide.a__1")
    report = verify(replace(made.settings, named=5))
    assert len(report.differing) == 5
    assert report.differences == ROWS - 1 - 7 * 49


def test_cells_in_quarantine_are_counted_apart(stage: Callable[..., Stage]) -> None:
    made = stage()
    with made.streaming():
        made.execute(
            "INSERT INTO tenant.readings (ship, at, channel, kind, f) VALUES ('a', '2024-01-02', '', 'F', 1.5)"
        )
        report = verify(replace(made.settings, patience=PATIENCE))
    assert (report.quarantined, report.differences, report.fenced) == (1, 0, True)


def test_without_a_stream_a_late_change_is_a_difference_and_the_report_says_that_no_barrier_passed(
    stage: Callable[..., Stage],
) -> None:
    made = stage()
    made.execute("UPDATE tenant.readings SET f = 77 WHERE ship = 'a' AND at = '2024-01-02' AND channel = 'speed'")
    report = verify(made.settings)
    assert (report.fenced, report.differences) == (False, 1)


def test_where_deletes_are_ignored_only_what_the_source_still_has_is_compared(stage: Callable[..., Stage]) -> None:
    made = stage(on_delete="ignore")
    made.execute("DELETE FROM tenant.readings WHERE at < '2024-01-02'")
    made.execute("DELETE FROM tenant.readings WHERE channel = 'count' AND ship = 'b'")
    assert verify(made.settings).right
    made.execute("UPDATE wide.a__1 SET speed = -1 WHERE at = '2024-01-02'")
    assert [each.wide for each in verify(made.settings).differing] == ["-1"]


def test_beside_a_live_writer_nothing_is_taken_for_different(stage: Callable[..., Stage]) -> None:
    made = stage()

    def write(stop: Event) -> None:
        with connect(made.dsn, autocommit=True) as session:
            while not stop.is_set():
                session.execute("UPDATE tenant.readings SET f = random(), i = i + 1 WHERE at >= '2024-01-02 20:00'")
                session.execute("DELETE FROM tenant.readings WHERE at = '2024-01-02 23:00'")
                # Another value each time: of one that is there or not in turns, verify may twice see the same two.
                session.execute("INSERT INTO tenant.readings VALUES ('b', '2024-01-02 23:00', 'speed', 'F', random())")

    with made.streaming():
        with beside(write):
            for _ in range(2):
                report = verify(replace(made.settings, patience=PATIENCE))
                assert (report.differing, report.differences, report.fenced) == ([], 0, True)
        made.execute("UPDATE wide.a__1 SET exact = 0 WHERE at = '2024-01-01'")
        assert verify(replace(made.settings, patience=PATIENCE)).differences == 1


def test_a_value_that_goes_and_comes_back_is_in_motion(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stage()
    set_speed = "SET f = {} WHERE ship = 'a' AND at = '2024-01-02' AND channel = 'speed'"
    made.execute("UPDATE wide.a__1 SET speed = -1 WHERE at = '2024-01-02'")
    turns = iter(range(1000))

    def change_meanwhile(*_: object) -> bool:
        made.execute(f"UPDATE tenant.readings {set_speed.format(next(turns))}")
        return True

    monkeypatch.setattr(barrier, "wait", change_meanwhile)
    report = verify(made.settings)
    assert (report.in_motion, report.differences, report.right) == (1, 0, False)
