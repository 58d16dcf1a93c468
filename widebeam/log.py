"""Logging: one line an event, to stderr, with the part's name in front, and no secret in it."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable
from typing import Final

from widebeam.terminal import in_line

_SECRET: Final = re.compile(
    r"""(password|secret|token|scram_\w+_key)(["']?\s*[=:]\s*)('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(?:[^\s,'"\\]|\\.)+)""",
    re.IGNORECASE,
)
_PRIVATE_KEY: Final = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END [A-Z ]*PRIVATE KEY-----|$)")
_URL_PASSWORD: Final = re.compile(r"(\w+://[^\s:/@]*:)[^\s@]+@")


class OneLine(logging.Formatter):
    """Times in UTC; line breaks as ` | `; anything that looks like a secret struck out."""

    def __init__(self, part: str) -> None:
        super().__init__(f"%(asctime)s.%(msecs)03dZ {part} %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """The whole record as one line."""
        return in_line(struck_out(" | ".join(super().format(record).splitlines())))


def struck_out(text: str) -> str:
    """`text` without passwords: a second line of defence, since no message of ours holds one."""
    return _PRIVATE_KEY.sub(r"\1***\2", _URL_PASSWORD.sub(r"\1***@", _SECRET.sub(r"\1\2***", text)))


class Through(logging.Handler):
    """Hands lines to whoever owns the terminal."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        self._write(self.format(record))


def set_up(part: str, *, debug: bool = False, write: Callable[[str], None] | None = None) -> None:
    """Send this process's log to stderr, or through `write`, as `part`."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr) if write is None else Through(write)
    handler.setFormatter(OneLine(part))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler], force=True)
