"""Names that look like something else to a program on the way: none of them is read as anything but a name."""

from __future__ import annotations

from threading import Event

import pytest

from snapshot.run import Backfill, BackfillSettings
from tests.plant import Plant
from widebeam.gap.cross import cross
from widebeam.gap.repair import RangeRepair

DOTTED = """
[source]
dsn = "{dsn}"
tables = ['"a.b".c', "a.b.c"]
entity = ["e"]
time = "at"
key = "k"
[source.value]
columns = ["v"]
[target]
dsn = "{dsn}"
[backfill]
chunk_rows = 2
"""


def test_two_tables_whose_names_join_to_the_same_words_are_two(database, tmp_path):
    plant = Plant(database, tmp_path / "dots.toml", DOTTED.format(dsn=database))
    for name, entity in (('"a.b".c', "one"), ('a."b.c"', "two")):
        plant.execute(
            f"CREATE SCHEMA {name.rpartition('.')[0] if entity == 'one' else 'a'};"
            f"CREATE TABLE {name} (e text, at timestamptz, k text, v float8, PRIMARY KEY (e, at, k));"
            f"INSERT INTO {name} SELECT '{entity}', '2024-01-01'::timestamptz + n * interval '1 h', 'x', n"
            " FROM generate_series(1, 5) AS n"
        )
    plant.prepare()
    with plant.streaming():
        plant.backfill()
        plant.execute("""UPDATE "a.b".c SET v = v + 10; DELETE FROM a."b.c" WHERE v > 3""")
        assert plant.verify().differences == 0
    assert plant.execute("SELECT x FROM wide.one ORDER BY 1") == [(11.0,), (12.0,), (13.0,), (14.0,), (15.0,)]
    assert plant.execute("SELECT x FROM wide.two ORDER BY 1") == [(1.0,), (2.0,), (3.0,)]


PERCENT = """
[source]
dsn = "{dsn}"
table = "pl%s.na%me %(v)s"
entity = ["e%s"]
time = "at%"
key = "k%(v)s"
publication = "{publication}"
{several}
[source.value]
columns = ["v%", "w%s"]
[target]
dsn = "{dsn}"
schema = "wi%de"
layout = "{layout}"
name = "{name}"
[sink]
on_truncate = "apply"
type_conflict = "widen"
[backfill]
chunk_rows = 2
"""
NARROW = """
CREATE SCHEMA "pl%s";
CREATE DOMAIN "pl%s"."do%s" AS float8;
CREATE TABLE "pl%s"."na%me %(v)s" ("e%s" text, "at%" timestamptz, "k%(v)s" text, "v%" "pl%s"."do%s", "w%s" text,
    PRIMARY KEY ("e%s", "at%", "k%(v)s"));
"""
READINGS = """
INSERT INTO "pl%s"."na%me %(v)s" SELECT e, '2024-01-01'::timestamptz + n * interval '1 h', k, n, NULL
FROM generate_series({}, {}) AS n, unnest(ARRAY['tank 50%', '%s']) AS e, unnest(ARRAY['50%s', '%(v)s', 'a%%']) AS k;
"""
CHANGES = """
UPDATE "pl%s"."na%me %(v)s" SET "v%" = "v%" + 0.5 WHERE "k%(v)s" = '50%s';
UPDATE "pl%s"."na%me %(v)s" SET "v%" = NULL, "w%s" = '5 %s' WHERE "k%(v)s" = 'a%%' AND "v%" = 2;
DELETE FROM "pl%s"."na%me %(v)s" WHERE "k%(v)s" = '%(v)s' AND "v%" > 3;
"""


@pytest.fixture(params=["per_entity", "single", "several"])
def percent(request, database, tmp_path):
    """A connector all of whose names hold what psycopg takes for places of parameters."""
    layout, several = {"several": ("per_entity", 'several = "last"')}.get(request.param, (request.param, ""))
    name = "t% {connector}" if layout == "single" else "t% {entity}"
    options = {"{dsn}": database, "{publication}": f"p%s {tmp_path.name}", "{several}": several, "{layout}": layout,
               "{name}": name}  # fmt: skip
    text = PERCENT
    for place, value in options.items():
        text = text.replace(place, value)
    plant = Plant(database, tmp_path / "percent.toml", text)
    plant.execute(NARROW)
    plant.execute(READINGS.format(1, 4))
    return plant


