"""Connections to PostgreSQL whose sessions print every value in one and the same text, and that do not hang for ever.

Stream, backfill, sink and verify compare text with text, so all of them, and the walsender, run under the same
settings whatever the role's or the database's defaults say.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdc.bindable import Cursor

PINNED: Final[dict[str, str]] = {
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",  # from PostgreSQL 12 on: the shortest text that reads back as the same float
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    "search_path": "pg_catalog",  # else regclass and its like print with or without a schema
    "quote_all_identifiers": "off",
    "row_security": "off",  # an error rather than silently fewer rows
    "array_nulls": "on",  # else a NULL in an array is the text NULL
    "standard_conforming_strings": "on",
    # The compare-and-set of the progress waits for another owner and then sees what it did: no other level does both.
    "default_transaction_isolation": "read committed",
    # What a role's limits are set for are people and their mistakes. Ours waits for chunks, for others' transactions
    # and for the next change, and bounds each of these by itself. `LIMITS` are set beside these.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
"""Settings of every session of ours. client_encoding is pinned beside them, as a connection parameter."""

LIMITS: Final = ("idle_session_timeout", "transaction_timeout")
"""Limits that older servers do not know, so that they would not let a session in that sets them at its start."""

_READ_ONLY: Final[dict[str, str]] = {"default_transaction_read_only": "on"}

ALIVE: Final[dict[str, int]] = {
    "connect_timeout": 30,  # for each host: a server that is reached and says nothing, too
    # Nothing comes, as from a server that is at work: so it is asked for a sign of life, by the kernels. Without
    # these a machine that is gone, or a firewall that forgot us, is noticed after two hours.
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds that what we sent may stay unacknowledged
}
"""How long a connection waits for a server that has vanished, as libpq's parameters. The user's own win."""

HEARD: Final[dict[str, str]] = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60s",
}
"""The same for the server, which ends the session of a machine of ours that has vanished: else its snapshot and its
locks stay for two hours. The user's own `options` win."""

BOUNDED: Final[dict[str, int]] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 15_000,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""Parameters for sessions that only look, above ALIVE: a server that has vanished is given up after 15 s.

