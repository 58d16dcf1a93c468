"""The command `widebeam`: a file a verb. Here they are gathered, and errors become one clear line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

from widebeam.cli.check import check
from widebeam.cli.command_line import wants_debug
from widebeam.cli.demo import demo
from widebeam.cli.drop import drop
from widebeam.cli.init import init
from widebeam.cli.list import list_connectors
from widebeam.cli.parts.backfill import backfill
from widebeam.cli.parts.capture import capture
from widebeam.cli.parts.run import run
from widebeam.cli.parts.sink import sink
from widebeam.cli.parts.stream import stream
from widebeam.cli.plan import plan
from widebeam.cli.quarantine import quarantine
from widebeam.cli.replay import replay
from widebeam.cli.resume import resume
from widebeam.cli.roles import roles
from widebeam.cli.status import status
from widebeam.cli.verify import verify
from widebeam.process.child import PARENT, die_with_parent
from widebeam.terminal import say

_EPILOG = (
    "CONNECTOR is the name of a file in connectors/ (or in the directory WIDEBEAM_CONNECTORS), or a path. "
    "Exit codes: 0 well, 1 a problem, 2 usage or configuration, 3 halted with a named cause."
)

app = typer.Typer(
    name="widebeam",
    help="Turns narrow PostgreSQL tables into wide ones, live, without losing a reading.",
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415

        say(f"widebeam {version('widebeam')}")
        raise typer.Exit


@app.callback()
def _options(
    _debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and the debug log.")] = False,
    _shown: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


for _verb in (init, check, plan, roles, run, resume, status, verify, replay, drop, demo):
    app.command()(_verb)
app.command("list")(list_connectors)
for _part in (capture, sink, backfill):
    app.command(rich_help_panel="Parts of `run`, one process each")(_part)
app.command(hidden=True)(stream)
app.add_typer(quarantine)


def main() -> None:
    """The entry point: run a verb and exit with its code."""
    # Whoever started us may have blocked these (a mask is inherited), and nothing would end us then.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        die_with_parent()
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if wants_debug():
            raise
        from widebeam.cli.outcome import exit_code, explained  # noqa: PLC0415  it knows the errors of all rooms

        message, code = explained(error)
        say(message, err=True)
        sys.exit(exit_code(error, code) if PARENT in os.environ else code)