def test_a_percent_sign_in_any_name_is_one_on_every_path(percent):
    percent.prepare()
    with percent.streaming():
        percent.backfill()
        percent.execute(CHANGES)
        assert percent.verify().differences == 0
        percent.execute('TRUNCATE "pl%s"."na%me %(v)s"')
        percent.execute(READINGS.format(5, 5))
        report = percent.verify()
    assert (report.differences, report.cells) == (0, 6)


def test_a_gap_is_crossed_beside_names_with_percent_signs(percent):
    percent.prepare()
    percent.backfill()
    percent.execute("SELECT pg_drop_replication_slot(slot) FROM widebeam.connectors")
    percent.execute(CHANGES)
    cross(percent.connector)
    Backfill(
        BackfillSettings(
            percent.ready.mapping,
            percent.dsn,
            percent.dsn,
            repairs=lambda *both: RangeRepair(*both, percent.ready.mapping),
        )
    ).run(Event())
    with percent.streaming():
        percent.execute(READINGS.format(5, 5))
        assert percent.verify().differences == 0


PARTS = """
[source]
dsn = "{dsn}"
table = "public.n"
entity = ["e", "f"]
time = "at"
key = ["k", "l"]
key_separator = "-"
[source.value]
columns = ["v"]
[target]
dsn = "{dsn}"
"""
MET = """
INSERT INTO n SELECT e, f, '2024-01-0{day}', k, l, row_number() OVER () + 10 * {day}
FROM (VALUES ('x_y', 'z'), ('x', 'y_z'), ('X', 'y_z')) AS entities (e, f),
    (VALUES ('a-b', 'c'), ('a', 'b-c'), ('A-b', 'c'), ('e\u0301', 'c'), ('\u00e9', 'c')) AS keys (k, l);
"""


def test_entities_and_keys_whose_parts_join_to_the_same_words_have_columns_and_tables_of_their_own(database, tmp_path):
    plant = Plant(database, tmp_path / "parts.toml", PARTS.format(dsn=database))
    plant.execute(
        "CREATE TABLE n (e text, f text, at timestamptz, k text, l text, v int, PRIMARY KEY (e, f, at, k, l));"
        + MET.format(day=1)
    )
    plant.prepare()
    with plant.streaming():
        plant.backfill()
        plant.execute(MET.format(day=2))
        report = plant.verify()
    assert (report.differences, report.quarantined) == (0, 0)
    assert plant.execute("SELECT count(*), count(DISTINCT entity) FROM widebeam.columns") == [(15, 3)]
    views = plant.execute("SELECT DISTINCT schema_name, view_name FROM widebeam.tables")
    assert len(views) == 3
    assert {"a\\-b-c", "a-b\\-c"} <= {key for (key,) in plant.execute("SELECT key FROM widebeam.columns")}


def test_columns_of_a_connector_from_before_parts_were_told_apart_keep_their_names(database, tmp_path):
    plant = Plant(database, tmp_path / "before.toml", PARTS.format(dsn=database))
    plant.execute(
        "CREATE TABLE n (e text, f text, at timestamptz, k text, l text, v int, PRIMARY KEY (e, f, at, k, l));"
        "INSERT INTO n VALUES ('x', 'y', '2024-01-01', 'a', 'b-c', 1)"
    )
    plant.prepare()
    plant.execute("UPDATE widebeam.sources SET escapes = false")  # as the control schema is brought up to date
    plant.execute("UPDATE widebeam.columns SET key = 'a-b-c', column_name = 'a-b-c'")
    plant.execute('ALTER TABLE wide.x_y__1 RENAME COLUMN "a-b\\-c" TO "a-b-c"')
    plant.prepare()
    with plant.streaming():
        plant.backfill()
        plant.execute("INSERT INTO n VALUES ('x', 'y', '2024-01-02', 'a', 'b-c', 2)")
        assert plant.verify().differences == 0
    assert plant.execute("SELECT array_agg(key) FROM widebeam.columns") == [(["a-b-c"],)]
