"""`widebeam list`: every connector that a target knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from widebeam.terminal import Console, say, say_json

if TYPE_CHECKING:
    from widebeam.status.census import Counted


def list_connectors(
    connector: Annotated[
        str | None, typer.Argument(metavar="[CONNECTOR]", help="One of them, whose target is meant.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", metavar="DSN", help="The target, without a password: see PGPASSWORD.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array on stdout.")] = False,
) -> None:
    """Show every connector that a target knows, also those whose file was renamed or lost: state, slot, last sign.

    Only the target is asked.

    Example: widebeam list --target "host=db dbname=wide"
    """
    from cdc.source.session import connect  # noqa: PLC0415
    from widebeam.config.config import load  # noqa: PLC0415
    from widebeam.config.options.server import has_secret  # noqa: PLC0415
    from widebeam.status.census import census  # noqa: PLC0415

    if (connector is None) == (target is None):
        raise typer.BadParameter("give a connector or --target, and not both")
    try:
        if target is not None and has_secret(target):
            raise typer.BadParameter(
                "anybody can read a password in the list of processes: use PGPASSWORD or PGPASSFILE"
            )
    except ValueError as error:
        raise typer.BadParameter(f"--target: {error}") from None
    dsn = target if target is not None else load(connector or "").options.target.conninfo()
    with connect(dsn, autocommit=True, application_name="widebeam-status") as session:
        found = census(session)
    if as_json:
        say_json([one._asdict() for one in found])
    elif found:
        Console().print(_table(found))
    else:
        say("This target knows no connector.")


def _table(found: list[Counted]) -> Table:
    from widebeam.status.quantity import duration  # noqa: PLC0415

    def ago(seconds: float | None, never: str = "never") -> str:
        return never if seconds is None else f"{duration(seconds)} ago"

    table = Table(header_style="dim")
    for name in ("connector", "state", "slot", "waits since", "last applied", "last sign", "narrow tables"):
        table.add_column(name)
    for one in found:
        more = f" and {len(one.tables) - 3} more" if len(one.tables) > 3 else ""
        table.add_row(
            one.connector, one.state, one.slot, ago(one.waits_seconds, ""), ago(one.applied_seconds),
            ago(one.sign_seconds), ", ".join(one.tables[:3]) + more,
        )  # fmt: skip
    return table
