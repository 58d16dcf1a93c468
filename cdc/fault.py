"""An error as it was raised, read for the table of what becomes of it: whose session it came from, and its code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import psycopg
from confluent_kafka import KafkaException
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping
from psycopg.pq.abc import PGconn as Connected

from cdc.fate import ABSENT, LOST, SHUT, Fate, Whose, fate

_MARK: Final = "_widebeam_whose"

_PING: Final = 5
"""Seconds for a server to answer once more."""


class Fault(NamedTuple):
    """Whose session it came from, its code, and what becomes of it."""

    whose: Whose
    code: str
    fate: Fate


@contextmanager
def session_of(whose: Whose) -> Iterator[None]:
    """Errors of PostgreSQL in here come from such a session, unless something within has said it already."""
    try:
        yield
    except psycopg.Error as error:
        if not hasattr(error, _MARK):
            setattr(error, _MARK, whose)
        raise


def fault(error: BaseException, whose: Whose = Whose.TARGET) -> Fault | None:
    """What is known of an error; `whose` counts where it was not marked. None: it is of neither server nor broker."""
    match error:
        case psycopg.Error():
            of, code = getattr(error, _MARK, whose), _code(error)
            return Fault(of, code, fate(code, of))
        case KafkaException() if error.args and hasattr(error.args[0], "name"):
            code = str(error.args[0].name())
            return Fault(Whose.KAFKA, code, fate(code, Whose.KAFKA))
        case _:
            return None


def _code(error: psycopg.Error) -> str:
    if error.sqlstate is not None:
        return str(error.sqlstate)
    if isinstance(error, psycopg.InterfaceError):
        return LOST
    if not isinstance(error, psycopg.OperationalError):
        return ""
    tried = error.pgconn
    if tried is None or tried.backend_pid:
        return LOST
    return SHUT if _refuses(tried) else ABSENT


def _refuses(tried: Connected) -> bool:
    """Whether a server that is up would not have us.

    libpq keeps the SQLSTATE of a failed connection to itself, and the message is in the server's language. PQping looks
    at the SQLSTATE, so the server is asked once more.
    """
    given = make_conninfo(**{each.keyword.decode(): each.val.decode() for each in tried.info if each.val is not None})
    again = make_conninfo(given, connect_timeout=_PING, target_session_attrs="any")
    return PGconn.ping(again.encode()) == Ping.OK and not _lets_in(again)


def _lets_in(conninfo: str) -> bool:
    """Whether a server would have us, but for being a standby where a primary is wanted, say: it may be promoted."""
    try:
        psycopg.connect(conninfo).close()
    except psycopg.OperationalError:
        return False
    return True
