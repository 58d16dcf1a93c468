"""How a part of a connector runs as a process: its log, its signals, its set-up, its halts."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, TypeAlias

from cdc.halt import Halt
from widebeam.cli.command_line import wants_debug
from widebeam.cli.parts.halted import record_halt
from widebeam.config.config import load
from widebeam.config.connector import Connector
from widebeam.log import set_up as set_up_log
from widebeam.process.child import NAME, PARENT
from widebeam.process.heartbeat import AT_WORK, HUNG, STARTING, Heartbeat
from widebeam.setup.prepared import Prepared, prepared
from widebeam.state.signs import SignWriter

Work: TypeAlias = "Callable[[Connector, Prepared, threading.Event], None]"

_LOG: Final = logging.getLogger(__name__)


def run_part(name: str, connector_name: str, work: Work, *, wait: bool = False) -> None:
    """Run a part until it has done its work, a signal or a halt. `wait`: for what is missing before."""
    part = os.environ.get(NAME, name)
    set_up_log(part, debug=wants_debug())
    connector = load(connector_name)
    stop = stop_on_signals()
    # A chunk of the backfill takes as long as it takes, and nobody is asked for within.
    heartbeat = Heartbeat(stop, None if name == "backfill" else connector.options.run.hung_after_seconds)
    heartbeat.beat()
    alone = PARENT not in os.environ
    with _served(connector, name, heartbeat) if alone else nullcontext(), signs(connector, part, heartbeat):
        if not alone or _met(connector, heartbeat, wait=wait):
            _work(connector, work, stop, heartbeat, alone=alone)


def _served(connector: Connector, name: str, heartbeat: Heartbeat) -> AbstractContextManager[None]:
    """The health port of a part that no `widebeam run` minds."""
    from widebeam.health.health import PartAlone  # noqa: PLC0415  most parts have a supervisor, which has all of this
    from widebeam.health.health_port import served  # noqa: PLC0415

    return served(connector, PartAlone(connector, name, heartbeat).health)


def _met(connector: Connector, stop: threading.Event, *, wait: bool) -> bool:
    from widebeam.cli.parts.awaited import met  # noqa: PLC0415

    return met(connector, stop, wait=wait)


def _work(connector: Connector, work: Work, stop: threading.Event, heartbeat: Heartbeat, *, alone: bool) -> None:
    ready = _set_up_alone(connector, stop) if alone else prepared(connector)
    _LOG.info("starts")
    try:
        work(connector, ready, heartbeat)
    except Halt as halt:
        record_halt(connector, halt)
        raise
    _LOG.info("ends")


def _set_up_alone(connector: Connector, stop: threading.Event) -> Prepared:
    from widebeam.cli.parts.alone import forget_old_halt, set_up  # noqa: PLC0415

    ready = set_up(connector)
    forget_old_halt(connector, stop)
    return ready


def signs(connector: Connector, part: str, heartbeat: Heartbeat | None = None) -> SignWriter:
    """Says in the target that this process lives, and what it fails at, while it is entered."""

    def how() -> str:
        sign = AT_WORK if heartbeat is None else heartbeat.sign
        return {STARTING: "starting", HUNG: "hung"}.get(sign, "at work")

    return SignWriter(connector.options.target.conninfo, connector.name, part, how)


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
