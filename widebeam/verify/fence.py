"""The fence of verify: everything that is committed by now comes through before it goes on."""

from __future__ import annotations

import logging
from threading import Event
from typing import Any, Final, TypeAlias

import psycopg

from widebeam.verify import barrier

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOG: Final = logging.getLogger(__name__)


class Fence:
    """Barriers of one verify. `holds` is False as soon as one did not come through within `patience` seconds.

    With a patience of 0 it never holds: nothing is waited for.
    """

    def __init__(self, source: Session, target: Session, connector: str, patience: float) -> None:
        self._source, self._target, self._connector, self._patience = source, target, connector, patience
        self.holds = patience > 0

    def pass_all(self) -> None:
        """Let everything that is committed by now come through; once in vain, it is not waited for again."""
        if not self.holds:
            return
        mark = barrier.emit(self._source, f"verify {self._connector}")
        try:
            barrier.wait(self._target, self._connector, mark, Event(), self._patience)
        except barrier.BarrierTimeout as late:
            _LOG.warning("%s; what is still on its way is reported as a difference", late)
            self.holds = False
