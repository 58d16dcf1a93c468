"""`widebeam plan`: which wide tables a run would make, and what it would take."""

from __future__ import annotations

from typing import Annotated

import typer

from widebeam.cli.command_line import ConnectorName
from widebeam.counted import counted
from widebeam.terminal import say, say_json, say_script


def plan(
    connector: ConnectorName,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    as_sql: Annotated[bool, typer.Option("--sql", help="The exact statements instead.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Read all of the source, not its index or a sample.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Make the tables now; `run` makes them by itself.")] = False,
) -> None:
    """Show tables, columns, names, widths, chunks and costs of a connector, with how each was found out.

    Changes nothing without --apply. Shows the difference to what is made already.

    Example: widebeam plan ships
    """
    from widebeam.config.config import load  # noqa: PLC0415
    from widebeam.plan.make import make  # noqa: PLC0415
    from widebeam.plan.show import text  # noqa: PLC0415
    from widebeam.setup.apply import apply as make_tables  # noqa: PLC0415

    loaded = load(connector)
    drawn, statements = make(loaded, full=full)
    if as_sql:
        say_script("\n".join([*statements, ""]))
    elif as_json:
        say_json({**drawn.plan.as_dict(), "sql": statements})
    else:
        say(text(drawn.plan))
    if apply:
        refused = make_tables(loaded, drawn)
        say(f"{counted(len(drawn.needs) - len(refused), 'column')} made", err=True)
        for (_, key), (reason, detail) in refused.items():
            say(f"  none for {key!r} ({reason}): {detail}", err=True)
