"""Public schemas as other releases and other people have them: `widebeam init` merges nothing that is apart, and says
what it cannot take."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from cdc.source.session import connect
from widebeam.init.document import ASK
from widebeam.init.survey import NothingNarrow, survey
from widebeam.lab.postgres import PostgresServer

SCHEMAS = Path(__file__).parents[2] / "schemas"
READINGS = (
    "CREATE TABLE readings (site text, channel text, ts timestamptz, value float8, PRIMARY KEY (site, channel, ts));"
    "INSERT INTO readings SELECT 's', 'c' || n % 3, now() + n * interval '1 s', n FROM generate_series(1, 50) n;"
)


def run(database: str, *scripts: str) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        for script in scripts:
            session.execute(script.encode())


def filled(database: str, name: str, *changes: str) -> None:
    """A public schema with its history, and then changed."""
    run(database, *((SCHEMAS / part / f"{name}.sql").read_text() for part in (".", "history")), *changes)


def looked(database: str, *tables: str) -> str:
    with connect(database, autocommit=True) as session:
        return survey(session, database, tables)


def source(database: str, *tables: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(looked(database, *tables))["source"]
    return found


@pytest.mark.parametrize("index", ["CREATE INDEX ON items (hostid, key_)", "SELECT"])
def test_items_of_several_hosts_stay_apart_without_a_unique_index_on_them(database, index):
    """Zabbix from 6.0 on has no unique one: five hosts' readings would be one column, of which the last one holds."""
    filled(database, "zabbix", "DROP INDEX items_1", index)
    found = source(database)
    assert found["entity"] == ["host"] and "several" not in found
    assert '"hosts" o' in found["dictionary"]["query"]


def test_a_table_of_the_family_that_is_still_empty_is_taken_along(database):
    filled(database, "zabbix", "TRUNCATE history_log")
    assert "public.history_log" in source(database)["tables"]


def test_without_foreign_keys_products_and_categories_do_not_share_rows(database):
    filled(
        database,
        "magento",
        "DO $$ DECLARE k record; BEGIN FOR k IN SELECT conrelid::regclass t, conname c FROM pg_constraint"
        " WHERE contype = 'f' LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', k.t, k.c); END LOOP; END $$",
        *(
            f"CREATE TABLE catalog_category_entity_{kind} (LIKE catalog_product_entity_{kind} INCLUDING ALL);"
            f"INSERT INTO catalog_category_entity_{kind} SELECT * FROM catalog_product_entity_{kind} LIMIT 50"
            for kind in ("int", "varchar", "decimal")
        ),
    )
    assert all(table.startswith("public.catalog_product_entity_") for table in source(database)["tables"])


SERIES = """
CREATE TABLE labels (id int PRIMARY KEY, metric_name text NOT NULL, labels jsonb);
INSERT INTO labels VALUES (1, 'cpu', '["a"]'), (2, 'cpu', '["b"]'), (3, 'mem', '[]');
CREATE TABLE samples (labels_id int NOT NULL REFERENCES labels, time timestamptz NOT NULL, value float8);
CREATE INDEX ON samples (labels_id, time);
INSERT INTO samples SELECT id, timestamptz '2024-01-01 00:00Z' + n * interval '15 s', n
FROM labels, generate_series(1, 90) n
WHERE n BETWEEN CASE id WHEN 2 THEN {first} ELSE 1 END AND CASE id WHEN 1 THEN {last} ELSE 90 END;
"""


def test_ids_of_one_name_that_go_on_beside_each_other_are_no_one_thing(database):
    run(database, SERIES.format(first=3, last=90))
    found = source(database)
    assert found["key"] == ["metric_name", "labels_id"]


def test_ids_of_one_name_that_follow_each_other_are_one_thing(database):
    run(database, SERIES.format(first=40, last=42))
    assert source(database)["key"] == "metric_name"


BEFORE_2023 = """
CREATE TABLE states (state_id serial PRIMARY KEY, entity_id varchar(255), state varchar(255), attributes text,
    event_id integer, last_changed timestamptz, last_updated timestamptz, old_state_id integer, context_id varchar(36));
CREATE INDEX ON states (entity_id, last_updated);
INSERT INTO states (entity_id, state, last_updated) SELECT 'sensor.' || s, n, now() + n * interval '1 min'
FROM unnest('{a,b}'::text[]) s, generate_series(1, 50) n;
"""


