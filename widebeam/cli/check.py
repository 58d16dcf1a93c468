"""`widebeam check`: everything that a run needs, looked at, nothing changed."""

from __future__ import annotations

from typing import Annotated

import typer

from widebeam.cli.command_line import ConnectorName
from widebeam.terminal import say, say_json


def check(
    connector: ConnectorName,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array on stdout.")] = False,
) -> None:
    """Say everything that stands in the way of a run, each with the statement that mends it; exit code 1 if any.

    What costs time or disk sooner or later is told as advice, and stands in nobody's way.

    With --json an array of {what, where, remedy}, also for mistakes in the file (exit code 2).

    Example: widebeam check ships
    """
    from widebeam.advice.advice import advice  # noqa: PLC0415
    from widebeam.check.check import Preconditions, findings  # noqa: PLC0415
    from widebeam.check.made import made_findings  # noqa: PLC0415
    from widebeam.config.config import ConfigError, load  # noqa: PLC0415
    from widebeam.finding import Finding  # noqa: PLC0415

    try:
        loaded = load(connector)
        found = [*findings(loaded), *made_findings(loaded)]
    except ConfigError as error:
        if not as_json:
            raise
        say_json([Finding(said, "configuration", "")._asdict() for said in error.mistakes])
        raise typer.Exit(2) from None
    if as_json:
        say_json([finding._asdict() for finding in found])
        raise typer.Exit(1 if found else 0)
    if found:
        raise Preconditions(found)
    say("Nothing stands in the way of a run.")
    for each in advice(loaded):
        say(f"Advice: {each}")
