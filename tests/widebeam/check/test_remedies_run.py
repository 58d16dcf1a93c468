"""What is printed is run, by whom it is for, as it stands; then the application writes as before, and has all its rows.

The application is the tables' owner, and no superuser; who connects as Widebeam may do no more than it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cdc.source.publication import check_covers, create
from tests.conftest import fresh_database
from tests.pipeline import until
from widebeam.advice.advice import advice
from widebeam.check.check import findings
from widebeam.check.made import made_findings
from widebeam.config.catalog import members
from widebeam.config.config import load
from widebeam.config.connector import Connector
from widebeam.finding import Finding

Session = psycopg.Connection[tuple[Any, ...]]

COLUMNS: Final = "e text NOT NULL, k text NOT NULL, t timestamptz NOT NULL, v float8"
KEYED: Final = f"CREATE TABLE app.m ({COLUMNS}, PRIMARY KEY (e, k, t))"
ROWS: Final = "INSERT INTO app.m (e, k, t, v) SELECT 'e', 'k' || n, '2026-01-01', n FROM generate_series(1, 9) n"
FILE: Final = """
[source]
dsn = "{source}"
table = "app.m"
entity = ["e"]
time = "t"
key = "k"
[source.value]
columns = ["v"]
[target]
dsn = "{target}"
"""


@dataclass(frozen=True)
class Place:
    """A database with an application in it: its session is a superuser's, `owner` owns the application's schema."""

    session: Session
    dsn: str
    owner: str
    directory: Path

    def connector(self, *replaced: tuple[str, str], source: str = "", target: str = "") -> Connector:
        """Over app.m, with parts of its file replaced."""
        text = FILE.format(source=source or self.dsn, target=target or self.dsn)
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        file = self.directory / f"m_{self.owner}.toml"
        file.write_text(text)
        return load(str(file), {})

    @contextmanager
    def application(self) -> Iterator[Session]:
        """With the owner's rights alone."""
        self.session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(self.owner)))
        try:
            yield self.session
        finally:
            self.session.execute("RESET ROLE")

    def rows(self) -> list[tuple[Any, ...]]:
        """As the application sees them."""
        with self.application() as session:
            return session.execute("SELECT e, k, t, v FROM app.m ORDER BY e, k, t, v").fetchall()

    def publish(self, connector: Connector) -> None:
        """As a run does."""
        if self.session.execute("SELECT FROM pg_publication WHERE pubname = %s", [connector.publication]).rowcount == 0:
            create(self.session, connector.publication, *members(self.session, connector))
        for table in members(self.session, connector):
            check_covers(self.session, connector.publication, table)

    def still_works(self, rows: list[tuple[Any, ...]]) -> None:
        """Each kind of write does what it did, and nothing is there that was not, or not any more."""
        assert self.rows() == rows
        with self.application() as session:
            for write in (
                "INSERT INTO app.m (e, k, t, v) VALUES ('new', 'k', '2026-02-01', 1)",
                "UPDATE app.m SET v = v + 1 WHERE e = 'new'",
                "UPDATE app.m SET k = 'moved' WHERE e = 'new'",
                "DELETE FROM app.m WHERE e = 'new'",
            ):
                assert session.execute(write.encode()).rowcount == 1, write
        assert self.rows() == rows


@pytest.fixture
def place(database: str, tmp_path: Path) -> Iterator[Place]:
    owner = f"owner_{uuid4().hex[:8]}"
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(sql.SQL("CREATE ROLE {0}; CREATE SCHEMA app AUTHORIZATION {0}").format(sql.Identifier(owner)))
        session.execute(
            sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(
                sql.Identifier(session.info.dbname), sql.Identifier(owner)
            )
        )
        yield Place(session, database, owner, tmp_path)
        session.execute(sql.SQL("DROP OWNED BY {0} CASCADE; DROP ROLE {0}").format(sql.Identifier(owner)))


@pytest.fixture
def role(place: Place) -> Iterator[str]:
    """Widebeam's own, without any right."""
    name = f"role_{uuid4().hex[:8]}"
    place.session.execute(sql.SQL("CREATE ROLE {} LOGIN REPLICATION").format(sql.Identifier(name)))
    yield name
    place.session.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


