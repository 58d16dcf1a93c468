"""Logging: one line an event, to stderr, with the part's name in front, and no secret in it."""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import Final

_SECRET: Final = re.compile(r"(password|secret|token)(\s*[=:]\s*)('[^']*'|\"[^\"]*\"|[^\s,'\"]+)", re.IGNORECASE)
_URL_PASSWORD: Final = re.compile(r"(\w+://[^\s:/@]*:)[^\s@]+@")


class OneLine(logging.Formatter):
    """Times in UTC; line breaks as ` | `; anything that looks like a secret struck out."""

    def __init__(self, part: str) -> None:
        super().__init__(f"%(asctime)s.%(msecs)03dZ {part} %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """The whole record as one line."""
        return struck_out(" | ".join(super().format(record).splitlines()))


def struck_out(text: str) -> str:
    """`text` without passwords: a second line of defence, since no message of ours holds one."""
    return _URL_PASSWORD.sub(r"\1***@", _SECRET.sub(r"\1\2***", text))


def set_up(part: str, *, debug: bool = False) -> None:
    """Send this process's log to stderr as `part`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(part))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler], force=True)
