"""The deaths of parts as they are written down, so that `widebeam status` shows them wherever it runs."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from cdc.source.session import BOUNDED, connect
from widebeam.config.connector import Connector
from widebeam.log import struck_out

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LONGEST: Final = 1000
_WAIT: Final = "5s"


@dataclass(frozen=True, slots=True)
class Restart:
    """A part of a `widebeam run` on `host` that died: how often in that run, and how and when the last time."""

    host: str
    part: str
    times: int
    cause: str
    at: datetime


class _Noted(NamedTuple):
    how: str
    times: int


class RestartLog:
    """What one run has to write down. `note` is for any thread and waits for nobody."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._host = socket.gethostname()
        self._lock = threading.Lock()
        self._noted: dict[str, _Noted] = {}
        self._begun = False

    def note(self, part: str, how: str, times: int) -> None:
        """A part died; only the last time of each is kept."""
        with self._lock:
            self._noted[part] = _Noted(struck_out(how)[:_LONGEST], times)

    def write(self) -> None:
        """Write down what is noted; at the first time, what earlier runs here wrote down goes. Raises psycopg.Error."""
        with self._lock:
            noted = dict(self._noted)
        if self._begun and not noted:
            return
        with connect(self._connector.options.target.conninfo(), autocommit=False, **BOUNDED) as target:
            target.execute("SELECT set_config('statement_timeout', %s, false)", [_WAIT])
            if not self._begun:
                target.execute(
                    "DELETE FROM widebeam.restarts "
                    "WHERE connector = %s AND (host = %s OR at < now() - interval '1 day')",
                    [self._connector.name, self._host],
                )
            for part, one in noted.items():
                target.execute(_WRITE, [self._host, part, one.times, one.how, self._connector.name])
        self._begun = True
        with self._lock:
            self._noted = {part: one for part, one in self._noted.items() if noted.get(part) != one}


def load(session: Session, connector: str) -> tuple[Restart, ...]:
    """What is written down, by part."""
    found = session.execute(
        "SELECT host, part, times, cause, at FROM widebeam.restarts WHERE connector = %s ORDER BY part, host",
        [connector],
    )
    return tuple(Restart(*row) for row in found)


# The connector may have been dropped meanwhile.
_WRITE: Final = """
INSERT INTO widebeam.restarts (host, part, times, cause, connector)
SELECT %s, %s, %s, %s, connector FROM widebeam.connectors WHERE connector = %s
ON CONFLICT (connector, host, part) DO UPDATE SET times = excluded.times, cause = excluded.cause, at = now()
"""