def said(found: list[Finding]) -> str:
    return "\n".join(map(str, found))


def run(session: Session, printed: str) -> None:
    """Statement by statement, as psql does."""
    for statement in filter(str.strip, printed.partition(" --")[0].split(";")):
        session.execute(statement.encode())


def follow(place: Place, connector: Connector, look: Callable[[Connector], list[Finding]] = findings) -> list[Finding]:
    """Run what is printed as the application's owner until nothing is; what was found at first."""
    first = found = look(connector)
    for _ in range(3):
        with place.application() as session:
            for each in found:
                run(session, each.remedy)
        found = look(connector)
    assert found == [], said(found)
    return first


def loose(columns: str = COLUMNS) -> str:
    return f"CREATE TABLE app.m (id bigserial PRIMARY KEY, {columns})"


PARTED: Final = (
    f"CREATE TABLE app.m ({COLUMNS}, PRIMARY KEY (e, k, t)) PARTITION BY RANGE (t);"
    "CREATE TABLE app.m_26 PARTITION OF app.m FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"
)
LISTED: Final = "CREATE PUBLICATION {p} FOR TABLE app.m"

BY_THE_OWNER: Final = {
    "is not logged": f"{KEYED}; ALTER TABLE app.m SET UNLOGGED",
    "no unique index on exactly": f"{loose()}; ALTER TABLE app.m REPLICA IDENTITY FULL",
    "carries only (id)": f"{loose()}; CREATE UNIQUE INDEX ON app.m (e, k, t)",
    "m carries nothing": f"{KEYED}; ALTER TABLE app.m REPLICA IDENTITY NOTHING",
    "m_26 carries nothing": f"{PARTED}; ALTER TABLE app.m_26 REPLICA IDENTITY NOTHING",
    "a DEFERRABLE key counts for nothing": f"CREATE TABLE app.m ({COLUMNS}, PRIMARY KEY (e, k, t) DEFERRABLE)",
    "leaves out: delete, truncate": f"{KEYED}; {LISTED} WITH (publish = 'insert, update')",
    "leaves out the columns v": f"{KEYED}; {LISTED} (e, k, t)",
    "filters rows of app.m": f"{KEYED}; {LISTED} WHERE (e <> 'x')",
    "does not contain app.m": f"{KEYED}; CREATE TABLE app.o (a int); CREATE PUBLICATION {{p}} FOR TABLE app.o",
    "names partitions instead of app.m": f"{PARTED}; {LISTED}",
    "columns of the replica identity of app.m": (
        f"{KEYED}; {LISTED} (e, k, t, v); ALTER TABLE app.m REPLICA IDENTITY FULL"
    ),
}
"""What is found, and how it comes about."""


@pytest.mark.parametrize("what", BY_THE_OWNER)
def test_the_owner_mends_it_by_what_is_printed_and_writes_on(what: str, place: Place) -> None:
    connector = place.connector()
    with place.application() as session:
        for statement in BY_THE_OWNER[what].replace("{p}", connector.publication).split(";"):
            session.execute(statement.encode())
        session.execute(ROWS)
    before = place.rows()
    assert what in said(follow(place, connector))
    place.publish(connector)
    place.still_works(before)


def test_what_an_attempt_at_the_index_has_left_is_taken_away_with_the_next(place: Place) -> None:
    twice = "INSERT INTO app.m (e, k, t, v) VALUES ('e', 'k1', '2026-01-01', 99)"
    with place.application() as session:
        session.execute(f"{loose()}; ALTER TABLE app.m REPLICA IDENTITY FULL".encode())
        session.execute(f"{ROWS}; {twice}".encode())
        with pytest.raises(psycopg.errors.UniqueViolation):
            session.execute("CREATE UNIQUE INDEX CONCURRENTLY cell ON app.m (k, e, t)")
    connector = place.connector()
    (finding,) = findings(connector)
    assert "rows of app.m are alike in (e, t, k)" in finding.what
    assert '`several = "last"` and `order_by`' in finding.remedy
    assert findings(place.connector(('key = "k"', 'key = "k"\nseveral = "last"\norder_by = ["id"]'))) == []
    place.session.execute("DELETE FROM app.m WHERE v = 99")
    before = place.rows()
    assert "DROP INDEX CONCURRENTLY" in said(follow(place, place.connector()))
    indexes = "SELECT count(*) FROM pg_index WHERE indrelid = 'app.m'::regclass"
    assert place.session.execute(indexes).fetchone() == (2,)
    place.still_works(before)


