"""What `run` does beside its parts: shows how far they are, and brings about convergence."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import Any, Final, TypeAlias

import psycopg

from cdc.halt import Halt
from cdc.lsn import Lsn
from cdc.source.session import BOUNDED, connect
from widebeam.config import catalog
from widebeam.config.connector import Connector
from widebeam.finding import first_line
from widebeam.health.health import Seen
from widebeam.run import convergence
from widebeam.state import restart_log
from widebeam.status.progress import Display
from widebeam.status.viewer import Viewer
from widebeam.verify import barrier

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOG: Final = logging.getLogger(__name__)


_CLOSE: Final = 5.0
"""Seconds that a look gets to come to its end."""


class Monitor:
    """Looks once a second. With `until_converged`, convergence is the goal of the run; else there is none.

    `look` is for one thread, and may hang as long as a server does; the others, for another one, do not wait for it.
    """

    def __init__(self, connector: Connector, display: Display, *, until_converged: bool) -> None:
        self._connector = connector
        self._display = display
        self._until_converged = until_converged
        self._viewer = Viewer(connector, ours="run")
        self._barrier: Lsn | None = None
        self._converged = False
        self._trouble = ""
        self.seen: Seen | None = None
        self._looks = threading.Lock()
        self._book = restart_log.RestartLog(connector)

    def look(self) -> bool:
        """Show the status, and take the next step to convergence; True when the goal is reached. Raises Halt."""
        with self._looks:
            self.seen = Seen(self._viewer.read(), time.monotonic())
            self._display.show(self.seen.status)
            try:
                self._book.write()
                self._converged = self._converged or self._step()
                self._trouble = ""
            except psycopg.Error as error:
                self._say(first_line(error))
            except Halt as halt:
                if self._until_converged:
                    raise
                self._say(f"it does not converge, and the stream goes on: {halt}")
            return self._converged and self._until_converged

    def line(self, text: str) -> None:
        """Show a line of a part's log."""
        self._display.line(text)

    def died(self, part: str, how: str, times: int) -> None:
        """A part died: the next look writes it down."""
        self._book.note(part, how, times)

    def close(self) -> None:
        """Leave the terminal and the servers; a look that hangs is left to the end of the process."""
        if self._looks.acquire(timeout=_CLOSE):
            try:
                with contextlib.suppress(psycopg.Error):
                    self._book.write()
                self._viewer.close()
            finally:
                self._looks.release()
        self._display.close()

    def _step(self) -> bool:
        name = self._connector.name
        with connect(self._connector.options.target.conninfo(), autocommit=True, **BOUNDED) as target:
            if self._barrier is None:
                if self._connector.growing and self._joining(target):
                    return False
                if convergence.chunks_left(target, name):
                    return False
                self._barrier = self._emit()
            if not barrier.passed(target, name, self._barrier):
                return False
            convergence.record(target, name)
        _LOG.info("converged: all chunks are merged, and the barrier at %s has passed every partition", self._barrier)
        return True

    def _joining(self, target: Session) -> bool:
        """Are there tables that have still to join?"""
        with connect(self._connector.options.source.conninfo(), autocommit=True, **BOUNDED) as source:
            return bool(catalog.unjoined(source, target, self._connector))

    def _emit(self) -> Lsn:
        with connect(self._connector.options.source.conninfo(), autocommit=True, **BOUNDED) as source:
            return barrier.emit(source, f"converged {self._connector.name}")

    def _say(self, trouble: str) -> None:
        """Once for each trouble, not once a second."""
        if trouble != self._trouble:
            _LOG.warning("cannot look how it is: %s", trouble)
        self._trouble = trouble
