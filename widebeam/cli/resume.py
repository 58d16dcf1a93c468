"""`widebeam resume`: going on after a halt."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from widebeam.cli.command_line import ConnectorName, wants_debug
from widebeam.terminal import confirm, say

if TYPE_CHECKING:
    from widebeam.gap.clearing import WouldClear


def resume(
    connector: ConnectorName,
    backfill_gap: Annotated[
        bool, typer.Option("--backfill-gap", help="Go on over a gap: a new slot, and all ranges compared and mended.")
    ] = False,
    clear: Annotated[
        bool, typer.Option("--clear", help="Over a gap: clear what the source no longer has, unasked and uncounted.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Over a gap: only say what would be cleared; exit code 1 if anything.")
    ] = False,
) -> None:
    """Look again at what a halt named, and forget it if that is mended; what only a run meets halts that again.

    Where changes were missed (a lost slot, a failover, records that are no more), only --backfill-gap goes on: the next
    run compares every range and sets what differs. Stop the connector first. If it is interrupted, run it again.
    Cells that the source has no value for are counted first, and cleared only if you agree.

    Example: widebeam resume ships --backfill-gap
    """
    from cdc.halt import Halt  # noqa: PLC0415
    from widebeam.cli.parts.halted import record_halt  # noqa: PLC0415
    from widebeam.config.config import load  # noqa: PLC0415
    from widebeam.gap.cross import cross, foresee  # noqa: PLC0415
    from widebeam.log import set_up  # noqa: PLC0415
    from widebeam.setup.resume import resume as forget  # noqa: PLC0415
    from widebeam.setup.resume import told  # noqa: PLC0415

    set_up("resume", debug=wants_debug())
    loaded = load(connector)
    if (clear or dry_run) and not backfill_gap:
        raise typer.BadParameter("--clear and --dry-run go with --backfill-gap")
    try:
        if dry_run:
            loss = foresee(loaded)
            say("Nothing would be cleared." if loss is None else f"{loss}")
            raise typer.Exit(0 if loss is None else 1)
        if backfill_gap:
            crossed = cross(loaded, None if clear else _agree)
            say(f"{loaded.name} has a new stream from {crossed.cutoff} on, {crossed.ranges} ranges to compare.")
            say(f"`widebeam run {loaded.name}` goes on.")
        else:
            halt = forget(loaded)
            say(told(halt, loaded.name))
    except Halt as halt:
        record_halt(loaded, halt)
        raise


def _agree(loss: WouldClear) -> None:
    """Ask somebody; where nobody sits there, it is not done."""
    if not sys.stdin.isatty():
        raise loss
    say(f"{loss.what[:1].upper()}{loss.what[1:]}")
    confirm("Clear them? (If a table was renamed away, its rows are still there: no.)")
