"""Ten public schemas, each with some readings: `widebeam init` has to see what they are."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdc.session import connect
from widebeam.init.document import ASK
from widebeam.init.survey import NothingNarrow, survey

SCHEMAS = Path(__file__).parents[1] / "schemas"

READINGS = {
    "ships": """
        INSERT INTO tenant.tbl_data_timeseries (ship_id, data_channel_id, created_time, server_created_time, double_v,
            long_v, str_v, bool_v, value_format)
        SELECT 'ship-' || s, 'chan/' || c, timestamp '2024-01-01' + t * interval '15 s', now(),
            CASE c % 4 WHEN 0 THEN t * 0.1 END, CASE c % 4 WHEN 1 THEN t END, CASE c % 4 WHEN 2 THEN 'on' END,
            CASE c % 4 WHEN 3 THEN true END, (ARRAY['Decimal', 'Integer', 'String', 'Boolean'])[c % 4 + 1]
        FROM generate_series(1, 3) s, generate_series(1, 8) c, generate_series(1, 10) t""",
    "thingsboard": """
        INSERT INTO key_dictionary (key, key_id) VALUES ('temperature', 11), ('mode', 12), ('count', 13), ('other', 14);
        INSERT INTO ts_kv (entity_id, key, ts, dbl_v, str_v, long_v)
        SELECT ('00000000-0000-0000-0000-00000000000' || e)::uuid, k, 1705000000000 + t * 1000,
            CASE k WHEN 11 THEN t * 0.5 END, CASE k WHEN 12 THEN 'auto' END, CASE k WHEN 13 THEN t END
        FROM generate_series(1, 2) e, generate_series(11, 13) k, generate_series(1, 20) t;
        INSERT INTO ts_kv_latest (entity_id, key, ts, dbl_v)
        SELECT ('00000000-0000-0000-0000-00000000000' || e)::uuid, 11, 1705000020000, 10
        FROM generate_series(1, 2) e""",
    "zabbix": """
        INSERT INTO hosts (hostid, host, name) VALUES (1, 'db', 'Database'), (2, 'web', 'Web');
        INSERT INTO items (itemid, hostid, name, key_) VALUES (101, 1, 'CPU', 'cpu'), (102, 2, 'CPU', 'cpu'),
            (103, 1, 'Memory', 'mem'), (104, 1, 'Version', 'version'), (105, 1, 'Notes', 'notes'), (106, 2, 'Log', 'l');
        INSERT INTO history (itemid, clock, ns, value)
        SELECT i, 1700000000 + t * 60, t * 1000, t * 0.1 FROM generate_series(101, 102) i, generate_series(1, 20) t;
        INSERT INTO history_uint (itemid, clock, ns, value)
        SELECT 103, 1700000000 + t, 5, t FROM generate_series(1, 9) t;
        INSERT INTO history_str (itemid, clock, ns, value)
        SELECT 104, 1700000000 + t, 5, t FROM generate_series(1, 9) t;
        INSERT INTO history_text (itemid, clock, ns, value)
        SELECT 105, 1700000000 + t, 5, t FROM generate_series(1, 9) t;
        INSERT INTO history_log (itemid, clock, ns, value)
        SELECT 106, 1700000000 + t, 5, t FROM generate_series(1, 9) t;
        INSERT INTO trends SELECT 101, 1699999200 + t * 3600, 60, 1, 2, 3 FROM generate_series(1, 5) t""",
    "ignition": """
        INSERT INTO sqlth_drv VALUES (1, 'gateway', 'default');
        INSERT INTO sqlth_scinfo VALUES (1, '_exempt_', 1);
        INSERT INTO sqlth_te VALUES (1, 'plant/pump/speed', 1, 1, 3, 1690000000000, 1704000000000),
            (2, 'plant/pump/speed', 1, 1, 3, 1704000000000, NULL), (3, 'plant/pump/name', 1, 2, 3, 1690000000000, NULL);
        INSERT INTO sqlth_partitions VALUES ('sqlt_data_1_2024_01', 1, 1704067200000, 1706745600000, 0, 0);
        INSERT INTO sqlt_data_1_2024_01 (tagid, floatvalue, stringvalue, dataintegrity, t_stamp)
        SELECT i, CASE WHEN i < 3 THEN t * 0.5 END, CASE WHEN i = 3 THEN 'A' END, CASE WHEN t = 4 THEN 0 ELSE 192 END,
            1705000000000 + i + t * 1000 FROM generate_series(1, 3) i, generate_series(1, 12) t;
        INSERT INTO sqlt_data_1_2024_02 (tagid, floatvalue, dataintegrity, t_stamp)
        SELECT 2, t, 192, 1707000000000 + t * 1000 FROM generate_series(1, 12) t""",
    "homeassistant": """
        INSERT INTO states_meta VALUES (1, 'sensor.outside'), (2, 'light.hall'), (3, 'sensor.power');
        INSERT INTO state_attributes VALUES (1, 17, '{"unit": "C"}'), (2, 18, '{}');
        INSERT INTO states (metadata_id, attributes_id, state, last_updated_ts, last_reported_ts)
        SELECT m, m % 2 + 1, CASE WHEN m = 2 THEN 'on' WHEN t = 5 THEN 'unavailable' WHEN t = 6 THEN 'unknown'
            ELSE (t * 0.5)::text END, 1700000000.25 + t * 30 + m, 1700000000.25 + t * 30 + m
        FROM generate_series(1, 3) m, generate_series(1, 20) t""",
    "openhab": """
        INSERT INTO items VALUES (1, 'Temperature'), (2, 'Lamp'), (3, 'Dimmer'), (4, 'Text'), (5, 'Sunrise');
        INSERT INTO item0001
        SELECT timestamp '2024-01-01' + t * interval '1 min', t * 0.5 FROM generate_series(1, 20) t;
        INSERT INTO item0002 SELECT timestamp '2024-01-01' + t * interval '1 min', 'ON' FROM generate_series(1, 9) t;
        INSERT INTO item0003 SELECT timestamp '2024-01-01' + t * interval '1 min', t FROM generate_series(1, 9) t;
        INSERT INTO item0004 SELECT timestamp '2024-01-01' + t * interval '1 min', 'x' FROM generate_series(1, 9) t;
        INSERT INTO item0005
        SELECT timestamp '2024-01-01' + t * interval '1 min', now() FROM generate_series(1, 9) t""",
    "openmrs": """
        INSERT INTO concept (concept_id, uuid) SELECT c, 'c' || c FROM generate_series(1, 4) c;
        INSERT INTO concept_name (concept_id, name, locale, locale_preferred, concept_name_type, uuid) VALUES
            (1, 'Weight (kg)', 'en', true, 'FULLY_SPECIFIED', 'a'), (1, 'Wt', 'en', false, 'SHORT', 'b'),
            (1, 'Poids (kg)', 'fr', true, 'FULLY_SPECIFIED', 'c'), (2, 'Diagnosis', 'en', true, 'FULLY_SPECIFIED', 'd'),
            (3, 'Notes', 'en', true, 'FULLY_SPECIFIED', 'e'), (3, 'Notes', 'fr', true, 'FULLY_SPECIFIED', 'f'),
            (4, 'Next visit', 'en', true, 'FULLY_SPECIFIED', 'g');
        INSERT INTO person (person_id, uuid) SELECT p, 'p' || p FROM generate_series(1, 3) p;
        INSERT INTO obs (person_id, concept_id, obs_datetime, value_numeric, value_coded, value_text, value_datetime,
            creator, date_created, voided, uuid, location_id)
        SELECT p, c, timestamp '2024-01-01' + t * interval '1 day', CASE c WHEN 1 THEN 60 + t END,
            CASE c WHEN 2 THEN 3 END, CASE c WHEN 3 THEN 'fine' END, CASE c WHEN 4 THEN timestamp '2024-03-01' END,
            1, now(), t = 4, p || '-' || c || '-' || t, CASE WHEN t > 1 THEN 1 END
        FROM generate_series(1, 3) p, generate_series(1, 4) c, generate_series(1, 6) t""",
    "magento": """
        INSERT INTO store VALUES (0, 'admin', 'Admin'), (1, 'default', 'Default');
        INSERT INTO eav_entity_type VALUES (3, 'catalog_category'), (4, 'catalog_product');
        INSERT INTO eav_attribute VALUES (41, 3, 'name', 'varchar', 'Name'), (73, 4, 'name', 'varchar', 'Product Name'),
            (77, 4, 'price', 'decimal', 'Price'), (97, 4, 'status', 'int', 'Status'), (75, 4, 'text', 'text', 'D'),
            (79, 4, 'special_from_date', 'datetime', 'From');
        INSERT INTO catalog_product_entity (entity_id, sku) SELECT e, 'sku' || e FROM generate_series(1, 9) e;
        INSERT INTO catalog_product_entity_varchar (attribute_id, store_id, entity_id, value)
        SELECT 73, s, e, 'Bag ' || e FROM generate_series(0, 1) s, generate_series(1, 9) e;
        INSERT INTO catalog_product_entity_decimal (attribute_id, entity_id, value)
        SELECT 77, e, e FROM generate_series(1, 9) e;
        INSERT INTO catalog_product_entity_int (attribute_id, entity_id, value)
        SELECT 97, e, 1 FROM generate_series(1, 9) e;
        INSERT INTO catalog_product_entity_text (attribute_id, entity_id, value)
        SELECT 75, e, 'long' FROM generate_series(1, 9) e;
        INSERT INTO catalog_product_entity_datetime (attribute_id, entity_id, value)
        SELECT 79, e, timestamp '2024-01-01' FROM generate_series(1, 9) e""",
    "prometheus": """
        INSERT INTO metrics SELECT timestamptz '2024-01-01' + t * interval '15 s', t,
            jsonb_build_object('__name__', n, 'instance', i)
        FROM generate_series(1, 10) t, unnest(ARRAY['up', 'load1']) n, unnest(ARRAY['a:9100', 'b:9100']) i""",
    "iso19848": """
        INSERT INTO "TimeSeriesData" ("ShipID", "DataChannelID", "TimeStamp", "Decimal", "String", "Quality")
        SELECT 'IMO100000' || s, '/dnv-v2/vis-3-4a/411.1/C101.31/meta/qty-' || c,
            timestamptz '2024-01-01' + t * interval '1 s', CASE WHEN c < 4 THEN t END,
            CASE WHEN c = 4 THEN 'ok' END, 'good'
        FROM generate_series(1, 2) s, generate_series(1, 4) c, generate_series(1, 10) t""",
}
"""Enough of each for its shape to show."""

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
        "several": "last",
        "order_by": ["tagid"],
        "dictionary": {"column": "tagid", "query": 'SELECT d."id", d."tagpath" FROM "public"."sqlth_te" d'},
        "value": {"columns": ["intvalue", "floatvalue", "stringvalue", "datevalue"]},
    },
    "homeassistant": {
        "table": "public.states",
        "entity": [],
        "time": "last_updated_ts",
        "time_form": "epoch_float",
        "key": "entity_id",
        "several": "last",
        "order_by": ["state_id"],
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
        "several": "last",
        "order_by": ["obs_id"],
        "dictionary": {
            "column": "concept_id",
            "query": 'SELECT d."concept_id", d."name" FROM "public"."concept_name" d'
            """ WHERE d."locale" = 'en' AND d."concept_name_type" = 'FULLY_SPECIFIED'""",
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
            "query": 'SELECT d."attribute_id", d."attribute_code" FROM "public"."eav_attribute" d'
            """ WHERE d."entity_type_id" = '4'""",
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

PER_ENTITY = {"ships", "iso19848", "zabbix"}


def filled(database: str, name: str) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        session.execute((SCHEMAS / f"{name}.sql").read_bytes())
        session.execute(READINGS[name].encode())


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


def test_every_option_has_its_reason_and_open_choices_are_asked(database):
    filled(database, "openmrs")
    lines = looked(database).splitlines()
    options = [at for at, line in enumerate(lines) if line and not line.startswith(("#", "["))]
    assert options and all(lines[at - 1].startswith("# ") for at in options)
    assert any(line.startswith(f"# {ASK}") for line in lines)


def test_looking_changes_nothing(database):
    filled(database, "ships")
    with connect(database, autocommit=True) as session:
        before = session.execute("SELECT pg_current_xact_id()").fetchone()
        looked(database)
        after = session.execute("SELECT pg_current_xact_id()").fetchone()
    assert before and after and int(after[0]) == int(before[0]) + 1, "a transaction of init wrote something"


def test_a_table_that_is_asked_for_is_taken(database):
    filled(database, "zabbix")
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
