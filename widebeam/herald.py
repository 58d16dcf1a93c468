"""Who tells the world outside how a run is: systemd, and whoever asks for its health."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from widebeam.health import RunHealth
from widebeam.notify import Notifier
from widebeam.vitals import ALIVE, AT_WORK, Vital, alive, at_work, not_so

_LOG = logging.getLogger(__name__)


class Herald:
    """Called by the supervisor about once a second. `drain` are the seconds that an orderly end may take."""

    def __init__(self, health: RunHealth, notifier: Notifier, drain: float) -> None:
        self._health = health
        self._notifier = notifier
        self._drain = drain
        self._still: list[str] = []

    def attend(self, vitals: Sequence[Vital], *, ends: bool) -> None:
        """Tell how the parts are. The watchdog is only told to wait while none of them stands still."""
        self._health.attend(vitals, ends=ends)
        if alive(vitals):
            self._notifier.alive()
        if ends:
            self._notifier.stopping(self._drain)
        elif at_work(vitals):
            self._notifier.ready()
        self._notifier.status(self._said(vitals, ends=ends))
        still = not_so(vitals, ALIVE)
        if still and still != self._still:
            _LOG.warning("%s: it does not get on, and is not ended for that", ", ".join(still))
        self._still = still

    def _said(self, vitals: Sequence[Vital], *, ends: bool) -> str:
        if ends:
            return "ends"
        seen = self._health.seen()
        waits = not_so(vitals, AT_WORK)
        return "; ".join([*([] if seen is None else [seen.status.state]), *waits]) or "starts"
