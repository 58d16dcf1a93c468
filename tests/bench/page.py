"""docs/performance.md, written from the figures that the benches kept. Nothing in it is written by hand.

python -m tests.bench.page
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from tests.bench import plot
from tests.bench.process import Line
from tests.bench.report import KEPT, load
from tests.bench.volume import volume

PAGE: Final = KEPT.parent / "performance.md"

_HEAD: Final = """# Performance

Written by `python -m tests.bench.page` from the figures in [performance/](performance), which the benches \
keep. On a machine of your own, `make bench`, `make bench-peers`, `make bench-growth` and `make bench-ideas` \
write it anew; with `ARGS` they only print. Compare ratios from one run; rates from different machines or hours \
say little.

The workload is the reference table: 8 ships with 250 channels each, a reading of each channel every 15 \
seconds, in transactions of 2,000 rows; a tenth whole numbers, a twentieth texts and truth values each, the \
rest decimal. Everything (application, PostgreSQL, Kafka, Widebeam) runs on one machine. `CPU us` is \
microseconds of CPU a row in our own processes; `server us` that of PostgreSQL and Kafka beside them. No \
protection is switched off in any bench."""

_NAMES: Final = {
    "capture": "WAL → Kafka",
    "sink": "Kafka → wide tables",
    "chain": "WAL → Kafka → wide tables",
    "backfill": "narrow → wide tables",
    "snapshot": "snapshot → Kafka",
}


def write() -> None:
    """Write the page and its plots from what was kept."""
    plots = plot.write()
    PAGE.write_text("\n\n".join(_page(plots)) + "\n")


def _page(plots: Sequence[plot.Plot]) -> Iterator[str]:
    yield _HEAD
    bench, peers, growth = (load(KEPT / f"{name}.jsonl") for name in ("bench", "peers", "growth"))
    if bench:
        yield from _stages(bench)
    if peers:
        yield from _peers(peers)
    if growth:
        yield from _growth(growth, plots)
    if bench:
        yield from volume(bench)
    ideas = load(KEPT / "ideas.jsonl")
    if ideas:
        yield from _ideas(ideas)


def _stages(lines: list[Line]) -> Iterator[str]:
    yield f"## Widebeam, stage by stage\n\n{_about(lines)}"
    head = ("stage", "rows/s", "CPU us", "server us", "peak MB", "limit beside it, rows/s")
    rates = [line for line in lines if "cpu_us_row" in line]
    yield table(head, ([line["stage"], line["rows_s"], line["cpu_us_row"], _servers(line), _memory(line), _limit(line)]
                       for line in rates))  # fmt: skip
    waits = [line for line in lines if "p50_ms" in line]
    if waits:
        yield "Commit → visible in the wide table, while an application writes in 100 transactions a second:"
        head = ("rows/s", "p50 ms", "p99 ms", "max ms", "cores", "peak MB")
        yield table(head, ([line[name] for name in ("rows_s", "p50_ms", "p99_ms", "max_ms", "cores")] + [_memory(line)]
                           for line in waits))  # fmt: skip
    for line in lines:
        if line.get("stage") == "write_cost" and "alone_rows_s" in line:
            yield (
                f"What the application pays: it inserts {line['alone_rows_s']:,} rows/s alone, "
                f"{line['with_capture_rows_s']:,} with capture beside it, and {line['with_trigger_rows_s']:,} "
                f"with a trigger that pivots ({line['trigger_slower']} times slower)."
            )
    yield from _failed(lines)


def _peers(lines: list[Line]) -> Iterator[str]:
    yield f"## Beside others, in one run\n\n{_about(lines)}"
    head = ("who", "what", "rows/s", "CPU us", "peak MB")
    some = [line for line in lines if "peer" in line and "rows_s" in line and "p50_ms" not in line]
    yield table(head, ([line["peer"] + _how(line), _what(line), line["rows_s"], line.get("cpu_us_row", ""),
                        _memory(line)] for line in some))  # fmt: skip
    lost = [line for line in lines if line.get("lost")]
    for line in lost:
        who, kept = line["peer"].capitalize(), f"{line['cells']:,} cells of {line['rows']:,}"
        yield f"{who} kept {kept}: {line['lost']:,} were lost."
    waits = [line for line in lines if "peer" in line and "p50_ms" in line]
    if waits:
        yield "Latency at 10,000 rows/s; Widebeam's is until the wide table shows it, Debezium's until it is in Kafka:"
        head = ("who", "p50 ms", "p99 ms", "max ms", "cores")
        yield table(head, ([line[name] for name in ("peer", "p50_ms", "p99_ms", "max_ms", "cores")] for line in waits))
    yield from _scripts(some)
    for line in lines:
        if "bars" in line:
            yield "The goals, and whether they held in this run:"
            yield table(("ratio", "value", "goal", ""), (_judged(name, bar) for name, bar in line["bars"].items()))
    yield from _failed(lines)


def _scripts(lines: list[Line]) -> Iterator[str]:
    """The slower script is the one that a goal names; who has written the faster one wants to know about that."""
    rates = {line["peer"]: line["rows_s"] for line in lines if line.get("stage") == "backfill"}
    if "day by day" in rates:
        yield (
            "`row by row` upserts one reading after the other, as the goal says; `day by day` is a better script, which"
            " pivots a day in dictionaries and upserts wide rows one by one. Widebeam's backfill is "
            f"{rates['widebeam'] / rates['row by row']:.0f} times as fast as the one, and "
            f"{rates['widebeam'] / rates['day by day']:.1f} times as fast as the other (one worker each)."
        )


def _judged(name: str, bar: Line) -> list[Any]:
    return [name.replace("_", " "), bar["value"], bar["goal"], "holds" if bar["holds"] else "**does not hold**"]


def _growth(lines: list[Line], plots: Sequence[plot.Plot]) -> Iterator[str]:
    yield f"## Growth\n\n{_about(lines)}"
    for each in plots:
        yield f"![{each.across}](performance/{each.file.name})"
        curves = plot.series(lines, each.kind)
        points = sorted({at for curve in curves.values() for at in curve})
        yield table((f"rows/s at {each.across}", *(f"{point:,}" for point in points)),
                    ([what, *(round(curve[at]) if at in curve else "" for at in points)]
                     for what, curve in curves.items()))  # fmt: skip
    yield from _failed(lines)


def _ideas(lines: list[Line]) -> Iterator[str]:
    """Each way is a line below the question, ours first."""
    yield f"## Ways that were not taken\n\n{_about(lines)}"
    head = ("way", "time, us", "CPU of the server, us", "CPU of the client, us", "each", "")
    for line in lines:
        if "ways" in line:
            yield f"{line['says']} Ours is **{line['ours']}**. {line['why']}"
            yield table(head, (_way(line, way, cost) for way, cost in line["ways"].items()))
    yield from _failed(lines)


def _way(line: Line, way: str, cost: Line) -> list[Any]:
    costs = [cost[name] for name in ("us", "server_cpu_us", "client_cpu_us")]
    heap = f"{cost['heap_mb']} MB of heap" if "heap_mb" in cost else ""
    return [way, *costs, line["each"], heap]


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown; numbers to the right, with separators of thousands."""
    made = [[_cell(cell) for cell in row] for row in rows]
    kinds = ["---:" if n else "---" for n in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [list(head), kinds, *made])


