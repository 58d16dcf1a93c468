"""`widebeam init`: a look at a database, and a connector file for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from widebeam.terminal import say, say_script


def init(
    dsn: Annotated[
        str,
        typer.Argument(metavar="DSN", help='A libpq connection string without a password: "host=... dbname=...".'),
    ],
    table: Annotated[
        list[str] | None,
        typer.Option(
            "--table", "-t", help="The narrow table, as schema.table; several times for several of one shape."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write, at the end and if all went well; none is overwritten."),
    ] = None,
) -> None:
    """Look at a database, find its narrow tables, and write a commented connector file (to standard output).

    Changes nothing in the database. Exit code 1 if nothing narrow is found.

    Example: widebeam init "dbname=plant" --output connectors/plant.toml
    """
    import os  # noqa: PLC0415

    from cdc.source.session import connect_to_read  # noqa: PLC0415
    from widebeam.config.config import ConfigError  # noqa: PLC0415
    from widebeam.config.options.server import Server, has_secret  # noqa: PLC0415
    from widebeam.init.survey import survey  # noqa: PLC0415

    if output is not None and output.exists():
        raise ConfigError([f"--output {output}: there is such a file already, and it stays"])
    try:
        secret = has_secret(dsn)
    except ValueError as error:
        raise ConfigError([f"DSN: {error}"]) from None
    if secret:
        raise ConfigError(
            ["DSN: a password on a command line is seen by everybody; use PGPASSFILE or WIDEBEAM_SOURCE__PASSWORD"]
        )
    server = Server(dsn=dsn, password=os.environ.get("WIDEBEAM_SOURCE__PASSWORD"))  # type: ignore[arg-type]
    with connect_to_read(server.conninfo(), connect_timeout=10) as session:
        found = survey(session, dsn, table or ())
    if output is None:
        say_script(found)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(found.rstrip("\n") + "\n")
    except FileExistsError:
        raise ConfigError([f"--output {output}: there is such a file already, and it stays"]) from None
    say(f"{output} is written: read its comments, then `widebeam check {output.stem}`.", err=True)
