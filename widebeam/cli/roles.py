"""`widebeam roles`: least privilege as SQL."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from widebeam.cli.command_line import ConnectorName
from widebeam.terminal import say_script


def roles(
    connector: ConnectorName,
    side: Annotated[
        Literal["source", "target", "both"], typer.Option("--for", help="Which database the statements are for.")
    ] = "both",
    prefix: Annotated[str, typer.Option(help="What the roles' names begin with.")] = "widebeam",
) -> None:
    """Print SQL for four roles that may do what is needed and no more: source, target, reader and operator.

    For whoever may make roles.

    Example: widebeam roles ships --for source | psql "$SOURCE"
    """
    from widebeam.config.config import load  # noqa: PLC0415
    from widebeam.setup.roles import BadPrefix, script  # noqa: PLC0415

    loaded = load(connector)
    try:
        parts = [script(loaded, one, prefix) for one in ("source", "target") if side in (one, "both")]
    except BadPrefix as error:
        raise typer.BadParameter(str(error)) from None
    say_script("\n".join(parts))