def test_rows_of_a_parents_own_go_into_a_child_with_numbers_that_the_server_gave_and_what_it_computes(
    place: Place,
) -> None:
    columns = f"id int GENERATED ALWAYS AS IDENTITY, {COLUMNS}, twice float8 GENERATED ALWAYS AS (v * 2) STORED"
    with place.application() as session:
        session.execute(f"CREATE TABLE app.m ({columns}, PRIMARY KEY (e, k, t))".encode())
        session.execute("CREATE TABLE app.m_1 (PRIMARY KEY (e, k, t)) INHERITS (app.m)")
        session.execute(ROWS)
    before, numbers = place.rows(), place.session.execute("SELECT id, twice FROM app.m ORDER BY 1").fetchall()
    connector = place.connector(('table = "app.m"', 'tables = ["app.m_%"]'))
    assert "rows of its own" in said(follow(place, connector))
    assert place.session.execute("SELECT id, twice FROM app.m ORDER BY 1").fetchall() == numbers
    place.publish(connector)
    place.still_works(before)
    with place.application() as session:
        session.execute("INSERT INTO app.m (e, k, t, v) VALUES ('again', 'k', '2026-01-01', 1)")
    before = place.rows()
    follow(place, connector)  # into the child that is there by now
    place.still_works(before)


def test_a_publication_that_the_role_may_not_make_is_made_by_the_owner(place: Place, role: str) -> None:
    with place.application() as session:
        session.execute(f"{KEYED}; {ROWS}".encode())
        session.execute(
            sql.SQL("GRANT USAGE ON SCHEMA app TO {0}; GRANT SELECT ON app.m TO {0}").format(sql.Identifier(role))
        )
    before = place.rows()
    connector = place.connector(source=make_conninfo(place.dsn, user=role))
    assert "may not make it" in said(follow(place, connector))
    place.still_works(before)


def test_the_owner_opens_what_is_closed_to_the_role(place: Place, role: str) -> None:
    with place.application() as session:
        session.execute(f"{KEYED}; {ROWS}".encode())
    before = place.rows()
    found = follow(place, place.connector(source=make_conninfo(place.dsn, user=role)))
    assert "may not use the schema app" in said(found)
    assert "may not read app.m" in said(found)
    place.still_works(before)


HIDDEN: Final = (
    f"{KEYED}; {ROWS}; ALTER TABLE app.m ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON app.m USING (v > 5)"
)


@pytest.mark.parametrize("managed", [False, True])
def test_row_security_is_passed_by_what_is_printed_and_still_holds_for_others(
    managed: bool, place: Place, role: str
) -> None:
    with place.application() as session:
        session.execute(HIDDEN.encode())
        session.execute(sql.SQL("GRANT USAGE ON SCHEMA app TO public; GRANT SELECT ON app.m TO public").format())
        session.execute("CREATE PUBLICATION m_ours FOR TABLE app.m")
    before = place.rows()
    connector = place.connector(
        ('key = "k"', 'key = "k"\npublication = "m_ours"'), source=make_conninfo(place.dsn, user=role)
    )
    if managed:
        place.session.execute("CREATE ROLE rds_superuser")
    try:
        (finding,) = findings(connector)
        assert "row security hides rows of app.m" in finding.what
        assert ("BYPASSRLS" in finding.remedy) is not managed
        run(place.session, finding.remedy)
        assert findings(connector) == []
    finally:
        place.session.execute("DROP ROLE IF EXISTS rds_superuser")
    with psycopg.connect(make_conninfo(place.dsn, user=role), options="-c row_security=off") as ours:
        assert ours.execute("SELECT count(*) FROM app.m").fetchone() == (9,)
    assert place.session.execute("SELECT relrowsecurity FROM pg_class WHERE oid = 'app.m'::regclass").fetchone() == (
        True,
    )
    place.still_works(before)


