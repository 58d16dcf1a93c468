"""Records a real run of Widebeam for the README: `plan`, `run`, `status --watch` and `verify`, as docs/demo.svg.

PostgreSQL and Kafka are servers of its own, the commands run in a pseudo-terminal, and what is drawn is what they said.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

from widebeam.demo.gauge import Gauge
from widebeam.demo.history import load
from widebeam.demo.stage import Stage
from widebeam.demo.writer import Writer

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "demo.svg"
WIDTH = 116
ROWS = 500_000
LOOKS = 3
CONTROL = re.compile(r"\x1b\[(?P<up>\d*)A|(?P<erase>\x1b\[2?K)|(?P<back>\r)|(?P<down>\n)|\x1b\[\?\d+[hl]")
"""What moves the cursor, erases its line, or shows and hides it: all that rich uses. Colours are left to rich."""

FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""rich's own, without the fonts that it would fetch from a server of somebody's."""


class Terminal:
    """A command in a pseudo-terminal of its own."""

    def __init__(self, *words: str, rows: int = 60) -> None:
        self.process_id, self._file = pty.fork()
        if self.process_id == 0:
            size = {"COLUMNS": str(WIDTH), "LINES": str(rows), "TERM": "xterm-256color", "FORCE_COLOR": "1"}
            os.environ.update(size)
            os.execv(sys.executable, [sys.executable, "-m", "widebeam", *words])  # noqa: S606
        self._said = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while select.select([self._file], [], [])[0]:
            try:
                found = os.read(self._file, 65536)
            except OSError:  # Linux says so when the other end is closed
                return
            if not found:
                return
            self._said += found

    def said(self) -> str:
        """All of it so far."""
        return self._said.decode(errors="replace")

    def end(self, how: signal.Signals | None = None) -> str:
        """What it said to its end; `how` is sent to it first."""
        if how is not None:
            os.kill(self.process_id, how)
        os.waitpid(self.process_id, 0)
        self._thread.join(5)
        return self.said()


def screen(said: str) -> Text:
    """What stands on the screen in the end, with its colours."""
    lines, row, fresh, at = [""], 0, False, 0
    for found in (*CONTROL.finditer(said), None):
        text = said[at : found.start() if found else None]
        if text:
            lines[row] = text if fresh else lines[row] + text
            fresh = False
        if found is None:
            break
        at = found.end()
        if found["up"] is not None:
            row = max(0, row - int(found["up"] or 1))
        elif found["erase"]:
            lines[row] = ""
        elif found["back"]:
            fresh = True  # what comes next is written over the line
        elif found["down"]:
            row, fresh = row + 1, False
            lines.extend([""] * (row + 1 - len(lines)))
    return Text.from_ansi("\n".join(lines).strip("\n"))


def record() -> list[tuple[str, Text]]:
    """The commands and what each said."""
    stage = Stage.set(direct=False, leashed=True)
    stop = threading.Event()
    try:
        writer = Writer(stage.dsn, load(stage.dsn, ROWS), rate=5_000)
        connector = str(stage.connector_file)
        planned = screen(Terminal("plan", connector).end())
        writing = threading.Thread(target=writer.run, args=(stop,))
        writing.start()
        run, gauge = Terminal("run", connector), Gauge(stage.dsn)
        gauge.follow(lambda now: now.converged, lambda: None, seconds=600)
        gauge.settle(lambda: None, seconds=600)
        watch = Terminal("status", connector, "--watch")
        while watch.said().count("quarantine") < LOOKS:
            time.sleep(0.1)
        watched, ran = screen(watch.said()), screen(run.said())
        watch.end(signal.SIGINT)
        verified = screen(Terminal("verify", connector).end())
        run.end(signal.SIGINT)
        gauge.close()
        return [("plan", planned), ("run", ran), ("status --watch", watched), ("verify", verified)]
    finally:
        stop.set()
        stage.strike()


def draw(recorded: list[tuple[str, Text]]) -> str:
    """The picture."""
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115, PTH123
    for verb, said in recorded:
        words = verb.split()
        console.print(
            Text.assemble(("$ ", "bold green"), (" ".join(["widebeam", words[0], "ships", *words[1:]]), "bold"))
        )
        console.print(said)
        console.print()
    return console.export_svg(title="Widebeam", code_format=FORMAT)


if __name__ == "__main__":
    PICTURE.write_text(draw(record()))
    print(f"✓ {PICTURE.relative_to(ROOT)}: look at it before you commit it")
