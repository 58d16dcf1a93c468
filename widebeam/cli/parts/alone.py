"""What a process has to do that no `widebeam run` minds, and `run` itself: set the connector up first."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

import psycopg

from cdc.halt import Halt
from cdc.source.session import connect
from widebeam.cli.parts.halted import record_halt
from widebeam.config.connector import Connector
from widebeam.setup.prepare import prepare
from widebeam.setup.prepared import Prepared
from widebeam.state import halts

WELL_AFTER: Final = 120.0
"""Seconds that a part has to run for an older halt to be forgotten, where no `widebeam run` does that."""

_LOG: Final = logging.getLogger(__name__)


def set_up(connector: Connector) -> Prepared:
    """Set the connector up, where what it takes is `met`, or go on from where it is. Raises Halt."""
    try:
        return prepare(connector)
    except Halt as halt:
        record_halt(connector, halt)
        raise


def forget_old_halt(connector: Connector, stop: threading.Event) -> None:
    """A halt from before our start is over when we have run well for a while; nobody waits for that."""
    threading.Thread(target=_forget_old_halt, args=(connector, stop, time.time()), daemon=True).start()


def _forget_old_halt(connector: Connector, stop: threading.Event, started: float) -> None:
    if stop.wait(WELL_AFTER):
        return
    try:
        with connect(connector.options.target.conninfo(), autocommit=True) as target:
            halts.clear(target, connector.name, before=started)
    except psycopg.Error as error:
        _LOG.debug("an old halt stays written down: %s", error)
