"""A plan on real databases: it finds every key, says what it comes to, and what it says is what is made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from sink.mapping.width import ROW_BYTES
from tests.looking import writes
from widebeam.config.config import ConfigError, load
from widebeam.config.connector import Connector
from widebeam.plan.evidence import Evidence, Kind, Pair, settled
from widebeam.plan.make import make
from widebeam.plan.plan import Plan
from widebeam.plan.show import text
from widebeam.setup.apply import apply
from widebeam.setup.drop import drop
from widebeam.setup.prepare import prepare

SCHEMAS = Path(__file__).parents[2] / "schemas"
CONNECTORS = Path(__file__).parents[3] / "connectors"

NAMES = ("ships", "thingsboard", "zabbix", "ignition", "homeassistant", "openhab", "openmrs", "magento", "prometheus",
         "iso19848")  # fmt: skip

COLUMNS = """
SELECT relname::text, relkind::text, attname::text, format_type(atttypid, atttypmod) FROM pg_class c
JOIN pg_attribute a ON c.oid = attrelid
WHERE relnamespace = 'wide'::regnamespace AND relkind IN ('r', 'v') AND attnum > 0
ORDER BY 1, attnum
"""
Make = Callable[[str], Connector]


@pytest.fixture
def make_connector(database: str) -> Make:
    """A public schema with its history, and its connector over the test's database."""

    def make(name: str) -> Connector:
        with psycopg.connect(database, autocommit=True) as session:
            session.execute((SCHEMAS / f"{name}.sql").read_bytes())
            session.execute((SCHEMAS / "history" / f"{name}.sql").read_bytes())
            session.execute("ANALYZE")
        environment = {"WIDEBEAM_SOURCE__DSN": database, "WIDEBEAM_TARGET__DSN": database}
        connector = load(str(CONNECTORS / f"{name}.toml"), environment)
        # Kafka plays no part in a plan.
        return Connector(name, connector.file, connector.options.model_copy(update={"kafka": None}))

    return make


def planned(connector: Connector, *, full: bool = False) -> Plan:
    return make(connector, full=full)[0].plan


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_of_a_public_schema_is_made_as_it_says(database, make_connector, name):
    connector = make_connector(name)
    drawn, statements = make(connector)
    assert drawn.plan.keys and drawn.plan.rows and drawn.plan.chunks and drawn.plan.disk_bytes
    assert all(table.row_bytes <= ROW_BYTES for table in drawn.plan.tables)
    assert apply(connector, drawn) == {}
    again = planned(connector)
    assert again.changed == []
    assert [(t.name, t.columns, t.made) for t in again.tables] == [(t.name, t.columns, True) for t in drawn.plan.tables]
    with psycopg.connect(database, autocommit=True) as session:
        made = session.execute(COLUMNS).fetchall()
        session.execute("DROP SCHEMA wide CASCADE")
        for statement in statements:
            session.execute(statement.encode())
        anew = session.execute(COLUMNS).fetchall()
    assert made == anew, "--sql says something else than --apply does"


@pytest.mark.parametrize("name", NAMES)
def test_a_look_by_index_or_sample_finds_what_reading_all_of_it_finds(make_connector, name):
    connector = make_connector(name)
    quick, whole = planned(connector), planned(connector, full=True)
    assert quick.keys == whole.keys
    assert quick.types == whole.types


def test_keys_are_found_by_jumping_through_the_index(database, make_connector):
    connector = make_connector("ships")
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(
            "INSERT INTO tenant.tbl_data_timeseries (ship_id, data_channel_id, created_time, double_v, value_format) "
            "SELECT 'many', 'one', timestamp '2030-01-01' + t * interval '1 s', t, 'Decimal' "
            "FROM generate_series(1, 200000) t"
        )
        session.execute("ANALYZE")
        before = _read(session)
        plan = planned(connector)
        assert _read(session) - before < 50_000, "a plan read the whole table"
    assert "index" in plan.sources[0].how and plan.sources[0].whole


