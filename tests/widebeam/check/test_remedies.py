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
        assert [each.what.split(" in the source")[0] for each in found] == ["the type plant.mood of plant.b.v"]
        for each in found:
            target.execute(each.remedy.encode())
        assert findings(make(target=elsewhere)) == []
        assert target.execute("SELECT enum_range(NULL::plant.mood)::text").fetchone() == ('{ok,"it\'s bad"}',)


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


LONE = """
[source]
dsn = "{dsn}"
{source}
[source.value]
columns = ["v"]
[target]
dsn = "{dsn}"
"""
READINGS = "e text, k text, t timestamptz, v float8"
MAPPED = 'entity = ["e"]\ntime = "t"\nkey = "k"\n'


@pytest.fixture
def lone(tmp_path: Path, database: str) -> Callable[[str], Connector]:
    """A connector over tables of READINGS, by its [source]."""

    def make(source: str) -> Connector:
        file = tmp_path / f"lone_{uuid4().hex[:8]}.toml"
        file.write_text(LONE.format(dsn=database, source=source))
        return load(str(file), {})

    return make


@pytest.fixture
def bare(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as session:
        yield session


def mend(session: psycopg.Connection[Any], connector: Connector) -> None:
    """Run what is said, until nothing is: each time at least one statement."""
    for _ in range(4):
        found = findings(connector)
        if not found:
            return
        for each in found:
            session.execute(each.remedy)
    assert findings(connector) == [], said(findings(connector))


def writes_of_the_application(session: psycopg.Connection[Any]) -> None:
    """Each kind of it works, and changes one row."""
    for statement in (
        "INSERT INTO m (e, k, t, v) VALUES ('new', 'k', '2026-01-01', 1)",
        "UPDATE m SET v = v + 1 WHERE e = 'new'",
        "UPDATE m SET k = 'l' WHERE e = 'new'",
        "DELETE FROM m WHERE e = 'new'",
    ):
        assert session.execute(statement).rowcount == 1, statement


@pytest.mark.parametrize(
    ("columns", "after"),
    [
        (f"{READINGS}, PRIMARY KEY (e, k, t) DEFERRABLE", ""),
        (f"{READINGS}, PRIMARY KEY (e, k, t) DEFERRABLE INITIALLY DEFERRED", ""),
        (f"{READINGS}, UNIQUE (e, k, t)", ""),
        (f"{READINGS}, PRIMARY KEY (e, k, t)", "ALTER TABLE m REPLICA IDENTITY NOTHING"),
        (f"id serial PRIMARY KEY, {READINGS}, UNIQUE (e, k, t)", ""),
        (f"id serial PRIMARY KEY, {READINGS}", "CREATE UNIQUE INDEX ON m (e, k, t) WHERE v > 0"),
        (f"{READINGS}, PRIMARY KEY (e, k, t) DEFERRABLE", "CREATE PUBLICATION theirs FOR TABLE m"),
        (f"{READINGS}, PRIMARY KEY (e, k, t) DEFERRABLE", "CREATE PUBLICATION theirs FOR TABLE m (e, k, t)"),
        (f"{READINGS}, w float8, PRIMARY KEY (e, k, t)",
         "CREATE PUBLICATION theirs FOR TABLE m (e, k, t); ALTER TABLE m REPLICA IDENTITY NOTHING"),
    ],
)  # fmt: skip
def test_whatever_the_identity_after_the_remedies_a_publication_of_ours_breaks_no_write(bare, lone, columns, after):
    bare.execute(f"CREATE TABLE m ({columns}); {after or 'SELECT'}")
    connector = lone(f'table = "public.m"\n{MAPPED}several = "last"')
    mend(bare, connector)
    create(bare, connector.publication, *members(bare, connector))
    check_covers(bare, connector.publication, connector.table)
    writes_of_the_application(bare)


@pytest.mark.parametrize("version", [15, 18])
@pytest.mark.parametrize("spoil", ["m DROP CONSTRAINT m_pkey", "m REPLICA IDENTITY NOTHING", "m REPLICA IDENTITY FULL"])
def test_the_way_on_from_an_identity_that_was_made_unusable_lets_the_application_write_again(
    bare, lone, spoil, version
):
    bare.execute(f"CREATE TABLE m ({READINGS}, PRIMARY KEY (e, k, t))")
    connector = lone(f'table = "public.m"\n{MAPPED}')
    create(bare, connector.publication, connector.table)
    bare.execute(f"ALTER TABLE {spoil}")
    with pytest.raises(Halt) as halt:
        check_covers(bare, connector.publication, connector.table)
    bare.execute(halt.value.remedy.partition(" Then ")[0])
    check_covers(bare, connector.publication, connector.table)
    writes_of_the_application(bare)


def test_tables_that_inherit_are_read_one_by_one_and_the_application_sees_what_it_saw(bare, lone):
    bare.execute(f"CREATE TABLE m ({READINGS}, PRIMARY KEY (e, k, t))")
    for child in ("m_1", "m_2"):
        bare.execute(f"CREATE TABLE {child} (PRIMARY KEY (e, k, t)) INHERITS (m)")
        bare.execute(f"INSERT INTO {child} VALUES ('{child}', 'k', '2026-01-01', 1)")
    (finding,) = findings(lone(f'table = "public.m"\n{MAPPED}'))
    assert 'set `tables = ["public.m_%"]`' in finding.remedy
    connector = lone(f'tables = ["public.m_%"]\n{MAPPED}')
    assert [table.name for table in members(bare, connector)] == ["m_1", "m_2"]
    assert findings(connector) == []
    assert bare.execute("SELECT count(*) FROM m").fetchone() == (2,)


def test_where_a_pattern_would_match_more_the_children_are_named(bare, lone):
    bare.execute(f"CREATE TABLE m ({READINGS}, PRIMARY KEY (e, k, t)); CREATE TABLE m_other (x int)")
    bare.execute("CREATE TABLE m_1 (PRIMARY KEY (e, k, t)) INHERITS (m)")
    (finding,) = findings(lone(f'table = "public.m"\n{MAPPED}'))
    assert 'set `tables = ["public.m_1"]`' in finding.remedy


@pytest.mark.parametrize("source", ['table = "public.m"', 'tables = ["public.m_%"]'])
def test_rows_of_a_parents_own_are_not_left_out_and_after_the_remedy_none_is_gone(bare, lone, source):
    bare.execute(f"CREATE TABLE m ({READINGS}, PRIMARY KEY (e, k, t))")
    bare.execute("CREATE TABLE m_1 (PRIMARY KEY (e, k, t)) INHERITS (m)")
    bare.execute("INSERT INTO m VALUES ('own', 'k', '2026-01-01', 1); INSERT INTO m_1 VALUES ('x', 'k', now(), 2)")
    finding = next(each for each in findings(lone(f"{source}\n{MAPPED}")) if "rows of its own" in each.what)
    bare.execute(finding.remedy)
    assert bare.execute("SELECT e FROM m ORDER BY 1").fetchall() == [("own",), ("x",)]
    assert findings(lone(f'tables = ["public.m_%"]\n{MAPPED}')) == []


@pytest.mark.parametrize("version", [15, 18])
def test_a_generated_column_is_published_or_what_it_is_made_of_is_named(bare, lone, version):
    bare.execute(
        "CREATE TABLE m (e text, k text, ts bigint, v float8, t timestamptz GENERATED ALWAYS AS"
        " (to_timestamp(ts / 1000.0)) STORED, PRIMARY KEY (e, k, ts), UNIQUE (e, k, t))"
    )
    connector = lone(f'table = "public.m"\n{MAPPED}')
    found = findings(connector)
    if version < 18:
        assert any("generated as to_timestamp" in each.what and each.remedy.endswith("ts (an epoch can be a time: "
                   "`time_form`)") for each in found)  # fmt: skip
        assert (
            findings(lone('table = "public.m"\nentity = ["e"]\ntime = "ts"\ntime_form = "epoch_ms"\nkey = "k"')) == []
        )
        return
    mend(bare, connector)
    create(bare, connector.publication, *members(bare, connector))
    bare.execute("INSERT INTO m (e, k, ts, v) VALUES ('a', 'b', 1000, 1)")
    assert bare.execute("SELECT v, t IS NOT NULL FROM m").fetchall() == [(1.0, True)]
    assert bare.execute("UPDATE m SET ts = 2000, v = 2").rowcount == 1
    assert bare.execute("DELETE FROM m").rowcount == 1
