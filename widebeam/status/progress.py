"""Live progress of `run`: bars on a terminal, elsewhere one line every few seconds."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import Final, Protocol, TextIO

from rich.console import RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from widebeam.status.quantity import count, duration, size
from widebeam.status.status import Status
from widebeam.terminal import Console, plain

EVERY: Final = 5.0
"""Seconds between two lines where there is no terminal."""

_WINDOW: Final = 10.0


class Display(Protocol):
    """Something that shows how a run goes, and the parts' log lines beside it."""

    def show(self, status: Status) -> None:
        """Show this look."""

    def line(self, text: str) -> None:
        """Show a line of a log."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Rate:
    """Rows a second over the last ten seconds, from a counter that is looked at now and then."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def see(self, count: int, now: float) -> float:
        """Take the counter's value in, and answer the rate."""
        self._seen.append((now, count))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW:
            self._seen.popleft()
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return max(after - before, 0) / (last - first) if last > first else 0.0


def display(stream: TextIO = sys.stderr) -> Display:
    """Bars on a terminal, else lines."""
    console = Console(file=stream, highlight=False)
    return Bars(console) if console.is_terminal else Lines(stream)


class Lines:
    """One line every few seconds, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._next = 0.0
        self._backfill, self._flow = Rate(), Rate()

    def show(self, status: Status) -> None:
        """Write the line if it is time, or if the state is new."""
        now = time.monotonic()
        rates = self._backfill.see(status.backfill.rows, now), self._flow.see(status.stream.rows, now)
        if now < self._next:
            return
        self._next = now + EVERY
        self.line(
            f"{status.connector} {status.state}: {backfill_text(status, rates[0])}; {flow_text(status, rates[1])}"
        )

    def line(self, text: str) -> None:
        """Write a line, from any thread, in one piece."""
        self._stream.write(f"{plain(text)}\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing to leave."""


class Bars:
    """Two bars that stay at the bottom of the terminal, the log above them."""

    def __init__(self, console: Console) -> None:
        self._backfill, self._flow = Rate(), Rate()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            _BarOrNothing(),
            TextColumn("{task.fields[text]}", markup=False, table_column=Column(no_wrap=True)),
            console=console,
        )
        self._chunks = self._progress.add_task("backfill", total=None, text="")
        self._stream = self._progress.add_task("stream", total=None, text="", bare=True)
        self._progress.start()

    def show(self, status: Status) -> None:
        """Move the bars."""
        now, backfill = time.monotonic(), status.backfill
        left = backfill.planned + backfill.failed + backfill.given_up
        total = max(backfill.rows_expected, 1) if backfill.chunks else None
        text = backfill_text(status, self._backfill.see(backfill.rows, now)).removeprefix("backfill ")
        done = total if backfill.chunks and not left else min(backfill.rows, total or 0)
        self._progress.update(self._chunks, total=total, completed=done or 0, text=text)
        rate = self._flow.see(status.stream.rows, now)
        text = ", ".join([status.state, f"{count(rate)} rows/s", *_behind(status), *_troubles(status)])
        self._progress.update(self._stream, text=text)

    def line(self, text: str) -> None:
        """Write a line above the bars."""
        self._progress.console.print(plain(text), markup=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the bars as they are, below the log."""
        self._progress.stop()


class _BarOrNothing(ProgressColumn):
    """A bar for what has an end; the stream has none."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = BarColumn(12)

    def render(self, task: Task) -> RenderableType:
        """The bar, or room of its width."""
        if task.fields.get("bare"):
            return Text("")
        return self._bar.render(task)


def backfill_text(status: Status, rate: float) -> str:
    """`backfill 3 of 9 chunks, 1.2 M rows, 310 k rows/s, 12 s left`."""
    backfill = status.backfill
    done = backfill.merged + backfill.void
    parts = [f"{done} of {backfill.chunks} chunks", f"{count(backfill.rows)} rows"]
    if done < backfill.chunks:
        parts.append(f"{count(rate)} rows/s")
        if backfill.eta_s is not None:
            parts.append(f"{duration(backfill.eta_s)} left")
    if backfill.failed or backfill.given_up:
        parts.append(f"{backfill.failed} failed for now, {backfill.given_up} for good")
    return "backfill " + ", ".join(parts)


def flow_text(status: Status, rate: float) -> str:
    """`stream 12 k rows/s, 3.1 MB and 0.2 s behind`."""
    stream = status.stream
    return ", ".join(
        [f"stream {count(rate)} rows/s", f"{count(stream.rows)} rows", *_behind(status), *_troubles(status)]
    )


def _behind(status: Status) -> list[str]:
    stream = status.stream
    known = [size(stream.lag_bytes)] if stream.lag_bytes is not None else []
    known += [duration(stream.lag_seconds)] if stream.lag_seconds is not None else []
    return [f"{' and '.join(known)} behind"] if known else []


def _troubles(status: Status) -> list[str]:
    return [*([f"{status.quarantine} in quarantine"] if status.quarantine else []), *status.problems]
