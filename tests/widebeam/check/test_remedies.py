"""All that stands in the way is said at once, for whole families of tables, and what mends it is run as it is said."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cdc.halt import Halt
from cdc.source.identity import GENERATED
from cdc.source.publication import check_covers, create
from tests.conftest import fresh_database
from widebeam.check.check import findings
from widebeam.config.catalog import members
from widebeam.config.config import ConfigError, load
from widebeam.config.connector import Connector
from widebeam.finding import Finding
from widebeam.lab.account import new_directory
from widebeam.lab.postgres import QUICK, PostgresServer

TABLES = """
CREATE SCHEMA plant;
CREATE TABLE plant.a (tag text, at timestamp, v float8, PRIMARY KEY (tag, at));
CREATE TABLE plant.b (tag text, at timestamp, v text, PRIMARY KEY (tag, at));
CREATE TABLE plant.c (tag text, at timestamp, v text, PRIMARY KEY (tag, at)) PARTITION BY RANGE (at);
CREATE TABLE plant.c1 PARTITION OF plant.c DEFAULT;
CREATE TABLE plant.other (k int PRIMARY KEY, x text, y text);
"""

FILE = """
[source]
dsn = "{source}"
tables = ["plant.a", "plant.b", "plant.c"]
entity = []
time = "at"
key = "tag"
{more}
[source.value]
columns = ["v"]
[target]
dsn = "{target}"
"""

ENTRIES = """
SELECT relname::text, prattrs::text, pg_get_expr(prqual, prrelid) FROM pg_publication_rel
JOIN pg_class c ON c.oid = prrelid ORDER BY 1
"""

CATALOG = """
SELECT relname::text FROM pg_class
WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND relname !~ '^pg_statistic' ORDER BY 1
"""
OF_VACUUM = "{relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid,datfrozenxid,datminmxid}"

Make = Callable[..., Connector]


@pytest.fixture
def make(tmp_path: Path, database: str) -> Make:
    name = f"family_{uuid4().hex[:8]}"

    def make(source: str = database, target: str = database, more: str = "") -> Connector:
        file = tmp_path / f"{name}.toml"
        file.write_text(FILE.format(source=source, target=target, more=more))
        return load(str(file), {})

    return make


@pytest.fixture
def session(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(TABLES)
        yield session


@pytest.fixture
def role(session: psycopg.Connection[Any]) -> Iterator[str]:
    name = f"role_{uuid4().hex[:8]}"
    session.execute(sql.SQL("CREATE ROLE {} LOGIN REPLICATION").format(sql.Identifier(name)))
    yield name
    session.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


def said(found: list[Finding]) -> str:
    return "\n".join(map(str, found))


def test_one_statement_publishes_a_family_that_the_role_may_not_publish(session, database, make, role):
    session.execute(
        sql.SQL("GRANT USAGE ON SCHEMA plant TO {0}; GRANT SELECT ON ALL TABLES IN SCHEMA plant TO {0}").format(
            sql.Identifier(role)
        )
    )
    connector = make(make_conninfo(database, user=role))
    (finding,) = findings(connector)
    assert "there is no publication" in finding.what
    session.execute(finding.remedy)
    assert [name for name, *_ in session.execute(ENTRIES)] == ["a", "b", "c"]
    assert findings(connector) == []


def test_one_statement_mends_a_familys_publication_and_keeps_what_else_is_in_it(session, make):
    connector = make()
    session.execute(
        f"CREATE PUBLICATION {connector.publication} FOR TABLE plant.a WHERE (tag <> 'x'), plant.b (tag, at), "
        "plant.other (k, x) WHERE (k > 3) WITH (publish = 'insert')"
    )
    settings, tables = findings(connector)
    assert "leaves out: update, delete, truncate; it names partitions instead of plant.c" in settings.what
    for expected in ("does not contain plant.c", "filters rows of plant.a", "leaves out the columns v of plant.b"):
        assert expected in tables.what
    session.execute(settings.remedy)
    session.execute(tables.remedy)
    assert findings(connector) == [], said(findings(connector))
    assert session.execute(ENTRIES).fetchall() == [
        ("a", "1 2 3", None), ("b", "1 2 3", None), ("c", "1 2 3", None), ("other", "1 2", "(k > 3)")
    ]  # fmt: skip


def test_tables_that_are_only_missing_are_added_by_one_statement(session, make):
    connector = make()
    session.execute(f"CREATE PUBLICATION {connector.publication} FOR TABLE plant.a, plant.other")
    settings, tables = findings(connector)
    assert tables.remedy.startswith("ALTER PUBLICATION") and " ADD TABLE " in tables.remedy
    session.execute(settings.remedy)
    session.execute(tables.remedy)
    assert findings(connector) == []


def test_whole_schemas_that_are_published_stay_so(session, make):
    connector = make()
    session.execute("CREATE SCHEMA more")
    session.execute(
        f"CREATE PUBLICATION {connector.publication} FOR TABLE plant.a WHERE (tag <> 'x'), plant.b, plant.c, "
        "TABLES IN SCHEMA more WITH (publish_via_partition_root = true)"
    )
    (finding,) = findings(connector)
    session.execute(finding.remedy)
    assert findings(connector) == []
    assert session.execute("SELECT pnnspid::regnamespace::text FROM pg_publication_namespace").fetchall() == [("more",)]


def test_a_publication_that_makes_the_applications_updates_fail_is_found(session, make):
    connector = make()
    session.execute(f"CREATE PUBLICATION {connector.publication} FOR TABLE plant.a (tag, at, v), plant.b, plant.c "
                    "WITH (publish_via_partition_root = true)")  # fmt: skip
    session.execute("ALTER TABLE plant.a REPLICA IDENTITY FULL; INSERT INTO plant.a VALUES ('t', now(), 1)")
    with pytest.raises(psycopg.errors.InvalidColumnReference):
        session.execute("UPDATE plant.a SET v = 2")
    (finding,) = findings(connector)
    assert "makes the application's own UPDATE and DELETE fail" in finding.what
    session.execute(finding.remedy)
    session.execute("UPDATE plant.a SET v = 2")
    assert findings(connector) == []


@pytest.mark.parametrize("kind", ["STORED", "VIRTUAL"])
@pytest.mark.parametrize("made_before", [False, True])
def test_beside_a_full_identity_generated_columns_do_not_make_the_applications_updates_fail(
    kind, made_before, session, make
):
    if session.info.server_version < GENERATED:
        pytest.skip("before PostgreSQL 18 the server publishes no generated column, and does not need to")
    session.execute(f"ALTER TABLE plant.a ADD twice float8 GENERATED ALWAYS AS (v * 2) {kind}".encode())
    session.execute("ALTER TABLE plant.a REPLICA IDENTITY FULL; INSERT INTO plant.a VALUES ('t', now(), 1)")
    connector = make()
    if made_before:
        session.execute(f"CREATE PUBLICATION {connector.publication} FOR TABLE plant.a, plant.b, plant.c "
                        "WITH (publish_via_partition_root = true)".encode())  # fmt: skip
        with pytest.raises(psycopg.errors.InvalidColumnReference):
            session.execute("UPDATE plant.a SET v = 2")
        with pytest.raises(Halt, match="UPDATE and DELETE fail"):
            check_covers(session, connector.publication, connector.table)
    found = findings(connector)
    assert ("UPDATE and DELETE" in said(found)) == (made_before or kind == "VIRTUAL"), said(found)
    for finding in found:
        session.execute(finding.remedy)
    assert findings(connector) == []
    if not made_before:
        create(session, connector.publication, *members(session, connector))
    check_covers(session, connector.publication, connector.table)
    session.execute("UPDATE plant.a SET v = 2; DELETE FROM plant.a")


def test_a_type_that_the_target_does_not_know_is_found_and_the_remedy_makes_it(session, make, postgres):
    session.execute("CREATE TYPE plant.mood AS ENUM ('ok', 'it''s bad'); CREATE DOMAIN plant.degrees AS float8")
    session.execute("ALTER TABLE plant.a ALTER v TYPE plant.degrees; ALTER TABLE plant.b ALTER v TYPE plant.mood "
                    "USING 'ok'")  # fmt: skip
    with fresh_database(postgres) as elsewhere, psycopg.connect(elsewhere, autocommit=True) as target:
        target.execute("CREATE SCHEMA plant")
        found = findings(make(target=elsewhere))
        assert [each.what.split(" in the source")[0] for each in found] == [
            "the type plant.degrees of plant.a.v", "the type plant.mood of plant.b.v"]  # fmt: skip
        for each in found:
            target.execute(each.remedy.encode())
        assert findings(make(target=elsewhere)) == []
        assert target.execute("SELECT enum_range(NULL::plant.mood)::text").fetchone() == ('{ok,"it\'s bad"}',)


def test_a_column_that_is_generated_and_children_are_mended_by_what_is_said(session, make):
    session.execute("ALTER TABLE plant.a DROP COLUMN v, ADD v float8 GENERATED ALWAYS AS (1.5) STORED")
    session.execute("CREATE TABLE plant.child () INHERITS (plant.a); CREATE TABLE plant.second () INHERITS (plant.a)")
    found = findings(make())
    assert "is generated" in said(found) and "has inheritance children" in said(found)
    for finding in found:
        session.execute(finding.remedy)
    assert findings(make()) == []


@pytest.mark.parametrize(("plugin", "elsewhere"), [("test_decoding", False), ("pgoutput", True)])
def test_a_slot_of_another_plugin_or_database_is_avoided_by_the_setting_that_is_said(
    plugin, elsewhere, postgres, session, make
):
    connector = make()
    with psycopg.connect(postgres.dsn() if elsewhere else session.info.dsn, autocommit=True) as other:
        other.execute("SELECT pg_create_logical_replication_slot(%s, %s)", [connector.slot, plugin])
        try:
            (finding,) = findings(connector)
            assert f"is somebody else's (plugin {plugin}, database {other.info.dbname})" in finding.what
            (setting,) = re.findall(r"set `(slot = \".*\")` in \[source\]", finding.remedy)
            assert findings(make(more=setting)) == []
        finally:
            other.execute("SELECT pg_drop_replication_slot(%s)", [connector.slot])


def test_what_is_wrong_with_the_file_is_said_at_once(make):
    with pytest.raises(ConfigError) as caught:
        make("host=127.0.0.1 password=hunter2", more='tme_form = "native"\nslot = "Not One"')
    text = str(caught.value)
    for expected in ("password", "tme_form", "time_form", "slot"):
        assert expected in text
    assert "hunter2" not in text


def test_a_server_where_all_is_wrong_says_all_at_once_and_is_mended_by_what_it_says(make):
    settings = {"wal_level": "replica", "max_replication_slots": "0", "max_wal_senders": "0", "max_connections": "9"}
    directory = new_directory("wb-remedies-")
    server = PostgresServer.start(directory / "pg", settings={**QUICK, **settings})
    try:
        with psycopg.connect(server.dsn(), autocommit=True) as admin:
            admin.execute(TABLES)
            admin.execute("CREATE ROLE poor LOGIN; REVOKE TEMPORARY ON DATABASE postgres FROM public")
            admin.execute("ALTER TABLE plant.a SET UNLOGGED; ALTER TABLE plant.b REPLICA IDENTITY NOTHING")
            admin.execute("ALTER TABLE plant.c DROP CONSTRAINT c_pkey; ALTER TABLE plant.c ENABLE ROW LEVEL SECURITY")
            dsn = server.dsn(user="poor")
            found = findings(make(dsn, dsn))
            for expected in (
                "wal_level is replica", "replication slots are taken", "walsenders are taken", "connections are needed",
                "may not replicate", "may not use the schema plant", "may not read plant.a", "may not read plant.c",
                "row security hides rows of plant.c", "plant.a is not logged", "no unique index on exactly (at, tag)",
                "the replica identity of plant.b carries nothing", "replica identity of plant.c1", "may not make it",
                "may not create the schema widebeam", "may not create the schema wide", "may not make temporary tables",
            ):  # fmt: skip
                assert expected in said(found), expected
            for finding in found:
                admin.execute(finding.remedy.partition(" and restart")[0])
        server.restart()
        assert findings(make(dsn, dsn)) == [], said(findings(make(dsn, dsn)))
    finally:
        server.stop("immediate")
        shutil.rmtree(directory)


def test_a_check_leaves_every_catalog_as_it_was(session, make):
    def rows() -> dict[str, Any]:
        tables = [name for (name,) in session.execute(CATALOG)]
        return {
            name: session.execute(
                sql.SQL("SELECT md5(string_agg(r, '|' ORDER BY r)) FROM (SELECT (to_jsonb(t) - {}::text[])::text r"
                        " FROM pg_catalog.{} t) AS rows").format(sql.Literal(OF_VACUUM), sql.Identifier(name))
            ).fetchone()
            for name in tables
        } | {"slots": session.execute("SELECT * FROM pg_replication_slots").fetchall()}  # fmt: skip

    session.execute("ALTER TABLE plant.b REPLICA IDENTITY NOTHING")
    before = rows()
    assert len(before) > 50 and findings(make())
    assert rows() == before
    session.execute("CREATE TABLE plant.made (a int)")
    assert rows() != before
