"""Each precondition on a real database: a broken set-up is found, and its own remedy mends it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub forgets to export them
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.pipeline import until
from tests.readings import KINDS, SOURCE, TARGET
from widebeam.check import kafka as kafka_check
from widebeam.check import server as server_check
from widebeam.check.check import findings
from widebeam.config.config import load
from widebeam.config.connector import Connector
from widebeam.finding import Finding

NARROW = """
CREATE SCHEMA tenant;
CREATE TABLE tenant.readings (id bigserial, ship text NOT NULL, channel text NOT NULL, at timestamp NOT NULL,
    f float8, s text, kind text, PRIMARY KEY (ship, channel, at));
"""

WITHOUT_KEY = "ALTER TABLE tenant.readings DROP CONSTRAINT readings_pkey;"
PARTITIONED = """
DROP TABLE tenant.readings;
CREATE TABLE tenant.readings (ship text, channel text, at timestamp, f float8, s text, kind text,
    PRIMARY KEY (ship, channel, at)) PARTITION BY RANGE (at);
CREATE TABLE tenant.y1 PARTITION OF tenant.readings FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE tenant.y2 PARTITION OF tenant.readings FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
"""

Make = Callable[..., Connector]


@pytest.fixture
def make(tmp_path: Path, database: str) -> Make:
    """A connector over the test's database, as given."""

    def make(source: str = database, target: str = database, more: str = "") -> Connector:
        file = tmp_path / f"check_{uuid4().hex[:8]}.toml"
        file.write_text((SOURCE + KINDS).format(dsn=source) + TARGET.format(dsn=target) + more)
        return load(str(file), {})

    return make


@pytest.fixture
def role(database: str) -> Iterator[str]:
    """A role that may do nothing but log in; it owns nothing, and goes afterwards."""
    name = f"role_{uuid4().hex[:8]}"
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        yield name
        admin.execute(sql.SQL("DROP OWNED BY {0}").format(sql.Identifier(name)))
        admin.execute(sql.SQL("DROP ROLE {0}").format(sql.Identifier(name)))


def run(database: str, *scripts: str) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        for script in scripts:
            for one in filter(str.strip, script.split(";")):
                session.execute(one)


def whats(found: list[Finding]) -> str:
    return "\n".join(map(str, found))


def test_a_good_set_up_has_no_findings(database, make):
    run(database, NARROW)
    assert findings(make()) == []


def test_a_standby_of_the_source_itself_has_no_findings_and_one_of_another_system_is_named(database, make, monkeypatch):
    """Here the standby is the same server by another name."""
    run(database, NARROW)
    connector = make(more=f'[backfill]\nstandby_dsn = "{make_conninfo(database, host="localhost")}"\n')
    assert findings(connector) == []
    system_of = server_check._system_of
    monkeypatch.setattr(server_check, "_system_of", lambda dsn: system_of(dsn) + ("localhost" in dsn))
    assert "and the source is of system" in whats(findings(connector))


def test_a_partitioned_table_has_no_findings(database, make):
    run(database, NARROW, PARTITIONED)
    assert findings(make()) == []


