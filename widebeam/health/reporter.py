"""Who tells the world outside how a run is: systemd, and whoever asks for its health."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from widebeam.health.health import RunHealth
from widebeam.health.systemd import Notifier
from widebeam.process.part_state import ALIVE, AT_WORK, PartState, alive, at_work, not_so

_LOG = logging.getLogger(__name__)


class Reporter:
    """Called by the supervisor about once a second. `drain` are the seconds that an orderly end may take."""

    def __init__(self, health: RunHealth, notifier: Notifier, drain: float) -> None:
        self._health = health
        self._notifier = notifier
        self._drain = drain
        self._still: list[str] = []

    def attend(self, part_states: Sequence[PartState], *, ends: bool) -> None:
        """Tell how the parts are. The watchdog is only told to wait while none of them stands still."""
        self._health.attend(part_states, ends=ends)
        if alive(part_states):
            self._notifier.alive()
        if ends:
            self._notifier.stopping(self._drain)
        elif at_work(part_states):
            self._notifier.ready()
        self._notifier.status(self._said(part_states, ends=ends))
        still = not_so(part_states, ALIVE)
        if still and still != self._still:
            _LOG.warning("%s: it does not get on, and is not ended for that", ", ".join(still))
        self._still = still

    def _said(self, part_states: Sequence[PartState], *, ends: bool) -> str:
        if ends:
            return "ends"
        seen = self._health.seen()
        waits = not_so(part_states, AT_WORK)
        return "; ".join([*([] if seen is None else [seen.status.state]), *waits]) or "starts"
