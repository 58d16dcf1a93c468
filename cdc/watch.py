"""Looks at the source's catalog while capture runs.

A table that was taken out of the publication makes no event at all: the stream goes on without it, and everything
seems well. So somebody has to look: before the first change is read, then every now and then, and at once when the
stream describes a table anew, which it does after most changes of one.
"""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Any, Final

import psycopg

from cdc.halt import Halt
from cdc.settings import CaptureSettings
from cdc.source import publication, slot_waits
from cdc.source.session import BOUNDED, answered, connect
from cdc.trouble import TROUBLES

log = logging.getLogger(__name__)

WATCH: Final = "watch"
"""Whose trouble it is when the catalog cannot be looked at."""

STANDBYS: Final = "standbys"
"""Whose trouble it is when the stream waits for standbys."""

_SOON: Final = 0.5  # seconds
_ANSWER: Final = 300.0
"""Seconds for a whole look, of which each statement has its own limit."""
_FAREWELL: Final = 1.0
"""Seconds that a look gets to come to its end. One that hangs in a silent server is left to the end of the process."""


class Watch:
    """A thread with a connection of its own for each look, every `settings.watch_seconds`."""

    def __init__(self, settings: CaptureSettings) -> None:
        self._settings = settings
        self._wake = threading.Event()
        self._stopped = False
        self._told = ""
        self._thread = threading.Thread(target=self._run, name="capture-watch", daemon=True)
        self.found: Halt | None = None

    def __enter__(self) -> Watch:
        self._soon = self._look()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped = True
        self._wake.set()
        self._thread.join(_FAREWELL)

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def check(self) -> None:
        """Raise the Halt that was found, if one was."""
        if self.found is not None:
            raise self.found

    def _run(self) -> None:
        while self.found is None:
            seconds = self._settings.watch_seconds
            self._wake.wait(min(_SOON, seconds) if self._soon else seconds)
            self._wake.clear()
            if self._stopped:
                return
            try:
                self._soon = self._look()
                TROUBLES.over(WATCH)
            except Halt as halt:
                self.found = halt
            except psycopg.Error as error:  # the stream has its own connection, and says itself when that is lost
                log.warning("cannot look at the source's catalog, trying again: %s", error)
                TROUBLES.hold(WATCH, str(error).partition("\n")[0])

    def _tell_standbys(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        """That the stream stands still for a standby, which makes neither an event nor an error."""
        found = "; ".join(slot_waits.standbys(connection, self._settings.slot))
        if found:
            TROUBLES.hold(STANDBYS, found)
        else:
            TROUBLES.over(STANDBYS)
        if found and found != self._told:
            log.warning("%s", found)
        self._told = found

    def _look(self) -> bool:
        """One look; True if another one is due soon."""
        settings = self._settings
        with (
            connect(settings.source_dsn, autocommit=True, **BOUNDED, application_name="widebeam-watch") as connection,
            answered(connection, _ANSWER),
        ):
            connection.execute("SET statement_timeout = '5s'")
            self._tell_standbys(connection)
            if settings.survey is not None:
                return settings.survey(connection)
            for table in settings.tables:
                found = publication.inspect(connection, settings.publication, table)
                publication.check(settings.publication, found, table)
        return False
