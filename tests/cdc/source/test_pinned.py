"""Sessions that print every value in one and the same text."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from cdc.source.session import connect

PRINTED = {
    "DateStyle": ("German", "SELECT '2024-03-01'::date::text", "2024-03-01"),
    "IntervalStyle": ("iso_8601", "SELECT '1 day 02:00'::interval::text", "1 day 02:00:00"),
    "TimeZone": ("Asia/Tokyo", "SELECT '2024-01-01 00:00Z'::timestamptz::text", "2024-01-01 00:00:00+00"),
    "extra_float_digits": ("-10", "SELECT (0.1::float8 + 0.2)::text", "0.30000000000000004"),
    "bytea_output": ("escape", "SELECT convert_to('a', 'UTF8')::text", "\\x61"),
    "quote_all_identifiers": ("on", "SELECT 'pg_class'::regclass::text", "pg_class"),
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
