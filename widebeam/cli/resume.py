"""`widebeam resume`: going on after a halt."""

from __future__ import annotations

from typing import Annotated

import typer

from cdc.halt import Halt
from widebeam.cli.outcome import wants_debug
from widebeam.cli.parts.part import ConnectorName, record_halt
from widebeam.terminal import say


def resume(
    connector: ConnectorName,
    backfill_gap: Annotated[
        bool, typer.Option("--backfill-gap", help="Go on over a gap: a new slot, and all ranges compared and mended.")
    ] = False,
) -> None:
    """Forget a halt whose cause has been mended; what is still wrong halts again. `widebeam run` goes on then.

    Where changes were missed (a lost slot, a failover, records that are no more), only --backfill-gap goes on: the next
    run compares every range and sets what differs. Stop the connector first. If it is interrupted, run it again.

    Example: widebeam resume ships --backfill-gap
    """
    from widebeam.config.config import load  # noqa: PLC0415
    from widebeam.gap.cross import cross  # noqa: PLC0415
    from widebeam.log import set_up  # noqa: PLC0415
    from widebeam.setup.resume import resume as forget  # noqa: PLC0415

    set_up("resume", debug=wants_debug())
    loaded = load(connector)
    try:
        if backfill_gap:
            crossed = cross(loaded)
            say(f"{loaded.name} has a new stream from {crossed.cutoff} on, {crossed.ranges} ranges to compare.")
        else:
            halt = forget(loaded)
            say(f"{loaded.name} was not halted." if halt is None else f"No longer halted: {halt.what}")
    except Halt as halt:
        record_halt(loaded, halt)
        raise
    say(f"`widebeam run {loaded.name}` goes on.")