def _read(session: psycopg.Connection[tuple[object, ...]]) -> int:
    """Rows of the narrow table that were read so far, by any plan of execution."""
    session.execute("SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()")
    row = session.execute(
        "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables "
        "WHERE relname = 'tbl_data_timeseries'"
    ).fetchone()
    assert row is not None
    return int(str(row[0]))


def test_a_new_key_is_shown_as_the_difference(database, make_connector):
    connector = make_connector("ships")
    apply(connector, make(connector)[0])
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(
            "INSERT INTO tenant.tbl_data_timeseries (ship_id, data_channel_id, created_time, double_v, value_format) "
            "SELECT DISTINCT ship_id, 'brand new', now()::timestamp, 1.5, 'Decimal' FROM tenant.tbl_data_timeseries"
        )
    plan = planned(connector)
    assert len(plan.changed) == 1 and plan.changed[0].endswith("columns are to be made: brand new")
    assert "brand new" in text(plan)


def test_what_differs_from_what_is_made_is_told_by_kind_as_text_and_as_json(database, make_connector):
    connector = make_connector("ships")
    apply(connector, make(connector)[0])
    with psycopg.connect(database, autocommit=True) as session:
        (ship,) = session.execute("SELECT min(ship_id) FROM tenant.tbl_data_timeseries").fetchone() or ("",)
        keys = session.execute(
            "SELECT data_channel_id FROM tenant.tbl_data_timeseries WHERE ship_id = %s AND value_format = 'Decimal' "
            "GROUP BY 1 ORDER BY 1 LIMIT 8",
            [ship],
        ).fetchall()
        (retyped,), *gone = keys
        session.execute(
            "UPDATE tenant.tbl_data_timeseries SET value_format = 'String', str_v = 'x', double_v = NULL "
            "WHERE ship_id = %s AND data_channel_id = %s",
            [ship, retyped],
        )
        session.execute(
            "DELETE FROM tenant.tbl_data_timeseries WHERE ship_id = %s AND data_channel_id = ANY(%s)",
            [ship, [key for (key,) in gone]],
        )
        session.execute(
            "INSERT INTO tenant.tbl_data_timeseries (ship_id, data_channel_id, created_time, double_v, value_format) "
            "VALUES (%s, 'brand new', '2031-01-01', 1, 'Decimal')",
            [ship],
        )
    plan = planned(connector)
    entity = json.dumps([ship])
    told = plan.as_dict()["difference"]
    assert told["new"] == [{"entity": entity, "key": "brand new"}]
    (other,) = told["types"]
    assert other["key"] == retyped and (other["made"], other["now"]) == ("double precision", "text")
    assert [each["key"] for each in told["silent"]] == [key for (key,) in gone]  # all seven, not the first five
    assert plan.as_dict()["changed"] == plan.changed and len(plan.changed) == 3
    for expected in ("1 columns are to be made: brand new", f"{retyped} is double precision and would be", "7 columns"):
        assert expected in text(plan)


def test_options_that_a_run_would_refuse_are_part_of_the_difference(database, make_connector):
    connector = make_connector("ships")
    first = make(connector)
    apply(connector, first[0])
    target = connector.options.target.model_copy(update={"layout": "single", "wide_schema": "other"})
    changed = Connector("ships", connector.file, connector.options.model_copy(update={"target": target}))
    drawn, statements = make(changed)
    said = "\n".join(drawn.plan.difference.options)
    assert "`layout` was per_entity when the connector was made and is single" in said
    assert "`schema` was wide when the connector was made and is other" in said and "widebeam drop ships" in said
    assert "a connector that is made anew" in text(drawn.plan) and "`layout` was per_entity" in text(drawn.plan)
    assert drawn.plan.as_dict()["difference"]["options"] == drawn.plan.difference.options
    assert statements[0] == 'CREATE SCHEMA "other";'
    with pytest.raises(ConfigError, match="`layout` was"):
        apply(changed, drawn)
    renamed = connector.options.target.model_copy(update={"name": "{entity}"})
    assert (
        planned(Connector("ships", connector.file, connector.options.model_copy(update={"target": renamed}))).changed
        == []
    )


