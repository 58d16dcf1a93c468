"""What a run needs is there, or is waited for: a service is often started before the table that it is to follow."""

from __future__ import annotations

import logging
import threading
from typing import Final

from widebeam.check.check import Preconditions, findings
from widebeam.config.connector import Connector
from widebeam.finding import Finding
from widebeam.setup.prepared import is_set_up

EVERY: Final = 5.0
"""Seconds between two looks."""

_LOG: Final = logging.getLogger(__name__)


def met(connector: Connector, stop: threading.Event, *, wait: bool, every: float = EVERY) -> bool:
    """Whether it can be set up; False only if it is to stop meanwhile. Raises Preconditions where it does not wait."""
    told: list[Finding] = []
    while found := [] if is_set_up(connector) else findings(connector):
        if not wait:
            raise Preconditions(found)
        for each in found:
            if each not in told:
                _LOG.warning("waits: %s: %s; mend it with: %s", each.where, each.what, each.remedy)
        told = found
        if stop.wait(every):
            return False
    if told:
        _LOG.info("goes on: nothing is missing any more")
    return True
