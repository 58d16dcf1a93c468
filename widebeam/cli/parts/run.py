"""`widebeam run`: everything of a connector on this machine."""

from __future__ import annotations

import logging
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from widebeam.cli.command_line import ConnectorName, Wait, wants_debug
from widebeam.process.child import Part

if TYPE_CHECKING:
    from widebeam.config.connector import Connector
    from widebeam.health.health import RunHealth
    from widebeam.status.progress import Display


def run(
    connector: ConnectorName,
    until_converged: Annotated[
        bool, typer.Option("--until-converged", help="End with 0 once history and stream are together.")
    ] = False,
    wait: Wait = False,
) -> None:
    """Set the connector up, then run capture, sinks and backfill until Ctrl-C. Running it again resumes.

    Parts that die are started again; a named halt ends the run with exit code 3.

    Example: widebeam run ships
    """
    from cdc.halt import Halt  # noqa: PLC0415
    from widebeam.cli.parts.awaited import met  # noqa: PLC0415
    from widebeam.cli.parts.halted import record_halt  # noqa: PLC0415
    from widebeam.cli.parts.part import signs  # noqa: PLC0415
    from widebeam.config.config import load  # noqa: PLC0415
    from widebeam.health.health import RunHealth  # noqa: PLC0415
    from widebeam.health.health_port import served  # noqa: PLC0415
    from widebeam.log import set_up as set_up_log  # noqa: PLC0415
    from widebeam.status.progress import display  # noqa: PLC0415

    loaded = load(connector)
    screen, health = display(), RunHealth(loaded.name)
    set_up_log("run", debug=wants_debug(), write=screen.line)
    try:
        with served(loaded, health.health), signs(loaded, "run"):
            if met(loaded, Event(), wait=wait):
                _run(loaded, screen, health, until_converged=until_converged)
    except Halt as halt:
        record_halt(loaded, halt)
        raise
    finally:
        screen.close()


def _run(connector: Connector, screen: Display, health: RunHealth, *, until_converged: bool) -> None:
    from widebeam.cli.parts.alone import set_up  # noqa: PLC0415
    from widebeam.health.reporter import Reporter  # noqa: PLC0415
    from widebeam.health.systemd import Notifier  # noqa: PLC0415
    from widebeam.process.restarts import Policy  # noqa: PLC0415
    from widebeam.run.monitor import Monitor  # noqa: PLC0415
    from widebeam.run.supervise import Supervisor  # noqa: PLC0415
    from widebeam.setup.prepare import start_anew  # noqa: PLC0415
    from widebeam.state import halts  # noqa: PLC0415

    notifier = Notifier()
    notifier.status("is being set up")
    ready = set_up(connector)
    stays = connector.growing or ready.partitioned
    target = connector.options.target.conninfo()
    history = start_anew(target, connector.name) > 0
    monitor = Monitor(connector, screen, until_converged=until_converged)
    health.seen = lambda: monitor.seen
    attend = Reporter(health, notifier, connector.options.run.drain_seconds).attend
    try:
        every = parts(connector, history=history, stays=stays, beside=not until_converged)
        how = connector.options.run
        policy = Policy(how.deaths, how.within_seconds, how.well_after_seconds, how.longest_pause_seconds)
        Supervisor(every, monitor, lambda: halts.read(target, connector.name), policy, how.drain_seconds, attend).run()
    finally:
        monitor.close()
    logging.getLogger(__name__).info("ends; `widebeam run %s` goes on from here", connector.name)


def parts(connector: Connector, *, history: bool, stays: bool = False, beside: bool = True) -> list[Part]:
    """The processes of a connector, as they are configured; backfill workers only if there is `history` to fill in,
    or tables can join or partitions be attached: then they `stay`, and never end. Their failing does
    not end a stream that is well, unless the history is what the run is for."""
    options, file = connector.options, str(connector.file)
    debug = ("--debug",) if wants_debug() else ()
    backfill = [
        Part(f"backfill {number}", (*debug, "backfill", file), finite=not stays, beside=beside)
        for number in range(1, options.backfill.workers + 1)
        if history or stays
    ]
    if connector.transport == "direct":
        return [Part("stream", (*debug, "stream", file)), *backfill]
    sinks = [Part(f"sink {number}", (*debug, "sink", file)) for number in range(1, options.sink.workers + 1)]
    return [Part("capture", (*debug, "capture", file)), *sinks, *backfill]
