"""`widebeam verify`: the proof that both sides agree, cell by cell."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer

from widebeam.cli.part import ConnectorName


def verify(
    connector: ConnectorName,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Compare narrow and wide by checksums per chunk, in the databases, and name the cells that differ.

    Exit code 1 if any does. Example: widebeam verify ships
    """
    raise NotImplementedError(connector, as_json, orjson)