def _cell(cell: Any) -> str:
    return f"{cell:,}" if isinstance(cell, int | float) else str(cell).replace("|", r"\|")


def _failed(lines: list[Line]) -> Iterator[str]:
    """What could not be measured is said, and not left out."""
    for line in lines:
        if "failed" in line:
            what = ", ".join(
                str(line[name]) for name in ("peer", "stage", "growth", "idea", "at", "what") if name in line
            )
            yield f"**Failed**: {what}: `{' '.join(line['failed'].replace('`', '').split())}`"


def _about(lines: list[Line]) -> str:
    about = lines[0]["about"]
    return (
        f"Measured {about['date']}, commit {about['commit']}, on {about['cores']} cores of {about['cpu']}, "
        f"{about['memory_gb']} GiB, {about['system']}, Python {about['python']}, PostgreSQL {about['postgres']}; "
        f"load {about['load']} before it began."
    )


def _what(line: Line) -> str:
    """Debezium's sink cannot pivot: it writes rows as narrow as they come."""
    if (line["peer"], line["stage"]) == ("debezium", "sink"):
        return "Kafka → narrow table"
    return _NAMES.get(line["stage"], str(line["stage"]))


def _how(line: Line) -> str:
    """How many of ours were at work."""
    workers = len(line.get("processes", {}))
    return f", {workers} processes" if workers > 1 else ""


def _servers(line: Line) -> str:
    return ", ".join(f"{name} {cost:.2f}" for name, cost in line.get("servers_cpu_us_row", {}).items())


def _memory(line: Line) -> str:
    """Each process's own."""
    each = line.get("processes") or {"": line}
    return " + ".join(str(one["peak_mb"]) for one in each.values() if "peak_mb" in one)


def _limit(line: Line) -> str:
    limit = line.get("limit")
    return "" if not limit else f"{limit['rows_s']:,} ({limit['what']})"


if __name__ == "__main__":
    write()
