"""Where the schema leaves something open, `widebeam init` takes what loses nothing, and asks."""

from __future__ import annotations

import tomllib
from typing import Any

import psycopg
import pytest

from cdc.source.session import connect
from widebeam.config.config import load
from widebeam.init.survey import survey


def run(database: str, script: str) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(script.encode())


def looked(database: str, *tables: str) -> str:
    with connect(database, autocommit=True) as session:
        return survey(session, database, tables)


def source(said: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(said)["source"]
    return found


def asked(said: str, option: str) -> bool:
    """Whether a question stands in the comment above an option."""
    lines = said.splitlines()
    at = next(at for at, line in enumerate(lines) if line.removeprefix("# ").startswith(f"{option} = "))
    above: list[str] = []
    while lines[at - 1].startswith("# ") and not lines[at - 1].startswith("# ASK:"):
        at -= 1
        above.append(lines[at])
    return lines[at - 1].startswith("# ASK:") and len(above) < 6


def test_columns_named_in_another_alphabet_are_columns_like_others(database):
    run(
        database,
        'CREATE TABLE "서울날씨" ("월" date, "항목" text, "값" numeric, PRIMARY KEY ("항목", "월"));'
        "INSERT INTO \"서울날씨\" SELECT date '2005-01-01' + n * 31, 's' || k, n"
        " FROM generate_series(1, 30) n, generate_series(1, 3) k",
    )
    found = source(looked(database))
    assert (found["key"], found["time"], found["value"]["columns"]) == ("항목", "월", ["값"])


@pytest.mark.parametrize("name", ["값", "größe", "#", "__", "٣"])
def test_a_column_of_any_name_beside_a_narrow_table_stops_nothing(database, name):
    run(
        database,
        "CREATE TABLE readings (site text, channel text, ts timestamptz, value float8,"
        " PRIMARY KEY (site, channel, ts));"
        "INSERT INTO readings SELECT 's', 'c' || n % 3, now() + n * interval '1 s', n FROM generate_series(1, 20) n;"
        f'CREATE TABLE "{name}" (note text, "{name}" float8, who text, at timestamptz, PRIMARY KEY (who, note, at));'
        f"INSERT INTO \"{name}\" SELECT 'm' || n % 7, n, 'w', now() + n * interval '1 s' FROM generate_series(1, 50) n",
    )
    assert "public.readings" in looked(database)


EPOCHS = {
    ("t", 1_451_624_400, 1): "epoch_s",
    ("t", 1_451_624_400_000, 1_000): "epoch_ms",
    ("unix_us", 1_451_624_400_000_000, 1_000_000): "epoch_us",
    ("ts", 1_451_624_400, 1): "epoch_s",
    ("time_ns", 1_704_067_200_000_000_000, 1_000_000): "epoch_ns",
}
ISO = "to_char(timestamp '2024-01-01' + n * interval '1250 ms', 'YYYY-MM-DD\"T\"HH24:MI:SS{}')"
TEXTS = {
    ISO.format('"Z"'): "YYYY-MM-DDTHH:MM:SSZ",
    ISO.format('.MS"Z"'): "YYYY-MM-DDTHH:MM:SS.fffZ",
    ISO.format('.US"+01:00"'): "YYYY-MM-DDTHH:MM:SS.ffffff+01:00",
    "(timestamp '2024-01-01' + n * interval '1250 ms')::text": "YYYY-MM-DD HH:MM:SS[.f]",
    "(timestamp '2024-01-01' + n * interval '1250 ms')::text || ' UTC'": "YYYY-MM-DD HH:MM:SS[.f] UTC",
}


def counted(column: str, first: str, more: str = "") -> str:
    return (
        f"CREATE TABLE x ({column} {more or 'bigint'} NOT NULL, device text NOT NULL, sensor text NOT NULL,"
        f" value float8, PRIMARY KEY (device, sensor, {column}));"
        f"INSERT INTO x SELECT {first}, 'd' || n % 3, 's' || k, n"
        " FROM generate_series(1, 60) n, generate_series(1, 5) k"
    )


@pytest.mark.parametrize(("column", "first", "step"), EPOCHS)
def test_numbers_of_our_years_are_the_time_in_any_unit(database, column, first, step):
    for kind in ("bigint", "numeric(22,2)"):
        run(database, "DROP TABLE IF EXISTS x;" + counted(column, f"{first} + n * {step}::bigint", kind))
        found = source(looked(database))
        wanted = EPOCHS[column, first, step]
        wanted = "epoch_float" if (kind, wanted) == ("numeric(22,2)", "epoch_s") else wanted
        assert (found["time"], found["time_form"]) == (column, wanted)
        assert (found["entity"], found["key"]) == (["device"], "sensor") and "several" not in found


def test_texts_that_are_all_written_in_one_way_are_the_time(database):
    for first, form in TEXTS.items():
        run(database, "DROP TABLE IF EXISTS x;" + counted("at", first, "text"))
        said = looked(database)
        found = source(said)
        assert (found["time"], found["time_form"], found["entity"]) == ("at", form, ["device"])
        assert ("# time_zone" in said) == (form[-1] in "S]") and "several" not in found


@pytest.mark.parametrize(
    ("column", "first", "kind"),
    [
        ("time_ns", "1704067200000000000 + n * 1000000001::bigint", "bigint"),
        ("at", "1704067200.1234567::float8 + n", "float8"),
        ("at", f"{ISO.format('+0')} || n % 2", "text"),
        ("at", ISO.format('.US789"Z"'), "text"),
    ],
)
def test_a_time_that_cannot_be_said_keeps_moments_apart_and_is_asked_about(database, column, first, kind):
    run(database, counted(column, first, kind))
    said = looked(database)
    found = source(said)
    assert (found["time"], found["entity"], found["key"]) == ([], ["device", column], "sensor")
    assert asked(said, "time") and "several" not in found
    run(database, "ALTER TABLE x DROP CONSTRAINT x_pkey")
    said = looked(database)
    found = source(said)
    if found["time"] == []:
        assert found["entity"] == ["device", column] and asked(said, "time")
    else:
        assert found["several"] == "refuse" and asked(said, "several")


def test_a_text_that_is_written_otherwise_is_named_and_so_is_a_fraction_that_may_be_left_out(database):
    run(database, counted("at", ISO.format('.US"Z"').replace("n *", "interval '1 us' + n *"), "text"))
    run(database, "UPDATE x SET at = 'soon' WHERE value = 7 AND sensor = 's1'")
    said = looked(database)
    assert source(said)["time_form"] == "YYYY-MM-DDTHH:MM:SS.ffffffZ"
    assert asked(said, "time") and "(soon)" in said and "[.ffffff]" in said


def test_a_measurement_that_is_a_part_of_the_key_is_a_name_and_no_reading(database):
    run(database, counted("at", "1451624400 + n").replace("device", "measurement"))
    found = source(looked(database))
    assert {*found["entity"], found["key"]} == {"measurement", "sensor"} and "several" not in found
    assert found["value"] == {"columns": ["value"]}


def test_two_rows_of_one_cell_are_no_choice_of_ours(database):
    run(database, counted("at", "1451624400 + n") + "; ALTER TABLE x DROP CONSTRAINT x_pkey; INSERT INTO x TABLE x")
    said = looked(database)
    assert source(said)["several"] == "refuse" and asked(said, "several")


@pytest.mark.parametrize("odd", ["0", "1767225600", "1767225600000000000", "9223372036854775807"])
def test_one_odd_time_among_a_thousand_is_named_and_hides_nothing(database, odd):
    run(
        database,
        "CREATE TABLE pointvalues (id bigserial PRIMARY KEY, datapointid int NOT NULL, pointvalue float8,"
        " ts bigint NOT NULL); CREATE INDEX ON pointvalues (datapointid, ts);"
        "INSERT INTO pointvalues (datapointid, pointvalue, ts)"
        " SELECT 1 + n % 4, n, 1767225600000 + n * 60000::bigint FROM generate_series(1, 1000) n;"
        f"INSERT INTO pointvalues (datapointid, pointvalue, ts) VALUES (1, 1, {odd})",
    )
    said = looked(database)
    assert (source(said)["time"], source(said)["time_form"]) == ("ts", "epoch_ms")
    assert asked(said, "time") and f"({odd})" in said and "1 of 1,001 values" in " ".join(said.split())


MEASURED = (
    "CREATE TABLE x (time timestamptz NOT NULL, {more} sensor text NOT NULL, {value} float8, unit text NOT NULL);"
    "INSERT INTO x SELECT timestamptz '2024-01-01Z' + n * interval '1 s', {first} 's' || k, n, {unit}"
    " FROM generate_series(1, 60) n, generate_series(1, 5) k"
)
ONE_EACH = "CASE WHEN k < 3 THEN 'bar' ELSE 'rpm' END"


@pytest.mark.parametrize(
    ("more", "first", "unit", "entity"),
    [
        ("", "", ONE_EACH, []),
        ("device text NOT NULL,", "'d' || n % 3,", ONE_EACH, ["device"]),
        ("device text NOT NULL,", "'d' || n % 3,", "'Einheit ' || k", ["device"]),
        ("", "", "'U' || k % 2", ["unit"]),
        ("", "", "CASE WHEN n < 30 THEN 'bar' ELSE 'psi' END", ["unit"]),
    ],
)
@pytest.mark.parametrize("value", ["value", "amount"])
def test_a_unit_of_measure_is_no_entity_where_it_tells_nothing_apart(database, more, first, unit, entity, value):
    run(database, MEASURED.format(more=more, first=first, unit=unit, value=value))
    said = looked(database, "public.x")
    found = source(said)
    assert (found["entity"], found["key"], found["value"]) == (entity, "sensor", {"columns": [value]})
    assert asked(said, "entity") and "and indexed" not in said


def devices(names: list[str], first: str) -> str:
    """A table for each device, with the same sensors; `first` is the first moment of table number i."""
    made = f"CREATE TABLE {names[0]} (ts timestamptz, sensor text, value float8, PRIMARY KEY (sensor, ts));"
    made += "".join(f"CREATE TABLE {name} (LIKE {names[0]} INCLUDING ALL);" for name in names[1:])
    return made + "".join(
        f"INSERT INTO {name} SELECT timestamptz '2026-01-01Z' + {first.format(i=i)} + n * interval '1 min', 's' || k, n"
        " FROM generate_series(1, 60) n, generate_series(1, 3) k;"
        for i, name in enumerate(names)
    )


@pytest.mark.parametrize("first", ["{i} * interval '1 s'", "interval '0'", "{i} * interval '30 min'"])
def test_a_table_for_each_device_keeps_the_devices_apart(database, tmp_path, first):
    run(database, devices(["dev_1", "dev_2", "dev_3"], first))
    said = looked(database)
    found = source(said)
    assert (found["tables"], found["table_pattern"]) == (["public.dev_%"], "^(.+)$")
    assert (found["entity"], found["key"], tomllib.loads(said)["target"]["layout"]) == (
        ["table"],
        "sensor",
        "per_entity",
    )
    assert asked(said, "entity")
    (tmp_path / "m.toml").write_text(said)
    assert load(str(tmp_path / "m.toml"), {}).options.source.entity == ["table"]


def test_tables_that_follow_each_other_are_one_history_and_asked_about(database):
    run(database, devices(["part_1", "part_2"], "{i} * interval '59 min'"))
    said = looked(database)
    assert source(said)["entity"] == [] and asked(said, "tables")


def test_tables_of_months_are_one_history_without_a_question(database):
    run(database, devices(["log_2026_01", "log_2026_02"], "{i} * interval '59 min'"))
    said = looked(database)
    assert source(said)["entity"] == [] and not asked(said, "tables")


PARENT = (
    "CREATE TABLE m (e text, k text, t timestamptz, v float8, PRIMARY KEY (e, k, t));"
    "CREATE TABLE {one} () INHERITS (m); CREATE TABLE {two} () INHERITS (m);"
    "ALTER TABLE {one} ADD PRIMARY KEY (e, k, t); ALTER TABLE {two} ADD PRIMARY KEY (e, k, t);"
    "INSERT INTO {one} SELECT 'a', 'k' || n % 4, timestamptz '2026-01-01Z' + n * interval '1 min', n"
    " FROM generate_series(1, 50) n;"
    "INSERT INTO {two} SELECT e, k, t + interval '1 day', v FROM {one};"
)


@pytest.mark.parametrize("asked_for", [(), ("public.m",)])
@pytest.mark.parametrize(
    ("one", "two", "change", "tables"),
    [
        ("m_c1", "m_c2", "SELECT", ["public.m_%"]),
        ("m_c1", "m_c2", "TRUNCATE m_c2", ["public.m_%"]),
        ("spring", "autumn", "SELECT", ["public.autumn", "public.spring"]),
        ("m_c1", "m_c2", "CREATE TABLE m_else (LIKE m)", ["public.m_c1", "public.m_c2"]),
    ],
)
def test_inheritance_children_are_proposed_together_and_called_so(database, one, two, change, tables, asked_for):
    run(database, f"{PARENT.format(one=one, two=two)} {change}")
    said = looked(database, *asked_for)
    assert (source(said)["tables"], source(said)["entity"]) == (tables, ["e"])
    assert "public.m is the parent by inheritance" in " ".join(said.replace("# ", "").split())


def test_one_inheritance_child_that_is_asked_for_says_what_is_beside_it(database):
    run(database, PARENT.format(one="m_c1", two="m_c2"))
    said = looked(database, "public.m_c1")
    assert source(said)["tables"] == ["public.m_c1"] and asked(said, "tables") and "public.m_c2?" in said


FROST = (
    'CREATE TABLE "DATASTREAMS" ("ID" bigint PRIMARY KEY, "NAME" text);'
    'CREATE TABLE "OBSERVATIONS" ("ID" bigserial PRIMARY KEY, "DATASTREAM_ID" bigint REFERENCES "DATASTREAMS",'
    ' "MULTI_DATASTREAM_ID" bigint, "PHENOMENON_TIME_START" timestamptz, "PHENOMENON_TIME_END" timestamptz,'
    ' "RESULT_TIME" timestamptz, "RESULT_TYPE" smallint, "RESULT_NUMBER" float8, "RESULT_STRING" text,'
    ' "RESULT_JSON" jsonb); CREATE INDEX ON "OBSERVATIONS" ("DATASTREAM_ID", "PHENOMENON_TIME_START");'
    "INSERT INTO \"DATASTREAMS\" SELECT i, 'ds' || i FROM generate_series(1, 4) i;"
    'INSERT INTO "OBSERVATIONS" ("DATASTREAM_ID", "PHENOMENON_TIME_START", "PHENOMENON_TIME_END", "RESULT_NUMBER")'
    " SELECT d, now() + n * interval '1 min', now() + n * interval '1 min', d"
    " FROM generate_series(1, 3) d, generate_series(1, 60) n;"
)
MULTI = (
    'INSERT INTO "OBSERVATIONS" ("MULTI_DATASTREAM_ID", "PHENOMENON_TIME_START", "PHENOMENON_TIME_END", "RESULT_JSON")'
    " VALUES (1, now(), now(), '[1.2]');"
)
REPEATED = 'UPDATE "OBSERVATIONS" SET "RESULT_STRING" = "RESULT_NUMBER"::text;'


@pytest.mark.parametrize("change", ["SELECT", MULTI, REPEATED, MULTI + REPEATED])
def test_observations_of_sensorthings_are_proposed_with_questions(database, change):
    run(database, FROST + change)
    said = looked(database, "public.OBSERVATIONS")
    found = source(said)
    assert (found["time"], found["key"], found["entity"]) == ("PHENOMENON_TIME_START", "NAME", [])
    assert found["dictionary"]["column"] == "DATASTREAM_ID"
    assert asked(said, "time") and asked(said, "entity") == (MULTI in change)
    assert ('# where = { DATASTREAM_ID = ["IS NOT NULL"] }' in said) == (MULTI in change)
    assert found["value"].get("measures", False) == (REPEATED in change)


@pytest.mark.parametrize("own", ["", "name text NOT NULL, "])
def test_names_of_owners_of_keys_and_of_the_table_s_own_are_told_apart(database, own):
    run(
        database,
        "CREATE TABLE things (id int PRIMARY KEY, name text UNIQUE);"
        "CREATE TABLE streams (id int PRIMARY KEY, name text, thing_id int NOT NULL REFERENCES things);"
        "INSERT INTO things SELECT n, 'thing' || n FROM generate_series(1, 2) n;"
        "INSERT INTO streams SELECT n, 's' || n / 2, 1 + n % 2 FROM generate_series(2, 5) n;"
        f"CREATE TABLE observations ({own}stream_id int NOT NULL REFERENCES streams, at timestamptz NOT NULL,"
        f" result float8, PRIMARY KEY ({own and 'name, '}stream_id, at));"
        f"INSERT INTO observations SELECT {own and repr('ship') + ', '}k, timestamptz '2024-01-01Z' + n"
        " * interval '1 min', n FROM generate_series(1, 20) n, generate_series(2, 5) k",
    )
    found = source(looked(database))
    names = found["entity"], found["key"]
    assert names == ((["name"], ["streams_name", "stream_id"]) if own else (["things_name"], "name"))
    wanted = 'd."name" AS "streams_name"' if own else 'd."name", o."name" AS "things_name"'
    assert wanted in found["dictionary"]["query"]


@pytest.mark.parametrize(("kind", "value"), [("float8", "1.8e9 + n"), ("timestamptz", "now()"), ("text", "'x'")])
def test_rows_whose_time_is_in_another_column_are_asked_about(database, kind, value):
    run(
        database,
        f"CREATE TABLE readings (id bigserial PRIMARY KEY, name text, at timestamptz, other {kind}, value int,"
        "UNIQUE (name, at));"
        "INSERT INTO readings (name, at, value) SELECT 's' || n % 3, now() - n * interval '1 min', n"
        " FROM generate_series(1, 40) n;"
        f"INSERT INTO readings (name, other, value) SELECT 's' || n % 3, {value}, n FROM generate_series(1, 9) n",
    )
    said = looked(database)
    assert source(said)["time"] == "at"
    plain = " ".join(said.replace("\n#", " ").split())
    wanted = 'time = ["at", "other"]' + (' with time_form = ["native", "epoch_float"]' if kind == "float8" else "")
    assert (
        f"9 of 49 rows that were looked at, which have none in at: is it other? Then set {wanted}, and" in plain
    ) == (kind != "text")


def test_what_the_schema_leaves_open_about_names_and_an_empty_table_is_asked(database):
    run(
        database,
        "CREATE TABLE patients (id int PRIMARY KEY, name text); CREATE TABLE kinds (id int PRIMARY KEY, name text);"
        "INSERT INTO kinds SELECT n, 'kind' || n FROM generate_series(1, 5) n;"
        "CREATE TABLE x (patient_id int REFERENCES patients, kind_id int REFERENCES kinds, at text, value float8,"
        " PRIMARY KEY (patient_id, kind_id, at))",
    )
    said = looked(database, "public.x")
    assert (source(said)["time"], asked(said, "time")) == ([], True)
    run(
        database,
        "INSERT INTO patients VALUES (1, 'Jo'); INSERT INTO x SELECT 1, k, to_char(timestamp '2024-01-01' + n"
        " * interval '1 s', 'YYYY-MM-DD HH24:MI:SS'), n FROM generate_series(1, 9) n, generate_series(1, 5) k",
    )
    said = looked(database)
    assert (source(said)["key"], source(said)["time_form"]) == ("name", "YYYY-MM-DD HH:MM:SS")
    assert asked(said, "entity") and "public.patients" in " ".join(said.split())


def test_which_of_two_columns_is_measured_is_asked_where_their_names_do_not_tell(database):
    run(database, counted("at", "1451624400 + n").replace("device", "foo").replace("sensor", "bar"))
    said = looked(database, "public.x")
    assert {*source(said)["entity"], source(said)["key"]} == {"foo", "bar"} and asked(said, "key")


def test_a_column_of_any_name_that_is_set_where_no_value_is_holds_readings_too(database):
    run(
        database,
        counted("at", "1451624400 + n") + "; ALTER TABLE x ADD foo text, ADD bar text;"
        "UPDATE x SET foo = 'on', value = NULL WHERE sensor = 's1'; UPDATE x SET bar = 'beside' WHERE value > 9",
    )
    assert source(looked(database))["value"] == {"columns": ["value", "foo"]}


def test_tables_of_the_same_columns_that_numbers_do_not_tell_apart_are_asked_about(database):
    run(database, devices(["dev_a1", "dev_b2"], "interval '0'"))
    said = looked(database)
    assert source(said)["table"] == "public.dev_a1" and asked(said, "table")
    assert "--table public.dev_a1 --table public.dev_b2" in " ".join(said.replace("#", "").split())
    assert source(looked(database, "public.dev_a1", "public.dev_b2"))["entity"] == ["table"]


def test_a_value_and_its_unit_are_known_in_other_languages(database):
    run(
        database,
        'CREATE TABLE "측정" ("선박" text, "채널" text, "시각" timestamptz, "값" float8, "단위" text NOT NULL,'
        ' PRIMARY KEY ("선박", "채널", "시각")); INSERT INTO "측정" SELECT \'배\', \'속도\' || n % 5,'
        " timestamptz '2026-01-01Z' + n * interval '1 min', n, 'kn' FROM generate_series(1, 60) n",
    )
    assert source(looked(database))["value"] == {"columns": ["값"]}


def test_what_is_set_in_every_row_is_no_reading_where_another_column_says_which_of_the_others_is(database):
    run(
        database,
        "CREATE TABLE x (site text, tag text, ts timestamptz, q int, d float8, s text, kind char(1),"
        " PRIMARY KEY (site, tag, ts)); INSERT INTO x SELECT 'a', 't' || n % 4, timestamptz '2026-01-01Z' + n *"
        " interval '1 h', 192, CASE WHEN n % 2 = 0 THEN n END,"
        " CASE WHEN n % 2 = 1 THEN 's' END, CASE n % 2 WHEN 0 THEN 'd'"
        " ELSE 's' END FROM generate_series(1, 60) n",
    )
    said = looked(database)
    assert source(said)["value"] == {"discriminator": "kind", "columns": {"d": "d", "s": "s"}}
    assert asked(said, "discriminator")


@pytest.mark.parametrize("unit", ["CASE WHEN n < 30 THEN 'C' ELSE 'F' END", "'C'"])
def test_units_that_a_key_mixes_are_asked_about_though_a_unique_index_tells_its_cells_apart(database, unit):
    run(
        database,
        MEASURED.format(more="", first="", unit=unit, value="value") + "; ALTER TABLE x ADD PRIMARY KEY (sensor, time)",
    )
    said = looked(database)
    assert source(said)["key"] == "sensor"
    assert (
        'are in several units (C, F): are they to share a column? Else key = ["sensor", "unit"]'
        in " ".join(said.replace("#", "").split())
    ) is (unit != "'C'")
