"""What the demo says: steps while it runs, then the figures, as tables or as one line of JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TypedDict

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from widebeam.demo.sample import Moment
from widebeam.demo.ticker import Ticker
from widebeam.terminal import Console, say


class Rates(TypedDict):
    """Narrow rows a second; None if the stretch was too short to tell."""

    backfill: int | None
    capture: int | None
    sink: int | None


@dataclass(frozen=True, slots=True)
class Figures:
    """The outcome. Latency is from the source's commit to visible in the wide table, while readings came steadily."""

    transport: str
    rows: int
    cells: int
    rows_s: Rates
    lag_ms: dict[str, float]
    differences: int
    seconds: float

    def line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


class Reporter:
    """Steps go to stderr when stdout is for JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self.console = Console(stderr=as_json, highlight=False)
        if not self.console.is_terminal:
            self.console.width = 120  # a log has no width of its own
        self.as_json = as_json

    @contextmanager
    def step(self, what: str) -> Iterator[Ticker]:
        """Say what is being done, every few seconds how far it is, and afterwards how long it took."""
        began = time.monotonic()
        self.console.print(Text(f"· {what} …", style="dim"))
        with Ticker(lambda words: self.console.print(Text(f"    {words}", style="dim"))) as ticker:
            yield ticker
        self.console.print(Text.assemble(("✓ ", "green"), what, (f"  {time.monotonic() - began:.1f} s", "dim")))

    def say(self, what: str) -> None:
        """A line as it is."""
        self.console.print(Text(what))

    def sample(self, moments: Iterable[Moment]) -> None:
        """Wide rows beside their readings."""
        for moment in moments:
            self.console.print(_moment(moment))

    def result(self, figures: Figures, moments: Iterable[Moment]) -> None:
        """The wide rows beside their readings and the rates; or the line of JSON on stdout."""
        self.sample(moments)
        self.console.print(_rates(figures))
        verdict = f"{figures.differences} differences between {figures.rows:,} narrow rows and {figures.cells:,} cells"
        self.console.print(Text(verdict, style="bold green" if figures.differences == 0 else "bold red"))
        if self.as_json:
            say(figures.line())


def _moment(moment: Moment) -> Table:
    table = Table(title=Text(f"{moment.ship} at {moment.time}"), title_justify="left", title_style="bold")
    for heading in ("narrow: data_channel_id", "value_format", "value", f"wide: column of {moment.view}", "value"):
        justify: JustifyMethod = "right" if heading == "value" else "left"
        table.add_column(Text(heading), justify=justify, overflow="fold", min_width=len(heading))
    for cell in moment.cells:
        values = [cell.channel, cell.format, _shown(cell.narrow), cell.column, _shown(cell.wide)]
        table.add_row(*map(Text, values))
    return table


def _rates(figures: Figures) -> Table:
    table = Table(title=f"Rates on this machine, transport: {figures.transport}", title_justify="left")
    table.add_column("part")
    table.add_column("narrow rows a second", justify="right")
    for part, rate in (
        ("backfill, beside the stream", figures.rows_s["backfill"]),
        ("capture, catching up", figures.rows_s["capture"]),
        ("sink, catching up", figures.rows_s["sink"]),
    ):
        table.add_row(part, "too short to tell" if rate is None else f"{rate:,}")
    lags = ", ".join(f"{name} {value:,.0f} ms" for name, value in figures.lag_ms.items())
    table.add_row("commit to visible", lags or "too short to tell")
    return table


def _shown(value: str | None) -> str:
    return "NULL" if value is None else value or "''"
