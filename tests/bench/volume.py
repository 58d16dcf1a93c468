"""What ten thousand million rows a day take, by the unit costs that were measured."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Final

from tests.bench.process import Line

ROWS_A_DAY: Final = 10_000_000_000
PEAK: Final = 2
"""The busiest hour, as a multiple of the average."""
SPARE: Final = 0.7
"""How much of what was measured is to be counted on."""
PARTITIONS_A_SINK: Final = 4


def volume(lines: list[Line]) -> Iterator[str]:
    """The calculation, as paragraphs; nothing if a stage that it needs was not measured."""
    by_stage = {line["stage"]: line for line in lines if "rows_s" in line}
    needed = ("capture.grouped", "sink.whole_rows", "chain")
    if any(stage not in by_stage for stage in needed):
        return
    capture, sink, chain = (by_stage[stage] for stage in needed)
    rate = ROWS_A_DAY / 86_400
    peak = rate * PEAK
    loads = {"one slot's capture": peak / capture["rows_s"], "one sink": peak / sink["rows_s"]}
    if "limit" in capture:
        loads["one slot's walsender, with a reader that only receives,"] = peak / capture["limit"]["rows_s"]
    if "capture.single_row" in by_stage:
        loads["one slot's capture, if each row is a transaction of its own,"] = (
            peak / by_stage["capture.single_row"]["rows_s"]
        )
    first, load = max(loads.items(), key=lambda item: item[1])
    slots = ceil(peak / (capture["rows_s"] * SPARE))
    sinks = ceil(peak / (sink["rows_s"] * SPARE))
    per_row = {**{name: one["cpu_us_row"] for name, one in chain["processes"].items()}, **chain["servers_cpu_us_row"]}
    cores = {name: peak * cost / 1e6 for name, cost in per_row.items()}
    yield f"## {ROWS_A_DAY:,} rows a day"
    yield (
        f"That is {rate:,.0f} rows/s on average, and {peak:,.0f} in an hour that is {PEAK} times as busy. "
        f"With {SPARE:.0%} of the rates above, which had two cores for everything:"
    )
    yield "\n".join([
        f"- **{slots} replication slot{'s' if slots > 1 else ''}** "
        f"(capture takes {capture['rows_s']:,} rows/s from one). A slot is one walsender, which decodes all that its "
        "database wrote: where one is not enough, the tables have to be split over databases, each with a connector.",
        f"- **{sinks} sink{'s' if sinks > 1 else ''}** (one takes {sink['rows_s']:,} cells/s), thus "
        f"{sinks * PARTITIONS_A_SINK} partitions, so that each has {PARTITIONS_A_SINK} and more sinks can join.",
        f"- What breaks first in the busy hour: {first} would have {load:.1f} times what it can take. "
        f"In all: {', '.join(f'{name.rstrip(chr(44))} {share:.1f}' for name, share in loads.items())}.",
        f"- CPU in the busy hour: {', '.join(f'{name} {count:.1f}' for name, count in cores.items())} cores, "
        f"{sum(cores.values()):.1f} in all.",
        "- On disk a day: " + ", ".join(
            f"{name} {size * ROWS_A_DAY / 1e9:,.0f} GB" for name, size in chain["bytes_row"].items()
        ) + ". The WAL of an hour in which nobody reads is "
        f"{chain['bytes_row']['wal'] * rate * 3600 / 1e9:,.0f} GB: set max_slot_wal_keep_size by that.",
    ])  # fmt: skip
