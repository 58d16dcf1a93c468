"""Log sequence numbers: positions in a PostgreSQL write-ahead log."""

from __future__ import annotations

import re
from typing import Final

_TEXT: Final = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


class Lsn(int):
    """A byte position in the WAL, 0 to 2**64 - 1; an int that prints as PostgreSQL's pg_lsn does.

    Source: PostgreSQL documentation, "pg_lsn Type".
    """

    __slots__ = ()

    def __new__(cls, value: int) -> Lsn:
        """Make one from its number of bytes; ValueError outside 64 unsigned bits."""
        if not 0 <= value < 1 << 64:
            raise ValueError(f"LSN out of range: {value}")
        return super().__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> Lsn:
        """Read `16/B374D848`; ValueError on anything else."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"not an LSN: {text!r} (expected the form 16/B374D848)")
        high, low = match.groups()
        return int.__new__(cls, int(high, 16) << 32 | int(low, 16))  # of 16 digits at most: no need to check

    def __str__(self) -> str:
        return f"{self >> 32:X}/{self & 0xFFFFFFFF:X}"

    def __repr__(self) -> str:
        return f"Lsn('{self}')"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)
