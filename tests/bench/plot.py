"""The plots of docs/performance.md, drawn from the figures that were kept."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import pygal
from pygal.style import CleanStyle

from tests.bench.process import Line
from tests.bench.report import KEPT, load

# It puts a finder of modules of its own there, of a kind that Python 3.11 warns of and 3.12 cannot use.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]

Points = dict[int, float]

# Pygal says here by which version, in which year and on which day it drew.
_COMMENTS: Final = re.compile(r"<!--.*?-->", re.DOTALL)


class Plot(NamedTuple):
    """One kind of growth, and what its axes say. `rate`: rows a second, else microseconds a row."""

    kind: str
    across: str
    rate: bool = False

    @property
    def file(self) -> Path:
        return KEPT / f"growth-{self.kind}.svg"


PLOTS: Final = (
    Plot("rows", "rows in the tables"),
    Plot("columns", "columns of a wide table"),
    Plot("entities", "entities"),
    Plot("sinks", "sinks", rate=True),
)


def series(lines: Iterable[Line], kind: str) -> dict[str, Points]:
    """What was measured -> how many there were -> rows a second."""
    found: dict[str, Points] = {}
    for line in lines:
        if line.get("growth") == kind and "rows_s" in line:
            found.setdefault(line["what"], {})[line["at"]] = float(line["rows_s"])
    return found


def drawn(plot: Plot, curves: dict[str, Points]) -> bytes:
    """The plot as SVG, the same bytes for the same figures on any day."""
    points = sorted({at for curve in curves.values() for at in curve})
    chart = pygal.Line(
        style=CleanStyle, width=760, height=380, no_prefix=True, disable_xml_declaration=True, js=(), pretty_print=True,
        x_title=plot.across, y_title="rows a second" if plot.rate else "microseconds a row", legend_at_bottom=True,
        logarithmic=not plot.rate, include_x_axis=plot.rate, show_minor_y_labels=False,
    )  # fmt: skip
    chart.x_labels = [f"{point:,}" for point in points]
    for what, curve in curves.items():
        rates = [curve.get(point) for point in points]
        chart.add(what, [rate and (round(rate) if plot.rate else round(1e6 / rate, 2)) for rate in rates])
    return _COMMENTS.sub("", str(chart.render())).encode()


def write() -> list[Plot]:
    """Draw all that was measured; which plots there are."""
    lines = load(KEPT / "growth.jsonl")
    there = [(plot, curves) for plot in PLOTS if (curves := series(lines, plot.kind))]
    for plot, curves in there:
        plot.file.write_bytes(drawn(plot, curves))
    return [plot for plot, _ in there]
