"""Numbers of things as people say them: one row, two rows. Pure."""

from __future__ import annotations

from typing import Final

_PLURALS: Final = {"entry": "entries", "entity": "entities"}


def counted(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`; a noun of several words is counted by its last one: `3 narrow rows`."""
    if number == 1:
        return f"1 {noun}"
    head, space, last = noun.rpartition(" ")
    return f"{number:,} {head}{space}{_PLURALS.get(last, f'{last}s')}"
