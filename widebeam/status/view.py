"""A status as a page for people."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from widebeam.status.progress import backfill_text
from widebeam.status.quantity import count, duration, size
from widebeam.status.status import Partition, Status
from widebeam.terminal import text

_COLOURS = {
    "converged": "green", "halted": "bold red", "lost": "bold red", "stuck": "bold red", "stopped": "red",
    "unreachable": "red", "impaired": "yellow", "absent": "yellow", "dropping": "yellow",
}  # fmt: skip


def page(status: Status) -> RenderableType:
    """The whole status: what matters most first."""
    parts: list[RenderableType] = [_head(status)]
    if status.halt is not None:
        why = text(f"{status.halt.what}\n\n{status.halt.remedy}")
        parts.append(Panel(why, title=text(f"halted: {status.halt.cause}"), border_style="red"))
    elif status.cause:
        parts.append(Panel(text(f"{status.cause}\n\n{_to_do(status)}"), title=status.state, border_style="red"))
    parts.extend(text(f"note: {notice}", style="yellow") for notice in status.notices)
    parts.extend(text(problem, style="yellow") for problem in status.problems if problem != status.cause)
    if status.state in ("absent", "unreachable"):
        return Group(*parts)
    parts += [_facts(status), _partitions(status.partitions)]
    return Group(*parts)


def _head(status: Status) -> Text:
    head = text(status.connector, style="bold")
    head.append(f"  {status.state}", style=_COLOURS.get(status.state, "cyan"))
    if status.phase not in (None, status.state):
        head.append(f" ({status.phase})", style="dim")
    return head


def _to_do(status: Status) -> str:
    return f"`{status.command}`" if status.command.startswith("widebeam ") else status.command


def _facts(status: Status) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    stream, slot = status.stream, status.slot
    table.add_row("backfill", text(backfill_text(status, status.backfill.rows_s or 0).removeprefix("backfill ")))
    table.add_row("stream", text(f"{count(stream.changes)} changes captured, {count(stream.rows)} applied"))
    table.add_row("behind", text(_behind(status)))
    latency = status.latency_ms
    if any(value is not None for value in latency.values()):
        table.add_row("commit to visible", text(", ".join(f"{name} {_ms(value)}" for name, value in latency.items())))
    if slot is not None:
        state = "active" if slot.active else "nobody streams"
        room = "" if slot.room_bytes is None else f" ({size(slot.room_bytes)} more are allowed)"
        kept = "" if slot.retained_bytes is None else f", keeps {size(slot.retained_bytes)} of WAL{room}"
        table.add_row("slot", text(f"{state}, confirmed {slot.confirmed}{kept}, {slot.wal_status}"))
    else:
        table.add_row("slot", text("not there", style="red"))
    lives = [one.part for one in status.signs if one.fresh]
    table.add_row("lives", text(", ".join(sorted(lives)) or "nobody", style="" if lives else "red"))
    for one in status.restarts:
        table.add_row("started again", text(f"{one.part}, {one.times} times, last at {one.at:%H:%M:%S}Z: {one.cause}"))
    table.add_row("quarantine", text(f"{status.quarantine} readings"))
    table.add_row("generation", text(f"{status.generation}, cutoff {status.cutoff}, over {status.transport}"))
    return table


def _behind(status: Status) -> str:
    stream = status.stream
    known = [
        None if stream.lag_bytes is None else f"{size(stream.lag_bytes)} of WAL",
        None if stream.lag_records is None else f"{count(stream.lag_records)} records",
        None if stream.lag_seconds is None else duration(stream.lag_seconds),
    ]
    return ", ".join(text for text in known if text is not None) or "unknown"


def _ms(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f} ms"


def _partitions(partitions: tuple[Partition, ...]) -> Table:
    table = Table(box=None, header_style="dim")
    for name in ("partition", "next offset", "behind", "position", "generation", "rows", "newest change"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in partitions:
        table.add_row(
            str(one.partition),
            str(one.next_offset),
            "" if one.lag is None else str(one.lag),
            one.high,
            f"{one.generation}{' broken' if one.broken else ''}",
            count(one.rows),
            "" if one.commit_time is None else f"{one.commit_time:%m-%d %H:%M:%S}Z",
        )
    return table
