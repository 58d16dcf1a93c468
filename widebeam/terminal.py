"""The edge at which text leaves for people: terminals, logs, pipes. What others named is shown there, not obeyed.

A key may hold a terminal's escape sequence, a line break that looks like a new line of a log, or a mark that turns the
order of what follows: whoever may write a row, or name his session, would write on the operator's screen. So all text
goes out by here (tests/widebeam/test_terminal.py looks for ways around it).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any, Final

import orjson
import typer
from rich import console as rich_console
from rich.console import RenderableType
from rich.segment import Segment
from rich.text import Text

_HIDDEN: Final = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and line feed, DEL, C1: some terminals obey U+009B as they do ESC [
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the order of letters
    "\u2028\u2029\ufeff\ufff9-\ufffb"  # other line breaks, marks without a width
    "\ud800-\udfff"  # halves of a character, which no stream takes
)
_ESCAPED: Final = re.compile(f"[{_HIDDEN}]")
_ESCAPED_IN_LINE: Final = re.compile(f"[{_HIDDEN}\t\n]")


def plain(words: str) -> str:
    """The text with control characters shown as escapes (`\\x1b`, `\\u202e`); tabs and line feeds stay."""
    return _ESCAPED.sub(_shown, words)


def in_line(words: str) -> str:
    """The same for what has to stay within a line: tabs and line feeds are shown, too."""
    return _ESCAPED_IN_LINE.sub(_shown, words)


def json(value: Any, option: int | None = None) -> str:
    """JSON of one line: what would be obeyed is written as JSON's own escapes, so that it is the same JSON."""
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", orjson.dumps(value, option=option).decode())


def text(words: str, style: str = "") -> Text:
    """A text for the console, which would drop some control characters in silence."""
    return Text(plain(words), style=style)


def say(words: str, *, err: bool = False) -> None:
    """Lines to stdout, or stderr."""
    typer.echo(plain(words), err=err)


def say_json(value: Any, option: int | None = None) -> None:
    """An object on a line of stdout."""
    typer.echo(json(value, option))


def say_script(words: str) -> None:
    """A script on stdout: to another program as it is, since it means just that; escaped for eyes."""
    typer.echo(plain(words) if sys.stdout.isatty() else words, nl=False)


def confirm(question: str, *, err: bool = False) -> None:
    """Ask; typer.Abort unless the answer is yes."""
    typer.confirm(plain(question), abort=True, err=err)


class Console(rich_console.Console):
    """Rich's, without markup and emoji in strings, and with plain text wherever it came from."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **settings})

    def render_str(self, text: str, **how: Any) -> Text:
        """A string as text, before control characters are dropped from it."""
        return super().render_str(plain(text), **how)

    def render(
        self, renderable: RenderableType, options: rich_console.ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """All that is shown comes by here, but for what moves the cursor."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))


def _shown(found: re.Match[str]) -> str:
    code = ord(found[0])
    return {9: "\\t", 10: "\\n", 13: "\\r"}.get(code) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
