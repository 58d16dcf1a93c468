"""`widebeam demo`: see it work from end to end on this machine."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer


def demo(
    rows: Annotated[int, typer.Option(min=1_000, help="Readings in the narrow history.")] = 2_000_000,
    rate: Annotated[int, typer.Option(min=1, help="Rows a second of the live writer.")] = 5_000,
    backlog: Annotated[int, typer.Option(min=1_000, help="Rows written while nothing runs.")] = 500_000,
    steady: Annotated[float, typer.Option(min=0, help="Seconds of live writing after convergence.")] = 8,
    direct: Annotated[bool, typer.Option("--direct", help="Without Kafka.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running to look at.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON on stdout.")] = False,
    stop: Annotated[Path | None, typer.Option(metavar="DIR", help="Stop what --keep left running in DIR.")] = None,
) -> None:
    """Start servers of its own, move a history and a live stream into wide tables, and prove both sides equal."""
    # Here, so that the other verbs need nothing of the extra `lab`, which brings the servers.
    from widebeam.demo.run import Wishes, perform  # noqa: PLC0415
    from widebeam.demo.stage import strike_kept  # noqa: PLC0415

    if stop is not None:
        strike_kept(stop)
        return
    signal.signal(signal.SIGTERM, _leave)
    raise typer.Exit(perform(Wishes(rows, rate, steady, backlog, direct, keep, as_json)))


def _leave(number: int, _: FrameType | None) -> None:
    """End as on Ctrl-C: everything that was started is stopped on the way out."""
    raise SystemExit(128 + number)