def test_states_of_home_assistant_before_2023_are_keyed_by_their_entity(database):
    run(database, BEFORE_2023)
    found = source(database)
    assert (found["table"], found["key"], found["time"]) == ("public.states", "entity_id", "last_updated")
    run(
        database,
        "ALTER TABLE states ADD last_updated_ts float8, ADD metadata_id bigint;"
        "UPDATE states SET last_updated_ts = extract(epoch FROM last_updated), last_updated = NULL;"
        "CREATE INDEX ON states (entity_id, last_updated_ts)",
    )
    found = source(database)
    assert (found["key"], found["time"], found["time_form"]) == ("entity_id", "last_updated_ts", "epoch_float")


@pytest.mark.parametrize("name", ["sqlt_data_1_2024_01", "sqlt_data_1_20240131"])
def test_the_next_month_joins_though_there_is_only_one_yet(database, name):
    filled(
        database,
        "ignition",
        "DROP TABLE sqlt_data_1_2024_02; ALTER TABLE sqlt_data_1_2024_01 RENAME TO one",
        f"ALTER TABLE one RENAME TO {name}",
    )
    assert source(database)["tables"] == ["public.sqlt_data_%"]


@pytest.mark.parametrize(
    ("names", "key", "pattern"),
    [
        (("Kitchen_Light", "Garage", "Hall_2"), "table", "^(.+)$"),
        (("kitchen_light_0001", "garage_0002", "hall_2_0003"), "itemname", r"(?:^|\D)0*(\d+)$"),
    ],
)
def test_tables_with_the_items_own_names_are_one_family(database, names, key, pattern):
    run(
        database,
        "CREATE TABLE items (itemid serial PRIMARY KEY, itemname varchar(500) NOT NULL)",
        *(
            f'CREATE TABLE "{name}" (time timestamp PRIMARY KEY, value float8);'
            f"INSERT INTO \"{name}\" SELECT timestamp '2024-01-01' + n * interval '1 min', n "
            f"FROM generate_series(1, 20) n; INSERT INTO items (itemname) VALUES ('Item {name}')"
            for name in names
        ),
    )
    found = source(database)
    assert (found["tables"], found["table_pattern"], found["key"]) == (["public.%"], pattern, key)


def test_the_times_of_an_empty_table_are_asked_about(database):
    run(database, (SCHEMAS / "thingsboard.sql").read_text())
    said = looked(database)
    assert tomllib.loads(said)["source"]["table"] == "public.ts_kv"
    lines = said.splitlines()
    at = lines.index('time_form = "epoch_ms"')
    assert ASK in "".join(lines[at - 2 : at])


def test_a_domain_is_what_it_is_made_of_and_a_word_for_the_kind_is_no_reading(database):
    run(
        database,
        "CREATE DOMAIN moment AS timestamptz; CREATE DOMAIN label AS text;"
        "CREATE TABLE kv (device label, metric label, ts moment, kind text, num float8, txt text,"
        " PRIMARY KEY (device, metric, ts));"
        "INSERT INTO kv SELECT 'd', m, now() + n * interval '1 s', CASE m WHEN 'a' THEN 'F' ELSE 'S' END,"
        " CASE m WHEN 'a' THEN n END, CASE m WHEN 'b' THEN n END"
        " FROM unnest('{a,b}'::text[]) m, generate_series(1, 9) n",
    )
    found = source(database)
    assert (found["time"], found["entity"], found["key"]) == ("ts", ["device"], "metric")
    assert found["value"] == {"discriminator": "kind", "columns": {"F": "num", "S": "txt"}}


def test_attributes_as_they_are_now_have_no_time_whatever_stands_beside_them(database):
    run(
        database,
        "CREATE TABLE attrs (entity_id bigint, attribute text, value text, updated_at timestamptz DEFAULT now(),"
        " PRIMARY KEY (entity_id, attribute));"
        "INSERT INTO attrs SELECT e, 'a' || a, e FROM generate_series(1, 20) e, generate_series(1, 3) a",
    )
    for found in (source(database), source(database, "public.attrs")):
        assert (found["entity"], found["time"], found["key"]) == (["entity_id"], [], "attribute")
        assert "several" not in found


