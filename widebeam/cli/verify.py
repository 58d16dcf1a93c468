"""`widebeam verify`: the proof that both sides agree, cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table

from widebeam.cli.command_line import ConnectorName, wants_debug
from widebeam.counted import counted
from widebeam.terminal import Console, say_json

if TYPE_CHECKING:
    from widebeam.config.connector import Connector
    from widebeam.verify.proof import Gone, VerifyReport

_GONE: Final = 20
"""Ranges that are told; there is one for each dropped partition, or less."""


def verify(
    connector: ConnectorName,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    patience: Annotated[float, typer.Option(min=0, help="Seconds to wait for what is on its way.")] = 60.0,
    named: Annotated[int, typer.Option(min=0, help="How many differing cells to name.")] = 100,
    acknowledge: Annotated[
        bool, typer.Option("--acknowledge", help="What is gone from the source (dropped partitions) may stay.")
    ] = False,
) -> None:
    """Compare narrow and wide by checksums per chunk, in the databases, and name the cells that differ.

    Runs beside a live writer. Exit code 1 if any cell differs, if nothing or only a part could be compared, or if
    the wide tables keep what is gone from the source and nobody has acknowledged that.

    Example: widebeam verify ships
    """
    from widebeam.config.config import load  # noqa: PLC0415
    from widebeam.log import set_up  # noqa: PLC0415

    set_up("verify", debug=wants_debug())
    report = _compare(load(connector), patience, named, acknowledge=acknowledge, quiet=as_json)
    if as_json:
        say_json(report.as_dict())
    else:
        _show(report)
    raise typer.Exit(0 if report.proven else 1)


def _compare(connector: Connector, patience: float, named: int, *, acknowledge: bool, quiet: bool) -> VerifyReport:
    from rich.progress import Progress  # noqa: PLC0415

    from widebeam.setup.prepared import prepared  # noqa: PLC0415
    from widebeam.status.viewer import Viewer  # noqa: PLC0415
    from widebeam.verify.proof import VerifySettings  # noqa: PLC0415
    from widebeam.verify.verify import verify as compare  # noqa: PLC0415

    ready, viewer = prepared(connector), Viewer(connector)
    slot = viewer.read().slot
    viewer.close()
    captured = slot is not None and slot.active
    options = connector.options
    settings = VerifySettings(
        mapping=ready.mapping,
        source_dsn=options.source.conninfo(),
        target_dsn=options.target.conninfo(),
        chunk_rows=options.backfill.chunk_rows,
        chunk_hours=connector.chunk_hours,
        patience=patience if captured else 0.0,  # nothing is coming where nobody captures
        captured=captured,
        named=named,
        acknowledge=acknowledge,
    )
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return compare(settings)
    with Progress(console=console) as bars:
        task = bars.add_task("comparing", total=None)
        return compare(settings, lambda done, of: bars.update(task, completed=done, total=of))


def _show(report: VerifyReport) -> None:
    console = Console()
    console.print(
        f"{report.connector}: {report.rows:,} narrow rows, {report.cells:,} cells, in {report.ranges:,} ranges, "
        f"{report.seconds:.1f} s: {_verdict(report)}",
        highlight=False,
    )
    if report.left_out:
        console.print(
            f"not compared: {counted(report.left_out, 'range')} of {report.left_out + report.ranges:,}, where "
            f"{report.unfilled:,} of {counted(report.chunks, 'chunk')} of the backfill are still to be merged; "
            f"`widebeam status {report.connector}` says how far it is: verify again when it is done",
            style="yellow",
            highlight=False,
        )
    if report.quarantined:
        console.print(
            f"of these, {counted(report.quarantined, 'row')} in quarantine, so not in a wide table: "
            f"`widebeam quarantine list {report.connector}`",
            highlight=False,
        )
    if report.nulled:
        console.print(
            f"of these, {counted(report.nulled, 'cell')} NULL in a wide table, since the reading does not fit its "
            'column (`type_conflict = "null"`)',
            highlight=False,
        )
    if report.in_motion:
        console.print(
            f"{counted(report.in_motion, 'cell')} changed each time they were looked at: try again", highlight=False
        )
    for one in report.gone[:_GONE]:
        console.print(_gone(report.connector, one), style="" if one.acknowledged else "yellow", highlight=False)
    if len(report.gone) > _GONE:
        console.print(f"and {len(report.gone) - _GONE:,} ranges more (`--json` has all)", highlight=False)
    for notice in report.notices:
        console.print(f"note: {notice}", style="yellow", highlight=False, markup=False)
    if not report.fenced:
        late = f"what was on its way did not come through in time (`widebeam status {report.connector}` says what lags)"
        why = late if report.captured else "nothing captures now"
        console.print(f"{why}: what is still on its way counts as a difference", style="yellow", highlight=False)
    if report.differing:
        console.print(_cells(report))


def _gone(connector: str, gone: Gone) -> str:
    """A range of which the source has nothing any more, and what became of it."""
    kept = f"{gone.lower} to {gone.upper}: {counted(gone.cells, 'cell')} in the wide tables, and no narrow row"
    if gone.acknowledged:
        return f"{kept}: may stay" + (f", said {gone.by} at {gone.at}" if gone.by else " from now on")
    before = "" if gone.had is None else f"; {gone.by} has said at {gone.at} that {gone.had:,} other ones may stay"
    return (
        f"gone: {kept}{before}. If they may stay, say so by `widebeam verify {connector} --acknowledge`; "
        f"`widebeam resume {connector} --backfill-gap --clear` removes them"
    )


def _verdict(report: VerifyReport) -> str:
    """How it ended; never a success without saying of how much."""
    if report.cells == 0 and report.differences == 0:
        return "nothing was compared" if report.left_out else "there is no reading to compare"
    gone = [each for each in report.gone if not each.acknowledged]
    said = counted(report.differences, "difference") + (" in what was compared" if report.left_out else "")
    return said + (f", and {counted(len(gone), 'range')} of which the source has no row any more" if gone else "")


def _cells(report: VerifyReport) -> Table:
    table = Table(title=f"{len(report.differing)} of them", header_style="dim")
    for name in ("entity", "time", "key", "narrow", "wide"):
        table.add_column(name)
    for one in report.differing:
        texts = [", ".join(map(_text, one.entity)), ", ".join(map(_text, one.time)), one.key]
        table.add_row(*texts, _text(one.narrow), _text(one.wide))
    return table


def _text(value: str | None) -> str:
    return "NULL" if value is None else value