def test_a_plan_changes_nothing(database, make_connector):
    connector = make_connector("ships")
    make(connector)
    with psycopg.connect(database) as session:
        assert session.execute("SELECT to_regnamespace('wide'), to_regnamespace('widebeam')").fetchone() == (None, None)
        assert session.execute("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"
                               ).fetchone() == (0,)  # fmt: skip


def test_applying_makes_no_slot_that_would_hold_the_wal(database, make_connector):
    connector = make_connector("ships")
    apply(connector, make(connector)[0])
    with psycopg.connect(database) as session:
        assert session.execute("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"
                               ).fetchone() == (0,)  # fmt: skip


def test_a_run_goes_on_from_an_applied_plan_and_drop_removes_it(database, make_connector):
    connector = make_connector("ships")
    drawn, _ = make(connector)
    apply(connector, drawn)
    prepare(connector)
    assert planned(connector).changed == []
    drop(connector)
    apply(connector, drawn)
    drop(connector)
    with psycopg.connect(database) as session:
        assert session.execute("SELECT to_regnamespace('wide')").fetchone() == (None,)


def test_more_keys_than_the_cap_are_said_before_they_are_refused(database, make_connector):
    connector = make_connector("ships")
    sink = connector.options.sink.model_copy(update={"columns_per_table": 3})
    capped = Connector("ships", connector.file, connector.options.model_copy(update={"sink": sink}))
    plan = planned(capped)
    assert [table.columns for table in plan.tables] == [3, 3, 3]
    assert {reason: len(keys) for reason, keys in plan.refused.items()} == {"too_many_columns": 39}
    assert "raise columns_per_table" in text(plan)


def test_long_names_alike_names_and_taken_names_are_found_before_anything_is_made(database, make_connector):
    connector = make_connector("ships")
    long = "x" * 100
    keys = [f"{long}1", f"{long}2", "Speed", "speed", "_lsn", "", "a\nb"]
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("TRUNCATE tenant.tbl_data_timeseries")
        for key in keys:
            session.execute(
                "INSERT INTO tenant.tbl_data_timeseries "
                "(ship_id, data_channel_id, created_time, double_v, value_format) "
                "VALUES ('s', %s, '2024-01-01', 1, 'Decimal')",
                [key],
            )
    plan = planned(connector)
    whys = {each.key: each.why for each in plan.renamed}
    assert whys.keys() == {f"{long}1", f"{long}2", "speed", "_lsn"}
    assert "101 bytes" in whys[f"{long}1"] and "case" in whys["speed"] and "taken" in whys["_lsn"]
    assert len({each.column for each in plan.renamed}) == 4
    assert plan.unplaced.keys() == {"empty_key", "unplaceable_key"}


def test_wide_rows_are_split_by_bytes(database, make_connector):
    connector = make_connector("ships")
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("TRUNCATE tenant.tbl_data_timeseries")
        session.execute(
            "INSERT INTO tenant.tbl_data_timeseries (ship_id, data_channel_id, created_time, double_v, value_format) "
            "SELECT 's', 'channel ' || c, '2024-01-01', c, 'Decimal' FROM generate_series(1, 1037) c"
        )
    plan = planned(connector)
    assert len(plan.tables) == 2
    assert sum(table.columns for table in plan.tables) == 1037
    assert all(table.row_bytes <= ROW_BYTES for table in plan.tables)


def test_a_key_with_two_types_is_a_conflict_with_its_evidence(database, make_connector):
    connector = make_connector("ships")
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("TRUNCATE tenant.tbl_data_timeseries")
        session.execute(
            "INSERT INTO tenant.tbl_data_timeseries "
            "(ship_id, data_channel_id, created_time, double_v, long_v, value_format) "
            "VALUES ('s', 'k', '2024-01-01', 1, NULL, 'Decimal'), ('s', 'k', '2024-01-02', 2, NULL, 'Decimal'), "
            "('s', 'k', '2024-01-03', NULL, 3, 'Integer')"
        )
    plan = planned(connector)
    (conflict,) = plan.conflicts
    assert [column["readings"] for column in plan.as_dict()["columns"]] == [{"double precision": 2, "bigint": 1}]
    assert (conflict.key, conflict.type, conflict.others) == ("k", "double precision", ["bigint"])