A server that is there and says nothing (a stopped process) is still waited for: look in a thread of your own."""


_UNLIMITED: Final = sql.SQL(
    "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.unnest({}::text[]) AS name "
    "WHERE pg_catalog.current_setting(name, true) <> '0'"
).format(sql.Literal(list(LIMITS)))

ANSWER: Final = 60.0
"""Seconds that a server may take for a question that is answered from its catalog."""


_READ_BACK: Final = sql.SQL(
    "SELECT pg_catalog.pg_backend_pid(), ARRAY(SELECT pg_catalog.current_setting(name, true)"
    " FROM pg_catalog.unnest({}::text[]) WITH ORDINALITY AS pinned(name, n) ORDER BY n)"
)
_PID: Final = "SELECT pg_catalog.pg_backend_pid()"
_TAKEN: Final = 5.0
"""Seconds for a pool to give a second session; one that has none to give does not share ours."""


class SharedSession(psycopg.NotSupportedError):
    """Between us and the server is a pool that drops our settings, or gives our session to others in between."""


class FromFile(str):
    """A connection string with the password that stood in `password_file`; each new connection reads it anew.

    A password can be rotated under a process that runs for months, and a token is for an hour.
    """

    password_file: Path

    @classmethod
    def of(cls, dsn: str, password_file: Path) -> FromFile:
        """With the password as it is now. Raises OSError."""
        made = cls(make_conninfo(dsn, password=_password(password_file)))
        made.password_file = password_file
        return made

    def parts(self) -> dict[str, Any]:
        """Its parameters, with the password as it is now; in the moment in which there is no file, with the old one."""
        with suppress(OSError):
            return {**conninfo_to_dict(self), "password": _password(self.password_file)}
        return dict(conninfo_to_dict(self))


def _password(file: Path) -> str:
    return file.read_text(encoding="utf-8").strip("\r\n")


class Silent(psycopg.OperationalError):
    """A server that is there, or a proxy before it, says nothing."""


@contextmanager
def answered(connection: psycopg.Connection[Any], seconds: float | None = None) -> Iterator[None]:
    """Calls within this that wait for the server fail after so many seconds (ANSWER) with Silent; the session is lost.

    For what a server answers at once. Its kernel, or a proxy, goes on giving signs of life for a server that stands
    still, so that ALIVE does not help, and who waits for it in libpq hears no signal, and is replaced by nobody.
    """
    within, late = ANSWER if seconds is None else seconds, threading.Event()

    def hang_up() -> None:
        late.set()
        with socket.socket(fileno=os.dup(connection.pgconn.socket)) as ours:
            ours.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(within, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except psycopg.OperationalError as error:
        if late.is_set():
            raise Silent(f"the server has not answered for {within:.0f} s") from error
        raise
    finally:
        timer.cancel()
        timer.join()  # the socket's number is somebody else's once it is closed


def pinned_options(more: str = "") -> str:
    """The pinned settings as libpq's `options`, after the options `more` of the user's own."""
    return " ".join(filter(None, [_set(HEARD), more, _set(PINNED)]))


def pinned_conninfo(dsn: str, *, read_only: bool = False, **parameters: str | int) -> str:
    """The connection string `dsn` with the pinned settings, with `parameters` on top."""
    parts = dsn.parts() if isinstance(dsn, FromFile) else conninfo_to_dict(dsn)
    given: dict[str, Any] = {name: value for name, value in parts.items() if value is not None}
    options = pinned_options(str(given.get("options") or "")) + (f" {_set(_READ_ONLY)}" if read_only else "")
    fixed = {"options": options, "client_encoding": "UTF8"}
    if read_only and given.get("target_session_attrs") == "read-write":
        fixed["target_session_attrs"] = "primary"  # a session that is to read would not be taken for one that can write
    defaults = {"application_name": "widebeam", **ALIVE}
    return make_conninfo(**{**defaults, **given, **fixed, **parameters})


def connect_to_read(dsn: str, **parameters: str | int) -> psycopg.Connection[tuple[Any, ...]]:
    """Connect likewise, in autocommit, to look and never to write: so from the start, and not by a later setting."""
    return _opened(dsn, read_only=True, **parameters)


def connect(dsn: str, *, autocommit: bool = False, **parameters: str | int) -> psycopg.Connection[tuple[Any, ...]]:
    """Connect under the pinned settings; `parameters` are libpq's own (application_name, connect_timeout, ...).

    Raises SharedSession, before anything is set, where a pool is in between through which none can be had.
    """
    connection = _opened(dsn, read_only=False, **parameters)
    connection.autocommit = autocommit
    return connection


def _opened(dsn: str, *, read_only: bool, **parameters: str | int) -> psycopg.Connection[tuple[Any, ...]]:
    conninfo = pinned_conninfo(dsn, read_only=read_only, **parameters)
    connection = psycopg.connect(conninfo, autocommit=True, cursor_factory=Cursor)
    try:
        _check_ours(connection, conninfo, {**PINNED, **(_READ_ONLY if read_only else {}), "client_encoding": "UTF8"})
        connection.execute(_UNLIMITED)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_ours(connection: psycopg.Connection[Any], conninfo: str, pins: dict[str, str]) -> None:
    """The session prints as it was told to, and is nobody else's. SharedSession says what a pool made of it."""
    pid, found = connection.execute(_READ_BACK.format(sql.Literal(list(pins)))).fetchone() or (0, [])
    lost = [f"{name} = {now}" for (name, pinned), now in zip(pins.items(), found, strict=True) if now != pinned]
    if lost:
        raise SharedSession(
            f"the session did not get the settings that it was asked to have ({', '.join(lost)}): a pool between us "
            "and the server drops `options`, so that values would be printed otherwise. Name the server itself in `dsn`"
        )
    if pid != connection.info.backend_pid and _is_given_away(connection, conninfo, pid):
        raise SharedSession(
            "a pool between us and the server gives a session to others after each transaction (pool_mode = "
            "transaction or statement), so that neither settings nor locks of a session would be ours. Name the server "
            "itself in `dsn`, or a pool with pool_mode = session"
        )


def _is_given_away(connection: psycopg.Connection[Any], conninfo: str, pid: int) -> bool:
    """Somebody answers for the server: does a second session get the first one's, or the first one another then?"""
    try:
        with psycopg.connect(conninfo, cursor_factory=Cursor) as other, answered(other, _TAKEN):
            return other.execute(_PID).fetchone() == (pid,) or connection.execute(_PID).fetchone() != (pid,)
    except psycopg.OperationalError:
        return False


def _set(settings: dict[str, str]) -> str:
    return " ".join(f"-c {name}={_escaped(value)}" for name, value in settings.items())


def _escaped(value: str) -> str:
    """In `options` a space or a backslash inside a value needs a backslash before it."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
