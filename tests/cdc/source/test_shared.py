"""Sessions through a pool: taken where they are ours, and else refused before anything is set."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from cdc.source import session
from cdc.source.session import SharedSession, connect, connect_to_read
from tests.cdc.source.pool import pool
from widebeam.check.check import findings
from widebeam.config.config import load

FILE = """
[source]
dsn = "{dsn}"
table = "public.m"
entity = ["e"]
time = "t"
key = "k"
[source.value]
columns = ["v"]
[target]
dsn = "{dsn}"
[backfill]
standby_dsn = "{standby}"
"""


def test_a_pool_that_drops_the_settings_is_refused_by_name(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {admin.info.dbname} SET DateStyle = 'SQL, DMY'")
    with pool(database, drops_options=True) as pooled, pytest.raises(SharedSession, match="DateStyle = SQL, DMY"):
        connect(pooled)


def test_a_pool_that_gives_whole_sessions_is_as_good_as_the_server(database: str) -> None:
    with pool(database, drops_options=False) as pooled, connect(pooled, autocommit=True) as ours:
        assert ours.execute("SELECT pg_backend_pid()").fetchone() != (ours.info.backend_pid,)


def test_a_pool_that_gives_our_session_to_others_is_refused_before_anything_is_set(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second client gets the backend of the first one."""
    monkeypatch.setattr(session, "_UNLIMITED", "SELECT 1 / 0")
    with pool(database, drops_options=False) as pooled, psycopg.connect(session.pinned_conninfo(pooled)) as shared:
        shared.autocommit = True
        given, others = iter((shared, nullcontext(shared))), psycopg.connect
        there = f"port={conninfo_to_dict(pooled)['port']} "  # threads of other tests may connect to elsewhere meanwhile
        monkeypatch.setattr(
            session.psycopg, "connect", lambda to, **more: next(given) if there in f"{to} " else others(to, **more)
        )
        with pytest.raises(SharedSession, match="pool_mode"):
            connect(pooled)


def test_a_session_that_only_looks_cannot_write_from_the_start(database: str) -> None:
    with connect_to_read(database) as reader, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        reader.execute("CREATE TABLE public.t (x int)")


def test_check_looks_at_the_standby_too(database: str, tmp_path: Path) -> None:
    file = tmp_path / "pooled.toml"
    with pool(database, drops_options=True) as pooled:
        file.write_text(FILE.format(dsn=database, standby=pooled))
        found = [each for each in findings(load(str(file), {})) if each.where.startswith("standby")]
    assert len(found) == 1
    assert "drops `options`" in found[0].what
