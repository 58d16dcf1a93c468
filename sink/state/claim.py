"""Claims: a session of ours is alone with something (a chunk, a connector's set-up), until it ends, however it ends.

They are rows of a table into which only our roles can write; an advisory lock could be held by anybody who may connect,
by keys that all can read. A claim is as good as its session: whoever finds one whose session is gone takes it over. So
nothing has to be cleared up after a crash, and no transaction stays open for it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class Claim(NamedTuple):
    """What is claimed of a connector: `what` is `prepare`, `join`, or `chunk 7`."""

    connector: str
    what: str

    def take(self, session: Connection) -> bool:
        """Whether it is this session's now, or was before. In autocommit, and not behind a pool."""
        me = session.execute(_ME).fetchone()
        if me is None:
            raise LookupError("pg_stat_activity does not show this session")
        return session.execute(_TAKE, [*self, *me]).rowcount == 1

    def give_back(self, session: Connection) -> None:
        """Others may take it."""
        session.execute(_GIVE_BACK, self)

    def holder(self, session: Connection) -> str:
        """Who has it, for people; empty where nobody has."""
        row = session.execute(_HOLDER, self).fetchone()
        if row is None:
            return ""
        pid, role, name, since = row
        return f"PID {pid} ({', '.join(filter(None, [role, name, since and f'connected since {since:%H:%M:%S} UTC']))})"


_ME: Final = "SELECT pid, usesysid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"

# A role that may not look into sessions of others sees no backend_start there, and sees it in those of its own: so a
# session that has got the PID of one that is gone is only taken for it where another role of ours has claimed.
_TAKE: Final = """
INSERT INTO widebeam.claims AS c (connector, what, pid, role, began) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (connector, what) DO UPDATE SET pid = excluded.pid, role = excluded.role, began = excluded.began
WHERE (c.pid, c.began) = (excluded.pid, excluded.began) OR NOT EXISTS (
    SELECT FROM pg_stat_activity AS a
    WHERE a.pid = c.pid AND a.usesysid = c.role AND coalesce(a.backend_start = c.began, true))
"""
_GIVE_BACK: Final = "DELETE FROM widebeam.claims WHERE connector = %s AND what = %s AND pid = pg_backend_pid()"
_HOLDER: Final = """
SELECT a.pid, a.usename::text, a.application_name, c.began AT TIME ZONE 'UTC'
FROM widebeam.claims AS c JOIN pg_stat_activity AS a ON a.pid = c.pid AND a.usesysid = c.role
WHERE c.connector = %s AND c.what = %s
"""
