"""Sessions that print every value in one and the same text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from cdc.source.session import LIMITS, FromFile, connect, pinned_conninfo
from widebeam.lab.postgres import PostgresServer

PRINTED = {
    "DateStyle": ("German", "SELECT '2024-03-01'::date::text", "2024-03-01"),
    "IntervalStyle": ("iso_8601", "SELECT '1 day 02:00'::interval::text", "1 day 02:00:00"),
    "TimeZone": ("Asia/Tokyo", "SELECT '2024-01-01 00:00Z'::timestamptz::text", "2024-01-01 00:00:00+00"),
    "extra_float_digits": ("-10", "SELECT (0.1::float8 + 0.2)::text", "0.30000000000000004"),
    "bytea_output": ("escape", "SELECT convert_to('a', 'UTF8')::text", "\\x61"),
    "quote_all_identifiers": ("on", "SELECT 'pg_class'::regclass::text", "pg_class"),
    "array_nulls": ("off", "SELECT ('{NULL}'::text[])::text", "{NULL}"),
    "standard_conforming_strings": ("off", "SELECT 'a\\b'", "a\\b"),
    "default_transaction_isolation": ("serializable", "SHOW transaction_isolation", "read committed"),
    "search_path": ("odd", "SELECT 'odd.t'::regclass::text", "odd.t"),
}


@pytest.mark.parametrize("setting", PRINTED)
def test_a_value_has_one_text_whatever_the_role_and_the_database_say(database: str, setting: str) -> None:
    value, query, printed = PRINTED[setting]
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("CREATE SCHEMA odd; CREATE TABLE odd.t (x int)")
        change = sql.SQL("ALTER DATABASE {} SET {} = {}")
        name = sql.Identifier(admin.info.dbname)
        admin.execute(change.format(name, sql.Identifier(setting), sql.Literal(value)))
    with connect(database) as session:
        assert session.execute(query.encode()).fetchone() == (printed,)


@pytest.fixture
def reader(database: str) -> Iterator[str]:
    """A role that may read a table, of which a policy shows it nothing."""
    name = f"role_{uuid4().hex[:8]}"
    with psycopg.connect(database, autocommit=True) as admin:
        role = sql.Identifier(name)
        admin.execute(
            sql.SQL(
                "CREATE ROLE {0}; CREATE TABLE public.t AS SELECT 1 AS x; GRANT SELECT ON public.t TO {0};"
                " ALTER TABLE public.t ENABLE ROW LEVEL SECURITY"
            ).format(role)
        )
        yield name
        admin.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))


def test_rows_that_a_policy_hides_are_an_error_and_not_fewer_rows(database: str, reader: str) -> None:
    with connect(database) as session:
        session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(reader)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            session.execute("SELECT x FROM public.t")


LIMITED = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", *LIMITS)


@pytest.mark.parametrize("more", [{}, {"replication": "database"}], ids=["session", "stream"])
@pytest.mark.parametrize("autocommit", [False, True], ids=["in transactions", "autocommit"])
def test_limits_of_a_role_or_a_database_are_not_ours(database: str, more: dict[str, str], autocommit: bool) -> None:
    with psycopg.connect(database, autocommit=True) as admin:
        for limit in LIMITED:
            change = sql.SQL("ALTER DATABASE {} SET {} = '7min'")
            admin.execute(change.format(sql.Identifier(admin.info.dbname), sql.Identifier(limit)))
    with connect(database, autocommit=autocommit, **more) as session:
        session.rollback()
        assert {limit: setting(session, limit) for limit in LIMITED} == dict.fromkeys(LIMITED, "0")
        assert session.autocommit is autocommit


def test_a_server_that_knows_fewer_limits_lets_us_in(servers: Callable[[int], PostgresServer]) -> None:
    with connect(servers(15).dsn()) as session:
        assert setting(session, "statement_timeout") == "0"


def setting(session: psycopg.Connection[tuple[object, ...]], name: str) -> str:
    row = session.execute(sql.SQL("SELECT current_setting({})").format(sql.Literal(name))).fetchone()
    assert row is not None
    return str(row[0])


def test_a_password_that_was_rotated_in_its_file_is_read_by_the_next_connection(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    dsn = FromFile.of("host=a user=b", file)
    assert conninfo_to_dict(dsn)["password"] == "first"
    file.write_text("second\n")
    assert conninfo_to_dict(pinned_conninfo(dsn))["password"] == "second"
    file.unlink()
    assert conninfo_to_dict(pinned_conninfo(dsn))["password"] == "first"
