"""How a part of a connector runs as a process: its log, its signals, its set-up, its halts."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Annotated, Final, TypeAlias

import psycopg
import typer

from cdc.halt import Halt
from cdc.source.session import connect
from widebeam.cli.outcome import wants_debug
from widebeam.cli.parts.awaited import met
from widebeam.config.config import load
from widebeam.config.connector import Connector
from widebeam.health.health import PartAlone
from widebeam.health.health_port import served
from widebeam.log import set_up as set_up_log
from widebeam.process.child import NAME, PARENT
from widebeam.process.heartbeat import AT_WORK, HUNG, STARTING, Heartbeat
from widebeam.setup.prepare import prepare
from widebeam.setup.prepared import Prepared, prepared
from widebeam.state import halts
from widebeam.state.signs import SignWriter
from widebeam.state.twins import twins

Work: TypeAlias = "Callable[[Connector, Prepared, threading.Event], None]"

ConnectorName = Annotated[str, typer.Argument(metavar="CONNECTOR", help="Its name, or the path of its file.")]

WELL_AFTER: Final = 120.0
"""Seconds that a part has to run for an older halt to be forgotten, where no `widebeam run` does that."""

_LOG: Final = logging.getLogger(__name__)


def run_part(name: str, connector_name: str, work: Work, *, wait: bool = False) -> None:
    """Run a part until it has done its work, a signal or a halt. `wait`: for what is missing before."""
    set_up_log(os.environ.get(NAME, name), debug=wants_debug())
    connector = load(connector_name)
    stop = stop_on_signals()
    # A chunk of the backfill takes as long as it takes, and nobody is asked for within.
    heartbeat = Heartbeat(stop, None if name == "backfill" else connector.options.run.hung_after_seconds)
    heartbeat.beat()
    alone = PARENT not in os.environ
    part = os.environ.get(NAME, name)
    with (
        served(connector, PartAlone(connector, name, heartbeat).health) if alone else nullcontext(),
        signs(connector, part, heartbeat),
    ):
        if not alone or met(connector, heartbeat, wait=wait):
            _work(connector, work, stop, heartbeat, alone=alone)


def _work(connector: Connector, work: Work, stop: threading.Event, heartbeat: Heartbeat, *, alone: bool) -> None:
    ready = set_up(connector, alone=alone)
    if alone:
        threading.Thread(target=_forget_old_halt, args=(connector, stop, time.time()), daemon=True).start()
    _LOG.info("starts")
    try:
        work(connector, ready, heartbeat)
    except Halt as halt:
        record_halt(connector, halt)
        raise
    _LOG.info("ends")


def signs(connector: Connector, part: str, heartbeat: Heartbeat | None = None) -> SignWriter:
    """Says in the target that this process lives, and what it fails at, while it is entered."""

    def how() -> str:
        sign = AT_WORK if heartbeat is None else heartbeat.sign
        return {STARTING: "starting", HUNG: "hung"}.get(sign, "at work")

    return SignWriter(connector.options.target.conninfo, connector.name, part, how)


def set_up(connector: Connector, *, alone: bool) -> Prepared:
    """Under a supervisor it has been done; a part alone does it, where what it takes is `met`."""
    if not alone:
        return prepared(connector)
    _warn_of_twins(connector)
    try:
        return prepare(connector)
    except Halt as halt:
        record_halt(connector, halt)
        raise


def _warn_of_twins(connector: Connector) -> None:
    with connect(connector.options.target.conninfo(), autocommit=True) as target:
        for twin in twins(target, connector):
            _LOG.warning("%s", twin)


def stop_on_signals() -> threading.Event:
    """An event that the first SIGTERM or SIGINT sets; the second one ends the process at once.

    A thread waits for them, for an Event must not be set in a signal handler: the handler runs in the middle of
    anything, also of this very Event's methods, and waits for ever for the lock that those hold. Call it before other
    threads start, which inherit that these signals are blocked.
    """
    stop, wanted = threading.Event(), {signal.SIGTERM, signal.SIGINT}
    for number in wanted:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)

    def heed() -> None:
        signal.sigwait(wanted)
        stop.set()
        again = signal.sigwait(wanted)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)
        os.kill(os.getpid(), again)

    threading.Thread(target=heed, name="signals", daemon=True).start()
    return stop


def record_halt(connector: Connector, halt: Halt) -> None:
    """Write a halt down, with the connector's name in its remedy; that it cannot be is no reason to hide it."""
    halt.name(connector.name)
    try:
        halts.record(connector.options.target.conninfo(), connector.name, halt)
    except psycopg.Error as error:
        _LOG.warning("the halt could not be written down in the target: %s", error)


def _forget_old_halt(connector: Connector, stop: threading.Event, started: float) -> None:
    """A halt from before our start is over when we have run well for a while."""
    if stop.wait(WELL_AFTER):
        return
    try:
        with connect(connector.options.target.conninfo(), autocommit=True) as target:
            halts.clear(target, connector.name, before=started)
    except psycopg.Error as error:
        _LOG.debug("an old halt stays written down: %s", error)
