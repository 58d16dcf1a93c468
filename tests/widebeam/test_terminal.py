"""Names and values of others are shown by every output, and obeyed by no terminal."""

from __future__ import annotations

import ast
import io
import logging
import re
from pathlib import Path

import orjson
import pytest
from rich.panel import Panel
from rich.table import Table

from widebeam import terminal
from widebeam.cli.outcome import explained
from widebeam.log import OneLine
from widebeam.status.progress import Bars, Lines
from widebeam.terminal import Console, in_line, json, plain, text

ROOT = Path(__file__).parents[2] / "widebeam"
EVIL = "a\x1b]0;OWNED\x07\x1b[2J\x9b31m\x7f\u202eb\u2066\u2028[red]c[/red] :boom:\rd\x00"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


def shown(*things: object, **settings: object) -> str:
    out = io.StringIO()
    Console(file=out, width=300, **settings).print(*things)
    return out.getvalue()


def test_control_characters_are_shown_as_escapes_and_what_is_a_letter_stays() -> None:
    assert plain("\x1b[2J\x9b\u202e") == "\\x1b[2J\\x9b\\u202e"
    assert plain("Größe 温度 ‍👩‍🔧\t\n") == "Größe 温度 ‍👩‍🔧\t\n"
    assert in_line("a\nb\tc\rd") == "a\\nb\\tc\\rd"


def test_json_stays_the_same_json() -> None:
    assert orjson.loads(json({"k": EVIL})) == {"k": EVIL}
    assert not OBEYED.search(json({"k": EVIL}))


@pytest.mark.parametrize("terminal_like", [False, True])
def test_a_console_shows_strings_texts_and_tables_as_they_are(terminal_like: bool) -> None:
    table = Table(title=EVIL)
    table.add_column(EVIL)
    table.add_row(EVIL)
    seen = shown(EVIL, text(EVIL), table, Panel(text(EVIL), title=text(EVIL)), force_terminal=terminal_like)
    for _ in range(8):
        seen = re.sub("\x1b\\[[0-9;]*m", "", seen)  # the console's own colours
    assert not OBEYED.search(seen)
    assert seen.count("\\x07") >= 4
    assert "[red]c[/red] :boom:" in seen


def test_a_line_of_a_log_stays_a_line(caplog: pytest.LogCaptureFixture) -> None:
    record = logging.LogRecord("x", logging.WARNING, "", 0, "key %s", (EVIL + "\n2026 run INFO all is well",), None)
    line = OneLine("sink").format(record)
    assert "\n" not in line and not OBEYED.search(line)


def test_lines_of_parts_are_shown_plainly_whoever_wrote_them() -> None:
    out = io.StringIO()
    Lines(out).line(EVIL)
    assert not OBEYED.search(out.getvalue())
    bars = Bars(Console(file=io.StringIO(), width=300))
    bars.line(EVIL)
    bars.close()


def test_an_error_of_a_server_is_shown_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say(explained(LookupError(EVIL))[0], err=True)
    assert not OBEYED.search(capsys.readouterr().err)


WAYS = {"typer.echo", "typer.secho", "typer.confirm", "click.echo", "sys.stdout.write", "sys.stderr.write", "print"}


def ways_around(path: Path) -> list[str]:
    """Calls and imports by which text would leave without being looked at."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=func) if ast.unparse(func) in WAYS:
                found.append(f"{path.name}:{node.lineno} {ast.unparse(func)}")
            case ast.ImportFrom(module="rich.console", names=names) if "Console" in [one.name for one in names]:
                found.append(f"{path.name}:{node.lineno} rich's Console")
            case ast.ImportFrom(module="rich", names=names) if {one.name for one in names} & {"print", "get_console"}:
                found.append(f"{path.name}:{node.lineno} rich's print")
    return found


def test_no_output_goes_around_the_edge() -> None:
    places = [path for path in ROOT.rglob("*.py") if path.name != "terminal.py"]
    assert [way for path in places for way in ways_around(path)] == []
    assert ways_around(ROOT / "terminal.py")