BROKEN = {
    "no_unique_index": (
        WITHOUT_KEY + "ALTER TABLE tenant.readings REPLICA IDENTITY FULL",
        "no unique index on exactly (ship, at, channel)",
    ),
    "a_partial_index_is_not_enough": (
        WITHOUT_KEY + "ALTER TABLE tenant.readings REPLICA IDENTITY FULL;"
        "CREATE UNIQUE INDEX ON tenant.readings (ship, channel, at) WHERE f > 0",
        "no unique index",
    ),
    "an_index_on_more_columns_is_not_enough": (
        WITHOUT_KEY + "ALTER TABLE tenant.readings ADD PRIMARY KEY (ship, channel, at, id)",
        "no unique index",
    ),
    "an_index_that_only_includes_a_column_is_not_enough": (
        WITHOUT_KEY + "ALTER TABLE tenant.readings REPLICA IDENTITY FULL;"
        "CREATE UNIQUE INDEX ON tenant.readings (ship, channel) INCLUDE (at)",
        "no unique index",
    ),
    "identity_nothing": ("ALTER TABLE tenant.readings REPLICA IDENTITY NOTHING", "tenant.readings carries nothing"),
    "identity_by_a_surrogate_key": (
        WITHOUT_KEY + "ALTER TABLE tenant.readings ADD PRIMARY KEY (id);"
        "CREATE UNIQUE INDEX readings_cell ON tenant.readings (channel, ship, at)",
        "carries only (id)",
    ),
    "identity_by_a_surrogate_key_and_nulls": (
        WITHOUT_KEY + "ALTER TABLE tenant.readings ADD PRIMARY KEY (id), ALTER at DROP NOT NULL;"
        "CREATE UNIQUE INDEX readings_cell ON tenant.readings (channel, ship, at)",
        "carries only (id)",
    ),
    "identity_of_one_partition": (
        PARTITIONED + "ALTER TABLE tenant.y2 REPLICA IDENTITY NOTHING",
        "replica identity of tenant.y2",
    ),
    "unlogged": ("ALTER TABLE tenant.readings SET UNLOGGED", "tenant.readings is not logged"),
    "publication_without_deletes": (
        "CREATE PUBLICATION {p} FOR TABLE tenant.readings WITH (publish = 'insert, update')",
        "leaves out: delete, truncate",
    ),
    "publication_of_another_table": (
        "CREATE TABLE tenant.other (a int); CREATE PUBLICATION {p} FOR TABLE tenant.other",
        "does not contain tenant.readings",
    ),
    "publication_with_a_row_filter": (
        "CREATE PUBLICATION {p} FOR TABLE tenant.readings WHERE (ship <> 'x')",
        "filters rows",
    ),
    "publication_without_a_column": (
        "CREATE PUBLICATION {p} FOR TABLE tenant.readings (ship, channel, at, f)",
        "leaves out the columns s, kind",
    ),
    "publication_of_partitions": (
        PARTITIONED + "CREATE PUBLICATION {p} FOR TABLE tenant.readings",
        "names partitions instead of tenant.readings",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_table_is_found_and_its_remedy_mends_it(case, database, make):
    script, expected = BROKEN[case]
    connector = make()
    run(database, NARROW, script.replace("{p}", connector.publication))
    found = findings(connector)
    assert [finding for finding in found if expected in finding.what], whats(found)
    run(database, *(finding.remedy for finding in found))
    assert findings(connector) == [], whats(findings(connector))


UNFIT = {
    "no_table": ("DROP TABLE tenant.readings", "the table tenant.readings does not exist"),
    "a_view": (
        "ALTER TABLE tenant.readings RENAME TO r; CREATE VIEW tenant.readings AS SELECT * FROM tenant.r",
        "tenant.readings is a view",
    ),
    "children": ("CREATE TABLE tenant.child () INHERITS (tenant.readings)", "has inheritance children"),
    "missing_columns": (
        "ALTER TABLE tenant.readings DROP COLUMN f, DROP COLUMN channel CASCADE",
        "has no column channel, f",
    ),
    "a_generated_column": (
        "ALTER TABLE tenant.readings DROP COLUMN s;"
        "ALTER TABLE tenant.readings ADD COLUMN s text GENERATED ALWAYS AS (ship) VIRTUAL",
        "the column s of tenant.readings is generated as ship",
    ),
    "a_time_that_is_no_time": (
        "ALTER TABLE tenant.readings ALTER at TYPE text",
        "text",
    ),
    "a_slot_of_another_plugin": (
        "SELECT pg_create_logical_replication_slot('{p}', 'test_decoding')",
        "is somebody else's (plugin test_decoding",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_cannot_be_carried_is_refused(case, database, make):
    script, expected = UNFIT[case]
    connector = make()
    run(database, NARROW, script.replace("{p}", connector.slot))
    assert expected in whats(findings(connector))


def test_a_role_without_rights_hears_of_each_and_the_remedies_mend_them(database, make, role):
    run(database, NARROW, f'REVOKE TEMPORARY ON DATABASE "{conninfo_to_dict(database)["dbname"]}" FROM public')
    dsn = make_conninfo(database, user=role)
    connector = make(dsn, dsn)
    found = findings(connector)
    for expected in (
        f"the role {role} may not replicate",
        f"the role {role} may not use the schema tenant",
        f"the role {role} may not read tenant.readings",
        f"the role {role} may not make it",
        f"the role {role} may not create the schema widebeam",
        f"the role {role} may not create the schema wide",
        f"the role {role} may not make temporary tables",
    ):
        assert expected in whats(found)
    run(database, *(finding.remedy.removeprefix("as the owner of the table: ") for finding in found))
    assert findings(connector) == [], whats(findings(connector))


def test_a_schema_of_somebody_else_is_found(database, make, role):
    run(database, NARROW, "CREATE SCHEMA wide; CREATE SCHEMA widebeam", f'GRANT USAGE ON SCHEMA widebeam TO "{role}"')
    connector = make(database, make_conninfo(database, user=role))
    found = findings(connector)
    assert [finding.what.split(" in the ")[1].split(" of ")[0] for finding in found] == [
        "schema widebeam",
        "schema wide",
    ]
    run(database, *(finding.remedy for finding in found))
    assert findings(connector) == []


def test_row_security_that_hides_rows_is_found(database, make, role):
    run(
        database,
        NARROW,
        "ALTER TABLE tenant.readings ENABLE ROW LEVEL SECURITY",
        f'GRANT USAGE ON SCHEMA tenant TO "{role}"; GRANT SELECT ON tenant.readings TO "{role}"',
        f'ALTER ROLE "{role}" REPLICATION',
    )
    connector = make(make_conninfo(database, user=role), database)
    run(database, f"CREATE PUBLICATION {connector.publication} FOR TABLE tenant.readings")
    (finding,) = findings(connector)
    assert "row security hides rows of tenant.readings" in finding.what
    run(database, finding.remedy)
    assert findings(connector) == []


def test_a_database_in_another_encoding_is_found_on_both_sides(postgres, make):
    name = f"latin_{uuid4().hex[:8]}"
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        run(postgres.dsn(name), NARROW)
        found = findings(make(postgres.dsn(name), postgres.dsn(name)))
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert [finding.what for finding in found] == ["the database's encoding is LATIN1"] * 2


def test_servers_that_do_not_answer_are_all_named(make, monkeypatch):
    monkeypatch.setattr(kafka_check, "_SECONDS", 1)
    nowhere = "host=127.0.0.1 port=1 dbname=x"
    found = findings(make(nowhere, nowhere, '[kafka]\nbootstrap_servers = "127.0.0.1:1"'))
    assert [finding.where.split(" (")[0] for finding in found] == ["source", "target", "Kafka"]
    assert all("cannot be reached" in finding.what for finding in found)


@pytest.mark.parametrize(
    ("setting", "said"),
    [('"fetch.max.bytes" = "100000000"', "receive.message.max.bytes"), ('"nope" = "1"', "No such configuration")],
)
def test_a_client_that_librdkafka_does_not_make_is_found_before_a_part_dies_of_it(make, setting, said):
    nowhere = "host=127.0.0.1 port=1 dbname=x"
    section = f'[kafka]\nbootstrap_servers = "127.0.0.1:1"\nclient = {{ {setting} }}'
    (finding,) = kafka_check.broker_findings(make(nowhere, nowhere, section))
    assert said in finding.what and "`client` of [kafka]" in finding.remedy


def test_a_topic_that_would_lose_records_is_found_and_keeps_them_after_what_is_printed(database, make, kafka, topic):
    run(database, NARROW)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    config = {"cleanup.policy": "compact", "retention.ms": "60000", "retention.bytes": "1000"}
    admin.create_topics([NewTopic(topic, 3, 1, config=config)])[topic].result(timeout=30)
    section = f'[kafka]\nbootstrap_servers = "{kafka.bootstrap}"\ntopic = "{topic}"'
    found = findings(make(more=section))
    for expected in ("is compacted", "for 1.0 minutes only", "beyond 1000 bytes", "takes records of 1,048,588 bytes",
                     "has 3 partitions, not 8"):  # fmt: skip
        assert expected in whats(found)
    printed = f"kafka-configs.sh --bootstrap-server {kafka.bootstrap} --alter --topic {topic} --add-config "
    given = [each.remedy.removeprefix(printed).split(",")[0] for each in found if each.remedy.startswith(printed)]
    assert len(given) == 4
    entries = [
        ConfigEntry(*each.split("=", 1), incremental_operation=AlterConfigOpType.SET)  # as kafka-configs.sh does
        for each in given
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin.incremental_alter_configs([resource])[resource].result(timeout=30)
    (partitions,) = (re.search(r"`(partitions = \d+)` in \[kafka\]", each.remedy) for each in found[-1:])
    assert until(lambda: findings(make(more=f"{section}\n{partitions[1]}")) == [])


def test_a_replication_factor_beyond_the_brokers_is_found(database, make, kafka, topic):
    run(database, NARROW)
    section = f'[kafka]\nbootstrap_servers = "{kafka.bootstrap}"\ntopic = "{topic}"\nreplication_factor = 3'
    (finding,) = findings(make(more=section))
    assert "replication_factor is 3, but there are only 1 brokers" in finding.what
    (factor,) = re.findall(r"set `(replication_factor = \d+)` in \[kafka\]", finding.remedy)
    assert findings(make(more=section.replace("replication_factor = 3", factor))) == []


def test_looking_changes_nothing(database, make):
    run(database, NARROW)
    counts = (
        "SELECT (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_publication), pg_current_wal_insert_lsn()"
    )
    with psycopg.connect(database, autocommit=True) as session:
        before = session.execute(counts).fetchone()
        findings(make())
        assert session.execute(counts).fetchone()[:2] == before[:2]


def test_too_many_wide_tables_for_one_transaction_of_the_target_are_found_while_one_may_write_them_all(database, make):
    run(database, NARROW)
    connector = make()
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(files("sink").joinpath("control.sql").read_bytes())
        session.execute(
            "INSERT INTO widebeam.connectors (connector, transport, partitions, slot, publication, system_id, timeline,"
            " settings) VALUES (%s, 'direct', 4, 's', 'p', '1', 1, '{}')",
            [connector.name],
        )
        session.execute(
            "INSERT INTO widebeam.tables SELECT %s, n::text, 1, 'wide', n::text, n::text"
            " FROM generate_series(1, 9999) AS n",
            [connector.name],
        )
        assert "locks" not in whats(findings(connector))
        session.execute(
            "INSERT INTO widebeam.chunks (connector, chunk, source, estimated) VALUES (%s, 1, 't', 1)", [connector.name]
        )
    assert "can write all 9999 wide tables in one transaction" in whats(findings(connector))
    assert "ALTER SYSTEM SET max_locks_per_transaction = " in whats(findings(connector))