def test_texts_and_numbers_of_one_key_become_text():
    number, other = Kind("state", "double precision", True), Kind("state", "character varying(255)", True)
    assert settled(Counter({number: 9, other: 1})) == ("state", "text")
    assert settled(Counter({number: 9})) == ("state", "double precision")
    evidence = Evidence(single=True, pairs={Pair((), "k"): Counter({number: 9, other: 1})})
    assert evidence.conflicts() == {}


def test_the_source_session_of_a_plan_cannot_write(database, make_connector):
    connector = make_connector("ships")
    assert not writes(database, lambda: make(connector))


def test_the_command_shows_a_plan_as_text_as_json_and_as_sql(database, make_connector, tmp_path):
    make_connector("iso19848")
    file = tmp_path / "isoplan.toml"
    file.write_text((CONNECTORS / "iso19848.toml").read_text())

    def said(*options: str) -> str:
        dsns = {"WIDEBEAM_SOURCE__DSN": database, "WIDEBEAM_TARGET__DSN": database}
        done = subprocess.run(
            [sys.executable, "-m", "widebeam", "plan", *options, str(file)],
            capture_output=True, text=True, check=True, env={**os.environ, **dsns},
        )  # fmt: skip
        return done.stdout

    assert "names: 60 columns with another name than the key" in said()
    plan = json.loads(said("--json"))
    assert plan["keys"] == 30 and len(plan["columns"]) == 60 and plan["row_bytes_limit"] == ROW_BYTES
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(said("--sql").encode())
        assert session.execute("SELECT count(*) FROM pg_views WHERE schemaname = 'wide'").fetchone() == (2,)
        session.execute("DROP SCHEMA wide CASCADE")
    said("--apply")
    assert said().rstrip().endswith("all of it is made")


LAYOUT = "SELECT relname::text, relkind::text, pg_get_partkeydef(oid), pg_get_viewdef(oid) FROM pg_class c"


@pytest.mark.parametrize("layout", ["per_entity", "single"])
def test_a_plan_shows_groups_and_partitions_and_its_statements_make_them(database, make_connector, layout):
    before = make_connector("ships")
    groups = [{"name": "engine", "pattern": "me01"}, {"name": "states", "pattern": "String$"}]
    environment = {
        "WIDEBEAM_SOURCE__DSN": database,
        "WIDEBEAM_TARGET__DSN": database,
        "WIDEBEAM_TARGET__LAYOUT": layout,
        "WIDEBEAM_TARGET__GROUPS": json.dumps(groups),
        "WIDEBEAM_TARGET__PARTITION_BY": "month",
    }
    loaded = load(str(before.file), environment)
    connector = Connector("ships", loaded.file, loaded.options.model_copy(update={"kafka": None}))
    drawn, statements = make(connector)
    assert {table.group for table in drawn.plan.tables} == {"", "engine", "states"}
    shown = drawn.plan.as_dict()
    assert (shown["partition_by"], shown["tables"][0].keys() >= {"group", "group_view"}) == ("month", True)
    assert "group engine in the view " in text(drawn.plan) and "partitioned by month" in text(drawn.plan)
    apply(connector, drawn)
    assert planned(connector).changed == []
    query = f"{LAYOUT} WHERE relnamespace = 'wide'::regnamespace AND relkind IN ('p', 'v') ORDER BY 1"
    with psycopg.connect(database, autocommit=True) as session:
        made = session.execute(query).fetchall()
        session.execute("DROP SCHEMA wide CASCADE")
        for statement in statements:
            session.execute(statement.encode())
        assert session.execute(query).fetchall() == made
    assert {kind for _, kind, _, _ in made} == {"p", "v"}
    regrouped = loaded.options.target.model_copy(update={"groups": []})
    again = Connector("ships", loaded.file, connector.options.model_copy(update={"target": regrouped}))
    assert any("stay in the group in which they were made" in line for line in planned(again).changed)
