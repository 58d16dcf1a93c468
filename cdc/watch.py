"""Looks at the source's catalog while capture runs.

A table that was taken out of the publication makes no event at all: the stream goes on without it, and everything
seems well. So somebody has to look.
"""

from __future__ import annotations

import logging
import threading
from types import TracebackType

import psycopg

from cdc import publication
from cdc.halt import Halt
from cdc.session import connect
from cdc.standby import CaptureSettings

log = logging.getLogger(__name__)


class Watch:
    """A thread with a connection of its own for each look, every `settings.watch_seconds`."""

    def __init__(self, settings: CaptureSettings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture-watch", daemon=True)
        self.found: Halt | None = None

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Raise the Halt that was found, if one was."""
        if self.found is not None:
            raise self.found

    def _run(self) -> None:
        while self.found is None and not self._stop.wait(self._settings.watch_seconds):
            try:
                self._look()
            except Halt as halt:
                self.found = halt
            except psycopg.Error as error:  # the stream has its own connection, and says itself when that is lost
                log.warning("cannot look at the source's catalog, trying again: %s", error)

    def _look(self) -> None:
        settings = self._settings
        with connect(
            settings.source_dsn, autocommit=True, application_name="widebeam-watch", connect_timeout=5
        ) as connection:
            connection.execute("SET statement_timeout = '5s'")
            for table in settings.tables:
                found = publication.inspect(connection, settings.publication, table)
                publication.check(settings.publication, found, table)