def test_a_target_that_is_read_only_by_default_is_opened_to_our_role_and_to_no_other(place: Place, role: str) -> None:
    with place.application() as session:
        session.execute(f"{KEYED}; {ROWS}".encode())
    database = sql.Identifier(place.session.info.dbname)
    place.session.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(database))
    place.session.execute(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(sql.Identifier(role)))
    dsn = make_conninfo(place.dsn, user=role)
    connector = place.connector(target=dsn)
    for finding in findings(connector):
        run(place.session, finding.remedy)
    assert findings(connector) == []
    for conninfo, state in ((dsn, "off"), (place.dsn, "on")):
        with psycopg.connect(conninfo) as session:
            assert session.execute("SHOW transaction_read_only").fetchone() == (state,)


TYPES: Final = {
    "an enum": ("CREATE TYPE app.mood AS ENUM ('ok', 'it''s bad')", "app.mood"),
    "an array of an enum": ("CREATE TYPE app.mood AS ENUM ('ok')", "app.mood[]"),
    "an extension of a schema of its own": ('CREATE SCHEMA "my own"; CREATE EXTENSION hstore SCHEMA "my own"',
                                            '"my own".hstore'),
}  # fmt: skip


@pytest.mark.parametrize("what", TYPES)
def test_a_type_is_made_in_a_target_that_has_not_even_its_schema(what: str, place: Place, postgres: Any) -> None:
    script, kind = TYPES[what]
    if (
        "EXTENSION" in script
        and not place.session.execute("SELECT FROM pg_available_extensions WHERE name = 'hstore'").rowcount
    ):
        pytest.skip("the server has no hstore")
    place.session.execute(script.encode())
    place.session.execute(KEYED.replace("float8", kind).encode())
    with fresh_database(postgres) as elsewhere, psycopg.connect(elsewhere, autocommit=True) as target:
        connector = place.connector(target=elsewhere)
        (finding,) = findings(connector)
        assert f"the type {kind} of app.m.v in the source is not in this database" in finding.what
        run(target, finding.remedy)
        assert findings(connector) == []
        target.execute(sql.SQL("CREATE TABLE t (v {})").format(sql.SQL(kind)))  # type: ignore[arg-type]


def test_a_role_of_the_readers_is_made(place: Place) -> None:
    place.session.execute(KEYED.encode())
    name = f"reader_{uuid4().hex[:8]}"
    connector = place.connector(("[target]", f'[target]\nreaders = ["{name}"]'))
    (finding,) = findings(connector)
    run(place.session, finding.remedy)
    try:
        assert findings(connector) == []
    finally:
        place.session.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.mark.parametrize("way", ["another name", "dropped"])
def test_a_slot_of_somebody_elses_is_avoided_or_dropped_as_it_is_said(way: str, place: Place) -> None:
    place.session.execute(KEYED.encode())
    connector = place.connector()
    place.session.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [connector.slot])
    try:
        (finding,) = made_findings(connector)
        if way == "dropped":
            run(place.session, finding.remedy.rpartition("if nobody needs that one: ")[2])
        else:
            assert "set another `slot` in [source]" in finding.remedy
            connector = place.connector(('key = "k"', f'key = "k"\nslot = "other_{place.owner}"'))
        assert made_findings(connector) == []
    finally:
        place.session.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"
        )


@pytest.mark.parametrize("name", ["max_slot_wal_keep_size", "idle_replication_slot_timeout"])
def test_settings_of_slots_are_changed_as_they_are_advised(name: str, place: Place) -> None:
    def advised() -> list[Finding]:
        return [each for each in advice(connector) if name in each.what]

    place.session.execute(KEYED.encode())
    connector = place.connector()
    now = place.session.execute("SELECT setting FROM pg_settings WHERE name = %s", [name]).fetchone()
    if now is None:
        pytest.skip("the server does not have it yet")
    try:
        if name.startswith("idle"):
            run(place.session, f"ALTER SYSTEM SET {name} = '1d'; SELECT pg_reload_conf()")
        (finding,) = until(advised)
        run(place.session, finding.remedy)
        until(lambda: not advised())
    finally:
        run(place.session, f"ALTER SYSTEM RESET {name}; SELECT pg_reload_conf()")
