"""Locks are waited for within a bound, and in vain with the names of those who may hold them.

Set-up, undoing and going back take locks that an application or an administrator may hold for as long as he likes. Who
waits without a bound looks hung, and whoever comes after him queues behind him.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import errors

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

SECONDS: Final = 30
"""For one lock."""

# Of those who hold a lock on a table here: who holds it longest. The server does not say, afterwards, who it was.
_HOLDERS: Final = """
SELECT DISTINCT coalesce(a.xact_start, a.state_change, a.backend_start) AS since, a.pid, coalesce(a.usename, ''),
       coalesce(a.application_name, ''), coalesce(a.state, ''),
       (SELECT string_agg(DISTINCT r.relation::regclass::text, ', ') FROM pg_locks AS r
         WHERE r.pid = a.pid AND r.granted AND r.relation >= 16384)
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.granted AND l.relation >= 16384 AND a.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY since LIMIT 3
"""
_WRITERS: Final = """
SELECT xact_start, pid, coalesce(usename, ''), coalesce(application_name, ''), coalesce(state, ''), NULL
FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 3
"""


class LockHeld(Exception):
    """Somebody holds a lock that we need, and goes on holding it."""

    def __init__(self, doing: str, holders: list[str]) -> None:
        who = "; ".join(holders) or "nobody that can be seen any more"
        super().__init__(
            f"{doing} waits for a lock, in vain. Who may hold it: {who}. Wait until that is over, or end it with "
            "pg_terminate_backend(PID); then run the same command again: it goes on from there"
        )


@contextmanager
def bounded(doing: str, *sessions: Connection, seconds: float = SECONDS) -> Iterator[None]:
    """No statement of these sessions waits for one lock longer than that; LockHeld in vain. All are in autocommit."""
    before = [_set(session, f"{seconds * 1000:.0f}ms") for session in sessions]
    try:
        yield
    except errors.LockNotAvailable as error:
        raise LockHeld(doing, [who for session in sessions for who in holders(session)]) from error
    finally:
        for session, was in zip(sessions, before, strict=True):
            if not session.closed:
                _set(session, was)


def holders(session: Connection) -> list[str]:
    """Who holds locks on tables in this database, longest first; nobody where that cannot be asked for."""
    return _named(session, _HOLDERS)


def writers(session: Connection) -> list[str]:
    """Whose transactions write anywhere on this server, longest first."""
    return _named(session, _WRITERS)


def _named(session: Connection, query: str) -> list[str]:
    if session.closed:
        return []
    rows = session.execute(query.encode()).fetchall()
    return [
        f"PID {pid} ({', '.join(filter(None, [role, name, state, on and f'on {on}', f'since {since:%H:%M:%S} UTC']))})"
        for since, pid, role, name, state, on in rows
        if since is not None
    ]


def _set(session: Connection, value: str) -> str:
    """Set the session's lock_timeout; what it was."""
    row = session.execute(
        "SELECT current_setting('lock_timeout'), set_config('lock_timeout', %s, false)", [value]
    ).fetchone()
    return str(row[0]) if row is not None else "0"
