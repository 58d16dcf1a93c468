"""Looks on in a thread of its own: a silent server holds a look up, and must not hold up who minds the parts."""

from __future__ import annotations

import logging
import threading
import time
from queue import SimpleQueue
from typing import Final, Protocol

from widebeam.process.child import Looked, Message

LOOK: Final = 1.0
"""Seconds between two looks."""

LONG: Final = 30.0
"""Seconds after which a look is late enough to say so."""

_LOG: Final = logging.getLogger(__name__)


class Look(Protocol):
    """What is done again and again."""

    def look(self) -> bool:
        """Look once, show it; True when the run has reached its goal. Raises Halt."""


class Poller:
    """Looks every second until the goal is reached, an error comes or it is told to end; answers by a message."""

    def __init__(self, watch: Look, messages: SimpleQueue[Message], every: float | None = None) -> None:
        self._watch = watch
        self._messages = messages
        self._every = LOOK if every is None else every
        self._ends = threading.Event()
        self._late = False
        self._began: float | None = None
        self._thread = threading.Thread(target=self._work, name="look", daemon=True)

    def begin(self) -> None:
        """Start looking."""
        self._thread.start()

    def end(self) -> None:
        """No look begins any more. The present one may go on for as long as a server is silent."""
        self._ends.set()

    def complain(self, now: float) -> None:
        """Say once that a look does not come to its end."""
        began = self._began
        late = began is not None and now - began > LONG
        if late and not self._late:
            _LOG.warning("cannot see how far it is: a server has been silent for %.0f s; the parts go on", LONG)
        self._late = late

    def _work(self) -> None:
        while not self._ends.is_set():
            self._began = time.monotonic()
            try:
                reached = self._watch.look()
            except BaseException as error:  # noqa: BLE001  raised again where the parts are minded
                self._messages.put(Looked(error))
                return
            finally:
                self._began = None
            if reached:
                self._messages.put(Looked())
                return
            self._ends.wait(self._every)
