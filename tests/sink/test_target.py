"""The sink's sessions: what they may not take over from the database's or the role's defaults."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from sink.target import open_target


@pytest.mark.parametrize(
    ("setting", "default", "ours"),
    [
        ("transaction_isolation", "default_transaction_isolation = 'serializable'", "read committed"),
        ("synchronous_commit", "synchronous_commit = off", "on"),
        ("synchronous_commit", "synchronous_commit = 'remote_apply'", "remote_apply"),
        ("statement_timeout", "statement_timeout = '5s'", "0"),
        ("idle_in_transaction_session_timeout", "idle_in_transaction_session_timeout = 0", "1min"),
        ("search_path", "search_path = 'evil'", "pg_catalog"),
        ("row_security", "row_security = on", "off"),
    ],
)
def test_a_session_is_as_careful_as_it_has_to_be_whatever_the_database_says(database, setting, default, ours):
    with psycopg.connect(database, autocommit=True) as admin:
        name = sql.Identifier(admin.info.dbname)
        admin.execute(sql.SQL("ALTER DATABASE {} SET ").format(name) + sql.SQL(default))
    with open_target(database, "sink") as session, session.transaction():
        assert session.execute(sql.SQL("SHOW {}").format(sql.Identifier(setting))).fetchone() == (ours,)
