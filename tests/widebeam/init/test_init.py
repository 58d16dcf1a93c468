"""Ten public schemas, each with its readings: `widebeam init` has to see what they are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdc.source.session import connect
from tests.looking import writes
from widebeam.config.config import load
from widebeam.init.document import ASK
from widebeam.init.survey import NothingNarrow, survey

SCHEMAS = Path(__file__).parents[2] / "schemas"
CONNECTORS = Path(__file__).parents[3] / "connectors"

SOURCE: dict[str, dict[str, Any]] = {
    "ships": {
        "table": "tenant.tbl_data_timeseries",
        "entity": ["ship_id"],
        "time": "created_time",
        "key": "data_channel_id",
        "value": {
            "discriminator": "value_format",
            "columns": {"Boolean": "bool_v", "Decimal": "double_v", "Integer": "long_v", "String": "str_v"},
        },
    },
    "thingsboard": {
        "table": "public.ts_kv",
        "entity": ["entity_id"],
        "time": "ts",
        "time_form": "epoch_ms",
        "key": "key",
        "dictionary": {"column": "key", "query": 'SELECT d."key_id", d."key" FROM "public"."key_dictionary" d'},
        "value": {"columns": ["bool_v", "str_v", "long_v", "dbl_v", "json_v"]},
    },
    "zabbix": {
        "tables": [
            "public.history",
            "public.history_log",
            "public.history_str",
            "public.history_text",
            "public.history_uint",
        ],
        "entity": ["host"],
        "time": ["clock", "ns"],
        "time_form": "s_ns",
        "key": "key_",
        "dictionary": {
            "column": "itemid",
            "query": 'SELECT d."itemid", d."key_", o."host" FROM "public"."items" d'
            ' JOIN "public"."hosts" o ON o."hostid" = d."hostid"',
        },
        "value": {"columns": ["value"]},
    },
    "ignition": {
        "tables": ["public.sqlt_data_%"],
        "entity": [],
        "time": "t_stamp",
        "time_form": "epoch_ms",
        "key": "tagpath",
        "where": {"dataintegrity": ["192"]},
        "several": "refuse",
        "dictionary": {"column": "tagid", "query": 'SELECT d."id", d."tagpath" FROM "public"."sqlth_te" d'},
        "value": {"columns": ["intvalue", "floatvalue", "stringvalue", "datevalue"]},
    },
    "homeassistant": {
        "table": "public.states",
        "entity": [],
        "time": "last_updated_ts",
        "time_form": "epoch_float",
        "key": "entity_id",
        "several": "refuse",
        "dictionary": {
            "column": "metadata_id",
            "query": 'SELECT d."metadata_id", d."entity_id" FROM "public"."states_meta" d',
        },
        "value": {"columns": ["state"], "numbers": ["state"], "nulls": ["unavailable", "unknown"]},
    },
    "openhab": {
        "tables": ["public.item%"],
        "table_pattern": r"^item0*(\d+)$",
        "entity": [],
        "time": "time",
        "key": "itemname",
        "dictionary": {"column": "table", "query": 'SELECT d."itemid", d."itemname" FROM "public"."items" d'},
        "value": {"columns": ["value"]},
    },
    "openmrs": {
        "table": "public.obs",
        "entity": ["person_id"],
        "time": "obs_datetime",
        "key": "name",
        "where": {"voided": ["f"]},
        "several": "refuse",
        "dictionary": {
            "column": "concept_id",
            "query": 'SELECT d."concept_id", d."name" FROM "public"."concept_name" d'
            """ WHERE d."locale" = 'en' AND d."locale_preferred" = 'true'""",
        },
        "value": {
            "columns": ["value_coded", "value_drug", "value_datetime", "value_numeric", "value_text", "value_complex"]
        },
    },
    "magento": {
        "tables": [
            "public.catalog_product_entity_datetime",
            "public.catalog_product_entity_decimal",
            "public.catalog_product_entity_int",
            "public.catalog_product_entity_text",
            "public.catalog_product_entity_varchar",
        ],
        "entity": ["entity_id", "store_id"],
        "time": [],
        "key": "attribute_code",
        "dictionary": {
            "column": "attribute_id",
            "query": 'SELECT d."attribute_id", d."attribute_code" FROM "public"."eav_attribute" d',
        },
        "value": {"columns": ["value"]},
    },
    "prometheus": {
        "table": "public.metrics",
        "entity": [],
        "time": "time",
        "labels": "labels",
        "key": "labels.*",
        "value": {"columns": ["value"]},
    },
    "iso19848": {
        "table": "public.TimeSeriesData",
        "entity": ["ShipID"],
        "time": "TimeStamp",
        "key": "DataChannelID",
        "value": {"columns": ["Decimal", "Integer", "Boolean", "String"]},
    },
}
"""What [source] has to say of each, beside the dsn."""

PER_ENTITY = {"ships", "iso19848", "zabbix", "thingsboard"}


def filled(database: str, name: str) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        session.execute((SCHEMAS / f"{name}.sql").read_bytes())
        session.execute((SCHEMAS / "history" / f"{name}.sql").read_bytes())


def looked(database: str, *tables: str) -> str:
    with connect(database, autocommit=True) as session:
        return survey(session, database, tables)


@pytest.mark.parametrize("name", SOURCE)
def test_a_public_schema_is_recognised(database, name):
    filled(database, name)
    proposed = tomllib.loads(looked(database))
    source = {option: value for option, value in proposed["source"].items() if option != "dsn"}
    assert source == SOURCE[name]
    assert proposed["target"]["layout"] == ("per_entity" if name in PER_ENTITY else "single")


@pytest.mark.parametrize("name", SOURCE)
def test_a_public_schema_is_recognised_when_statistics_are_there(database, name):
    filled(database, name)
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("ANALYZE")
    assert tomllib.loads(looked(database))["source"]["key"] == SOURCE[name]["key"]


@pytest.mark.parametrize("name", SOURCE)
def test_a_proposal_can_be_used_as_it_is_and_reads_like_the_connector_that_comes_along(database, tmp_path, name):
    filled(database, name)
    file = tmp_path / f"{name}.toml"
    file.write_text(looked(database))
    proposed, along = load(str(file), {}), load(str(CONNECTORS / f"{name}.toml"), {})
    assert sorted(proposed.patterns) == sorted(along.patterns)
    ours, theirs = proposed.options.source, along.options.source
    for option in ("table_pattern", "entity", "time", "time_form", "key", "labels"):
        assert getattr(ours, option) == getattr(theirs, option), option
    assert set(ours.where) == set(theirs.where)
    assert ours.value.numbers == theirs.value.numbers and ours.value.nulls == theirs.value.nulls
    assert set(theirs.value.names) <= set(ours.value.names)
    if ours.dictionary is None or theirs.dictionary is None:
        assert ours.dictionary is theirs.dictionary
    else:
        assert ours.dictionary.column == theirs.dictionary.column
        assert set(ours.dictionary.names) == set(theirs.dictionary.names)


def test_every_option_has_its_reason_and_open_choices_are_asked(database):
    filled(database, "openmrs")
    lines = looked(database).splitlines()
    options = [at for at, line in enumerate(lines) if line and not line.startswith(("#", "["))]
    assert options and all(lines[at - 1].startswith("# ") for at in options)
    assert any(line.startswith(f"# {ASK}") for line in lines)


@pytest.mark.parametrize("name", SOURCE)
def test_what_is_asked_is_a_question_that_stands_above_the_choice_that_answers_it(database, name):
    filled(database, name)
    lines = looked(database).splitlines()
    for at, line in enumerate(lines):
        if not line.startswith(f"# {ASK}"):
            continue
        asked = [line]
        while not re.match(r"(# )?[a-z_]+ = ", lines[at + len(asked)]):
            asked.append(lines[at + len(asked)])
            assert asked[-1].startswith("# "), asked
        assert "?" in " ".join(asked), asked


def test_columns_of_any_name_beside_a_key_are_its_readings_where_one_of_them_is_set(database):
    with connect(database, autocommit=True) as session:
        session.execute(
            "CREATE TABLE public.logged (house text, sensor text, measured_at timestamptz, num float8, txt text, "
            "PRIMARY KEY (house, sensor, measured_at))"
        )
        session.execute(
            "INSERT INTO public.logged SELECT h, s, now() + n * interval '1 min', CASE WHEN s <> 'door' THEN n END, "
            "CASE WHEN s = 'door' THEN 'open' END FROM unnest('{a,b}'::text[]) h, unnest('{t,u,door}'::text[]) s, "
            "generate_series(1, 50) n"
        )
        session.execute("CREATE TABLE public.wide_already (sensor text, at timestamptz, t float8, u float8, "
                        "PRIMARY KEY (sensor, at))")  # fmt: skip
        session.execute("INSERT INTO public.wide_already SELECT 's', now() + n * interval '1 s', n, n FROM "
                        "generate_series(1, 500) n; ANALYZE")  # fmt: skip
    said = looked(database)
    for expected in ('table = "public.logged"', 'entity = ["house"]', 'key = "sensor"', 'columns = ["num", "txt"]'):
        assert expected in said
    assert "wide_already" not in said


def test_looking_changes_nothing(database):
    filled(database, "ships")
    assert not writes(database, lambda: looked(database))


def test_a_table_that_is_asked_for_is_taken(database):
    filled(database, "zabbix")
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(
            "INSERT INTO trends SELECT 100840, 1699999200 + t * 3600, 60, 1, 2, 3 FROM generate_series(1, 5) t"
        )
    source = tomllib.loads(looked(database, "public.trends"))["source"]
    assert source["table"] == "public.trends"
    assert source["value"] == {"columns": ["value_min", "value_avg", "value_max"], "measures": True}
    assert source["time_form"] == "epoch_s"


def test_a_table_that_is_not_narrow_is_refused_with_what_it_lacks(database):
    filled(database, "zabbix")
    with pytest.raises(NothingNarrow, match=r"public\.hosts has"):
        looked(database, "public.hosts")


def test_a_database_without_a_narrow_table_says_so(database):
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("CREATE TABLE invoices (id serial PRIMARY KEY, customer text, due date, amount numeric)")
    with pytest.raises(NothingNarrow, match="no table looks narrow"):
        looked(database)


def test_several_names_of_one_id_are_no_dictionary(database):
    filled(database, "openmrs")
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("UPDATE concept_name SET locale = 'en', concept_name_type = NULL, locale_preferred = true")
    source = tomllib.loads(looked(database))["source"]
    assert (source["key"], source.get("dictionary")) == ("concept_id", None)


def test_names_that_are_there_twice_are_told_apart_by_what_the_ids_in_use_share(database):
    filled(database, "magento")
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("UPDATE eav_attribute SET attribute_code = 'name' WHERE attribute_id = 41")
    source = tomllib.loads(looked(database))["source"]
    assert source["dictionary"]["query"].endswith("""WHERE d."entity_type_id" = '4'""")
    assert "several" not in source


def test_two_hosts_of_one_name_are_told_apart_by_their_ids(database):
    filled(database, "zabbix")
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("UPDATE hosts SET host = 'same', name = 'same'")
    source = tomllib.loads(looked(database))["source"]
    assert source["entity"] == ["hostid"]
    assert "JOIN" not in source["dictionary"]["query"]


def test_names_out_of_the_database_cannot_break_the_file(database):
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(
            'CREATE TABLE "od""d\n\'s" ("ship\n[x]" text, "key" text, "a\\t" timestamptz, "val" float8,'
            ' PRIMARY KEY ("ship\n[x]", "key", "a\\t"))'
        )
        session.execute("INSERT INTO \"od\"\"d\n's\" VALUES ('a', 'b', now(), 1)")
    source = tomllib.loads(looked(database))["source"]
    assert (source["table"], source["entity"], source["time"]) == ("public.od\"d\n's", ["ship\n[x]"], "a\\t")


def test_a_large_table_is_sampled_by_pages(database):
    filled(database, "ships")
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(
            "INSERT INTO tenant.tbl_data_timeseries (ship_id, data_channel_id, created_time, double_v, value_format) "
            "SELECT 'ship-9', 'chan/4', timestamp '2025-01-01' + t * interval '1 s', t, 'Decimal' "
            "FROM generate_series(1, 60000) t"
        )
        session.execute("ANALYZE")
        assert tomllib.loads(looked(database))["source"]["key"] == "data_channel_id"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WIDEBEAM_")}
    return subprocess.run(
        [sys.executable, "-m", "widebeam", *arguments], capture_output=True, text=True, check=False, env=environment
    )


def test_the_command_writes_the_file_to_standard_output(database):
    filled(database, "prometheus")
    done = command("init", database, "--table", "public.metrics")
    assert done.returncode == 0 and not done.stderr
    assert tomllib.loads(done.stdout)["source"]["dsn"] == database


def test_a_password_on_the_command_line_is_refused_and_not_shown(database):
    for dsn in (f"{database} password=hunter2", "postgresql://postgres:hunter2@127.0.0.1/x", "sslpassword=hunter2"):
        done = command("init", dsn)
        assert done.returncode == 2 and "PGPASSFILE" in done.stderr
        assert "hunter2" not in done.stderr + done.stdout


def test_the_command_says_in_one_line_that_nothing_is_narrow(database):
    done = command("init", database)
    assert done.returncode == 1 and not done.stdout
    assert "no table looks narrow" in done.stderr and len(done.stderr.splitlines()) == 1
