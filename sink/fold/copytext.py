"""The text form of COPY: how a value is written so that it reads back as itself.

Source: PostgreSQL documentation, "COPY", section "Text Format".
"""

from __future__ import annotations

import re
from typing import Final

NULL: Final = r"\N"

_SPECIAL: Final = re.compile(r"[\\\t\n\r\b\f\v]")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_MEANT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPES: Final = str.maketrans(
    {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r", "\b": r"\b", "\f": r"\f", "\v": r"\v"}
)


def escaped(value: str) -> str:
    """The value as COPY reads it."""
    return value if _SPECIAL.search(value) is None else value.translate(_ESCAPES)


def unescaped(text: str) -> str | None:
    """A value, from what COPY wrote for it."""
    if "\\" not in text:
        return text
    return None if text == NULL else _ESCAPE.sub(lambda match: _MEANT.get(match[1], match[1]), text)