def test_a_part_of_a_key_whose_numbers_are_of_our_years_is_the_time_whatever_it_is_called(database):
    run(
        database,
        "CREATE TABLE log (node int, param text, w bigint, val real, PRIMARY KEY (node, param, w));"
        "INSERT INTO log SELECT 1, 'p' || p, 1700000000000000 + n * 1000000, n"
        " FROM generate_series(1, 2) p, generate_series(1, 20) n",
    )
    found = source(database)
    assert (found["entity"], found["time"], found["time_form"]) == (["node"], "w", "epoch_us")


def test_a_table_that_somebody_locks_is_not_waited_for_for_ever(database, monkeypatch):
    run(database, READINGS)
    monkeypatch.setattr("widebeam.init.survey.PATIENCE", "50ms")
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE readings IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            looked(database)


REFUSED = {
    "v": ("CREATE VIEW v AS SELECT * FROM readings", "public.v is a view"),
    "m": ("CREATE MATERIALIZED VIEW m AS SELECT * FROM readings", "public.m is a materialized view"),
    "f": (
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;CREATE FOREIGN TABLE f (a int) SERVER s",
        "public.f is a foreign table",
    ),
    "public.p1": (
        "CREATE TABLE p (a int) PARTITION BY LIST (a); CREATE TABLE p1 PARTITION OF p DEFAULT",
        "is a partition of public.p: name that one",
    ),
    "Public.READINGS": ("SELECT", "there is public.readings"),
    "nothing": ("SELECT", "there is no table nothing"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_asked_for_and_is_no_table_of_ours_is_called_what_it_is(database, name):
    script, said = REFUSED[name]
    run(database, READINGS, script)
    with pytest.raises(NothingNarrow) as refused:
        looked(database, name)
    assert said in str(refused.value)


def test_a_table_whose_name_has_a_dot_can_be_asked_for(database):
    run(database, READINGS, 'ALTER TABLE readings RENAME TO "plant.data"')
    assert source(database, "public.plant.data")["table"] == "public.plant.data"


@pytest.mark.parametrize("asked", ["my.plant.readings", '"my.plant".readings'])
def test_a_schema_whose_name_has_a_dot_is_proposed_so_that_a_connector_reads_it(database, asked):
    run(database, READINGS, 'CREATE SCHEMA "my.plant"; ALTER TABLE readings SET SCHEMA "my.plant"')
    assert source(database, asked)["table"] == '"my.plant".readings'


def test_a_role_of_few_rights_sees_what_it_may_and_hears_what_it_lacks(database):
    role = psycopg.conninfo.conninfo_to_dict(database)["dbname"] + "_weak"
    weak = psycopg.conninfo.make_conninfo(database, user=role)
    made, name = sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)), sql.Identifier(role)
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(made)
        session.execute(READINGS.encode())
        try:
            with pytest.raises(NothingNarrow) as refused:
                looked(weak)
            assert f"GRANT SELECT ON TABLE public.readings TO {role};" in str(refused.value)
            session.execute(sql.SQL("GRANT SELECT (site, channel) ON readings TO {}").format(name))
            with pytest.raises(NothingNarrow, match="no table looks narrow"):
                looked(weak)
            session.execute(sql.SQL("GRANT SELECT ON readings TO {}").format(name))
            assert source(weak)["table"] == "public.readings"
            session.execute("ALTER TABLE readings ENABLE ROW LEVEL SECURITY")
            with pytest.raises(NothingNarrow, match="has row security"):
                looked(weak)
        finally:
            session.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(name))


def test_a_database_in_another_encoding_is_refused_before_its_texts_are_read(postgres: PostgresServer):
    name = f"ascii_{uuid4().hex[:8]}"
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0".encode())
        run(postgres.dsn(name), READINGS, r"INSERT INTO readings VALUES (E'\xfc', 'c', now(), 1)")
        with pytest.raises(NothingNarrow, match="encoding is SQL_ASCII"):
            looked(postgres.dsn(name))
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
