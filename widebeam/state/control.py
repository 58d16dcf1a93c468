"""The control schema: made, brought up to date, and refused where a newer Widebeam has made it."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from importlib import resources
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import errors

from cdc.patience import bounded
from widebeam.config.config import ConfigError

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

VERSION: Final = 4
"""Raised with each change of sink/control.sql after which an older program must not work with the schema.

A change that an older program does not notice (a table, a column with a default) needs no new version: the script runs
again wherever it is another one than the one that ran last.
"""

_CREATE_SCHEMA: Final = "CREATE SCHEMA IF NOT EXISTS widebeam;"
_WAIT: Final = "10s"
_ATTEMPTS: Final = 5
_MADE_MEANWHILE: Final = (
    errors.UniqueViolation,
    errors.DuplicateSchema,
    errors.DuplicateTable,
    errors.DuplicateObject,
    errors.UndefinedTable,  # dropped, with the last connector
)
"""What a process meets that makes the schema at the same time as another one: it looks again."""


class InUse(Exception):
    """Processes of an older version are at work, so that the control schema cannot be brought up to date."""


class Made(NamedTuple):
    """Which script made the schema last: its version and its fingerprint."""

    version: int
    script: str


def install(session: Session) -> None:
    """Make the control schema or bring it up to date. One at a time, whatever the connector.

    Raises ConfigError where it is newer than this program, InUse, and LockHeld.
    """
    script = resources.files("sink").joinpath("control.sql").read_text(encoding="utf-8")
    ours = Made(VERSION, sha256(script.encode()).hexdigest())
    with bounded("bringing the schema widebeam up to date", session):
        for _ in range(_ATTEMPTS):
            found = made(session)
            refuse_newer(found)
            if found == ours:
                return
            with suppress(*_MADE_MEANWHILE):
                _run(session, script, ours)
                return
        _run(session, script, ours)


def _run(session: Session, script: str, ours: Made) -> None:
    with session.transaction():
        be_alone(session)
        found = made(session)
        refuse_newer(found)
        if found == ours:
            return
        there = session.execute("SELECT to_regnamespace('widebeam')").fetchone() != (None,)
        session.execute("SELECT set_config('lock_timeout', %s, true)", [_WAIT])
        try:
            # Even with IF NOT EXISTS it takes CREATE on the database, which a role need not have for a schema made for
            # it.
            session.execute((script.replace(_CREATE_SCHEMA, "") if there else script).encode())
        except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
            raise InUse(
                "the tables of the schema widebeam are in use, and are to be brought up to date: stop the processes of "
                f"an older version, and run this again ({error.diag.message_primary})"
            ) from error
        session.execute("DELETE FROM widebeam.version")
        session.execute("INSERT INTO widebeam.version (version, script) VALUES (%s, %s)", ours)


def be_alone(session: Session) -> None:
    """In the open transaction: nobody else makes the control schema, or drops it, until its end.

    By a lock that only our roles can take; where there is nothing yet, whoever makes the schema first goes on.
    """
    if session.execute("SELECT to_regclass('widebeam.version')").fetchone() != (None,):
        session.execute("LOCK TABLE widebeam.version IN EXCLUSIVE MODE")


def made(session: Session) -> Made | None:
    """What made the schema last; None where there is none, or one from before versions."""
    if session.execute("SELECT to_regclass('widebeam.version')").fetchone() == (None,):
        return None
    row = session.execute("SELECT version, script FROM widebeam.version").fetchone()
    return None if row is None else Made(*row)


def refuse_newer(found: Made | None) -> None:
    """ConfigError where a newer Widebeam has made the schema: this one would not know what else to keep right in it."""
    if found is not None and found.version > VERSION:
        raise ConfigError(
            [
                f"the target's schema widebeam is of version {found.version}, and this Widebeam knows version {VERSION}"
                " at most: install the Widebeam that made it, or a newer one"
            ]
        )
