"""What a query's columns are called, read off its text where that is plain. Pure.

The configuration is read without a database, and has to know which names are virtual columns; set-up compares with
what the server says.
"""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(
    r"""--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|"(?:[^"]|"")*"|[A-Za-z_\u0080-\uffff][\w$]*|\d+(?:\.\d+)?|\s+|.""",
    re.DOTALL,
)
_NAME: Final = re.compile(r"""[A-Za-z_\u0080-\uffff][\w$]*|"(?:[^"]|"")+\"""")


def select_list(query: str) -> list[str] | None:
    """The names of a SELECT's columns, in order; None where they are not plain to see."""
    tokens = [each for each in _TOKEN.findall(query) if not each.isspace() and not each.startswith(("--", "/*"))]
    if not tokens or tokens[0].upper() != "SELECT":
        return None
    items: list[list[str]] = [[]]
    depth = 0
    for token in tokens[1:]:
        depth += {"(": 1, ")": -1}.get(token, 0)
        if depth == 0 and token.upper() == "FROM":
            first, *names = map(_name, items)  # the first is the id, whatever it is called
            return None if None in names else [first or "", *(name for name in names if name is not None)]
        if depth == 0 and token == ",":  # noqa: S105  it is no password
            items.append([])
        else:
            items[-1].append(token)
    return None


def _name(item: list[str]) -> str | None:
    """What a column is called: its alias, or itself if it is a column; None for an expression."""
    if ":" in item and "AS" not in map(str.upper, item):
        item = item[: item.index(":")]  # a cast does not change the name
    if not item or _NAME.fullmatch(item[-1]) is None:
        return None
    before = item[-2] if len(item) > 1 else "."
    if before not in (".", ")") and _NAME.fullmatch(before) is None:
        return None
    last = item[-1]
    return last[1:-1].replace('""', '"') if last.startswith('"') else last.lower()
