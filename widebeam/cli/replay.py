"""`widebeam replay`: apply again from a point that is still in Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from widebeam.cli.command_line import ConnectorName
from widebeam.counted import counted
from widebeam.terminal import Console, confirm, say, say_json

if TYPE_CHECKING:
    from widebeam.config.connector import Connector
    from widebeam.replay.replay import Plan


def replay(
    connector: ConnectorName,
    from_offset: Annotated[
        list[str] | None,
        typer.Option("--from-offset", metavar="[P:]OFFSET", help="Of one partition (repeat it), or of all."),
    ] = None,
    from_lsn: Annotated[str | None, typer.Option("--from-lsn", metavar="LSN", help="A commit LSN.")] = None,
    from_time: Annotated[
        str | None, typer.Option("--from-time", metavar="ISO", help="A commit time; UTC, if it says nothing else.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show from where to where, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="End when all of it is applied again.")] = False,
    patience: Annotated[
        float, typer.Option(min=1, help="With --wait: seconds in which the sinks may do nothing.")
    ] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Apply again from a point that is still in Kafka: mends cells that were damaged and were changed since then.

    Works whether the connector runs or not. Until it is done, readers see the past. What was last changed before the
    point is not touched: `widebeam verify` names what still differs.

    Example: widebeam replay ships --from-time 2026-01-31T12:00:00Z --dry-run
    """
    from widebeam.config.config import load  # noqa: PLC0415
    from widebeam.replay import point  # noqa: PLC0415
    from widebeam.replay.replay import plan, rewind  # noqa: PLC0415

    loaded = load(connector)
    planned = plan(loaded, point.parse(from_offset or (), from_lsn, from_time, loaded.partitions))
    if not as_json:
        _show(loaded.name, planned)
    going = bool(planned.steps) and not dry_run
    if going and not yes:
        asked = f"Apply {counted(planned.records, 'record')} again? Until then readers of the wide tables see the past."
        confirm(asked, err=as_json)
    if going:
        rewind(loaded, planned)
        if wait:
            _wait(loaded, planned, patience)
    if as_json:
        say_json(_as_dict(loaded.name, planned, replayed=going))
    elif going:
        say("All of it is applied again." if wait else "The sinks go on from there; --wait waits for them.")


def _wait(connector: Connector, planned: Plan, patience: float) -> None:
    from rich.progress import Progress  # noqa: PLC0415

    from widebeam.replay.replay import await_applied  # noqa: PLC0415

    console = Console(stderr=True)
    if not console.is_terminal:
        await_applied(connector, planned, patience, lambda _: None)
        return
    with Progress(console=console) as bars:
        task = bars.add_task("applying again", total=planned.records)
        await_applied(connector, planned, patience, lambda done: bars.update(task, completed=done))


def _as_dict(connector: str, planned: Plan, *, replayed: bool) -> dict[str, object]:
    return {
        "connector": connector,
        "point": str(planned.point),
        "replayed": replayed,
        "records": planned.records,
        "partitions": [step.as_dict() for step in planned.steps],
    }


def _show(connector: str, planned: Plan) -> None:
    console = Console()
    if not planned.steps:
        console.print(f"{connector} has applied nothing since {planned.point}: there is nothing to apply again.")
        return
    table = Table(title=f"{connector}, from {planned.point}", header_style="dim")
    for name in ("partition", "from", "to", "records", "position", "committed"):
        table.add_column(name, justify="left" if name == "committed" else "right")
    for step in planned.steps:
        at = "" if step.at is None else f"{step.at:%Y-%m-%d %H:%M:%S}Z"
        numbers = (step.back.partition, step.back.next_offset, step.upto, f"{step.records:,}")
        table.add_row(*map(str, numbers), "" if step.position is None else str(step.position), at)
    console.print(table)
