"""`widebeam init`: a look at a database, and a connector file for it."""

from __future__ import annotations

from typing import Annotated

import typer

from widebeam.terminal import say_script


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
) -> None:
    """Look at a database, find its narrow tables, and write a commented connector file to standard output.

    Changes nothing. Exit code 1 if nothing narrow is found.

    Example: widebeam init "dbname=plant" > connectors/plant.toml
    """
    import os  # noqa: PLC0415

    from cdc.source.session import connect_to_read  # noqa: PLC0415
    from widebeam.config.config import ConfigError  # noqa: PLC0415
    from widebeam.config.options.server import Server, has_secret  # noqa: PLC0415
    from widebeam.init.survey import survey  # noqa: PLC0415

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
        say_script(survey(session, dsn, table or ()))
