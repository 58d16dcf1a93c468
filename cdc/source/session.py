"""Connections to PostgreSQL whose sessions print every value in one and the same text, and that do not hang for ever.

Stream, backfill, sink and verify compare text with text, so all of them, and the walsender, run under the same
settings whatever the role's or the database's defaults say.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

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
}
"""Settings of every session of ours. client_encoding is pinned beside them, as a connection parameter."""

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


ANSWER: Final = 60.0
"""Seconds that a server may take for a question that is answered from its catalog."""


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


def pinned_conninfo(dsn: str, **parameters: str | int) -> str:
    """The connection string `dsn` with the pinned settings, with `parameters` on top."""
    given: dict[str, Any] = {name: value for name, value in conninfo_to_dict(dsn).items() if value is not None}
    fixed = {"options": pinned_options(str(given.get("options") or "")), "client_encoding": "UTF8"}
    defaults = {"application_name": "widebeam", **ALIVE}
    return make_conninfo(**{**defaults, **given, **fixed, **parameters})


def connect(dsn: str, *, autocommit: bool = False, **parameters: str | int) -> psycopg.Connection[tuple[Any, ...]]:
    """Connect under the pinned settings; `parameters` are libpq's own (application_name, connect_timeout, ...)."""
    return psycopg.connect(pinned_conninfo(dsn, **parameters), autocommit=autocommit)


def _set(settings: dict[str, str]) -> str:
    return " ".join(f"-c {name}={_escaped(value)}" for name, value in settings.items())


def _escaped(value: str) -> str:
    """In `options` a space or a backslash inside a value needs a backslash before it."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
