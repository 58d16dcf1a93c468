"""Signs of life: every process of a connector writes one in the target every some seconds, and takes it away when it
ends in order. They tell, from anywhere, whether somebody runs the connector, and what its parts fail at."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.types.json import Jsonb

from cdc.source.session import BOUNDED, connect
from cdc.trouble import TROUBLES, Trouble, Troubles
from widebeam.state.sign import Sign

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

EVERY: Final = 10.0
"""Seconds between two signs of a process."""

_SOON: Final = 1.0
"""Seconds until the next attempt while there is nothing to write it to: a first run makes the tables."""
_FAREWELL: Final = 2.0
_FORGOTTEN: Final = "1 day"
_LOG: Final = logging.getLogger(__name__)

_WRITE: Final = """
INSERT INTO widebeam.signs AS s (connector, host, part, pid, how, troubles)
SELECT connector, %(host)s, %(part)s, %(pid)s, %(how)s, %(troubles)s FROM widebeam.connectors
WHERE connector = %(connector)s
ON CONFLICT (connector, host, part, pid) DO UPDATE SET seen_at = now(), how = EXCLUDED.how, troubles = EXCLUDED.troubles
"""
_FORGET_OLD: Final = "DELETE FROM widebeam.signs WHERE connector = %s AND seen_at < now() - %s::text::interval"
_REMOVE: Final = "DELETE FROM widebeam.signs WHERE (connector, host, part, pid) = (%s, %s, %s, %s)"
_LOAD: Final = """
SELECT part, host, pid, greatest(extract(epoch FROM now() - seen_at), 0)::float8,
    extract(epoch FROM seen_at - started_at)::float8, how, troubles
FROM widebeam.signs WHERE connector = %s ORDER BY seen_at DESC, host, part, pid
"""


def there(target: Session) -> bool:
    """Does the control schema know signs?"""
    return target.execute("SELECT to_regclass('widebeam.signs')").fetchone() != (None,)


def load(target: Session, connector: str) -> tuple[Sign, ...]:
    """The signs of all its processes, the newest first; none in a control schema from before there were any."""
    if not there(target):
        return ()
    return tuple(
        Sign(row[0], row[1], row[2], row[3], row[4], row[5], tuple(Trouble(*each) for each in row[6]))
        for row in target.execute(_LOAD, [connector])
    )


class SignWriter:
    """A thread that writes this process's sign, over a session of its own for each: nobody's idle time-out ends it."""

    def __init__(
        self,
        dsn: Callable[[], str],
        connector: str,
        part: str,
        how: Callable[[], str],
        troubles: Troubles = TROUBLES,
    ) -> None:
        self._dsn = dsn
        self._connector = connector
        self._part = part
        self._how = how
        self._troubles = troubles
        self._host, self._pid = socket.gethostname(), os.getpid()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._work, name="signs", daemon=True)
        self._cleared = False

    def __enter__(self) -> SignWriter:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(self) -> None:
        """Write from now on."""
        self._thread.start()

    def end(self) -> None:
        """It ends in order: no sign is left. What cannot be taken away grows old."""
        self._ends.set()
        self._thread.join(_FAREWELL)
        try:
            with connect(self._dsn(), autocommit=True, **BOUNDED, application_name="widebeam-sign") as target:
                if there(target):
                    target.execute(_REMOVE, [self._connector, self._host, self._part, self._pid])
        except psycopg.Error as error:
            _LOG.debug("the last sign of life stays: %s", error)

    def write(self) -> bool:
        """One sign; False where there is nothing to write it to, yet."""
        with connect(self._dsn(), autocommit=True, **BOUNDED, application_name="widebeam-sign") as target:
            if not there(target):
                return False
            found = [list(each) for each in self._troubles.all()]
            sign = {"host": self._host, "part": self._part, "pid": self._pid, "how": self._how()}
            written = target.execute(_WRITE, {**sign, "connector": self._connector, "troubles": Jsonb(found)})
            if not self._cleared:
                target.execute(_FORGET_OLD, [self._connector, _FORGOTTEN])
                self._cleared = True
            return written.rowcount > 0

    def _work(self) -> None:
        pause = 0.0
        while not self._ends.wait(pause):
            try:
                pause = EVERY if self.write() else _SOON
            except psycopg.Error as error:  # the parts say themselves that the target is away
                _LOG.debug("no sign of life is written: %s", error)
                pause = EVERY / 2
