"""Types of wide columns, and how one grows into another without the loss of a digit. Pure.

Whatever a column becomes, each value keeps the text that the source prints for it, which is what verify compares:
`42` is a bigint, a numeric and a text; `0.1` as a real is another text than as a double precision for some values.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

TEXT: Final = "text"
NUMERIC: Final = "numeric"

_WHOLE: Final = ("smallint", "integer", "bigint")
_NUMERIC: Final = re.compile(r"numeric(\(\d+,-?\d+\))?")


_LOOSE: Final = re.compile(
    r"(.*\.)?citext|interval.*|bpchar|jsonb|num(multi)?range"
    r"|((.*\.)?citext|interval.*|bpchar|jsonb|numeric.*|real|double precision)\[\]"
)


def loose(name: str) -> bool:
    """Are there values of this type that are equal though their texts differ, so that nobody but a server can tell?"""
    return _LOOSE.fullmatch(name) is not None


def one_text(name: str) -> Callable[[str], str] | None:
    """For a type of which values that are equal can have different texts: what makes one text of these."""
    if name == NUMERIC:
        return lambda text: text.rstrip("0").rstrip(".") if "." in text else text
    if name in ("real", "double precision"):
        return lambda text: "0" if text == "-0" else text
    return None


def holds(column: str, reading: str) -> bool:
    """Can a column of this type hold every value of that type, text by text?"""
    return joined(column, reading) == column


def joined(one: str, other: str) -> str:
    """The narrowest type that holds both."""
    if one == other:
        return one
    if one in _WHOLE and other in _WHOLE:
        return max(one, other, key=_WHOLE.index)
    if _exact(one) and _exact(other):
        return NUMERIC
    return TEXT


def _exact(name: str) -> bool:
    return name in _WHOLE or _NUMERIC.fullmatch(name) is not None
