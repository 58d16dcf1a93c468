"""What `run` does beside its parts: shows how far they are, and brings about convergence."""

from __future__ import annotations

import logging
from typing import Any, Final, TypeAlias

import psycopg

from cdc.lsn import Lsn
from cdc.session import connect
from widebeam import barrier, catalog, convergence
from widebeam.check import first_line
from widebeam.config import Connector
from widebeam.progress import Display
from widebeam.viewer import Viewer

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOG: Final = logging.getLogger(__name__)


class Monitor:
    """Looks once a second. With `until_converged`, convergence is the goal of the run; else there is none."""

    def __init__(self, connector: Connector, display: Display, *, until_converged: bool) -> None:
        self._connector = connector
        self._display = display
        self._until_converged = until_converged
        self._viewer = Viewer(connector)
        self._barrier: Lsn | None = None
        self._converged = False
        self._trouble = ""

    def look(self) -> bool:
        """Show the status, and take the next step to convergence; True when the goal is reached. Raises Halt."""
        self._display.show(self._viewer.read())
        if not self._converged:
            try:
                self._converged = self._step()
                self._trouble = ""
            except psycopg.Error as error:
                self._say(first_line(error))
        return self._converged and self._until_converged

    def line(self, text: str) -> None:
        """Show a line of a part's log."""
        self._display.line(text)

    def close(self) -> None:
        """Leave the terminal and the servers."""
        self._viewer.close()
        self._display.close()

    def _step(self) -> bool:
        name = self._connector.name
        with connect(self._connector.options.target.conninfo(), autocommit=True, connect_timeout=5) as target:
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
        with connect(self._connector.options.source.conninfo(), autocommit=True, connect_timeout=5) as source:
            return bool(catalog.unjoined(source, target, self._connector))

    def _emit(self) -> Lsn:
        with connect(self._connector.options.source.conninfo(), autocommit=True, connect_timeout=5) as source:
            return barrier.emit(source, f"converged {self._connector.name}")

    def _say(self, trouble: str) -> None:
        """Once for each trouble, not once a second."""
        if trouble != self._trouble:
            _LOG.warning("cannot look whether it has converged: %s", trouble)
        self._trouble = trouble
