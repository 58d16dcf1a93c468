"""How wide a row can get: worst-case bytes of a heap tuple, column by column. Pure.

Source: PostgreSQL's htup_details.h (MaxHeapTupleSize, 8,160 bytes in a page of 8 kB) and heaptoast.c, which never
moves a value out of the row that is not longer than a TOAST pointer, aligned: 24 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import reduce
from typing import Final, NamedTuple

ROW_BYTES: Final = 8160
"""The most that a row may take."""

MAX_COLUMNS: Final = 1600
"""PostgreSQL's limit for a table. Dropped columns count."""

VIEW_COLUMNS: Final = 1600
"""The most columns that a view of ours shows, the key's included. PostgreSQL's limit for the columns of a query is
1,664 (MaxTupleAttributeNumber); the rest is for what readers add."""

_SPARE_COLUMNS: Final = 50  # dropped by somebody, or added by hand
_STAYS_IN_ROW: Final = 24
PAGE_BYTES: Final = 8192
_PAGE_HEADER: Final = 24
_POINTER: Final = 4
_DIGITS: Final = 8
_CHARACTERS: Final = 12
"""What a number and a text have that nobody has seen."""

_FIXED: Final[dict[str, tuple[int, int]]] = {  # type -> bytes, alignment
    "boolean": (1, 1),
    '"char"': (1, 1),
    "smallint": (2, 2),
    "integer": (4, 4),
    "real": (4, 4),
    "date": (4, 4),
    "oid": (4, 4),
    "bigint": (8, 8),
    "double precision": (8, 8),
    "money": (8, 8),
    "pg_lsn": (8, 8),
    "timestamp without time zone": (8, 8),
    "timestamp with time zone": (8, 8),
    "time without time zone": (8, 8),
    "time with time zone": (12, 8),
    "interval": (16, 8),
    "point": (16, 8),
    "uuid": (16, 1),
    "macaddr": (6, 4),
    "macaddr8": (8, 4),
    "name": (64, 1),
}
_VARYING: Final = frozenset(
    ("text", "character varying", "character", "numeric", "bytea", "json", "jsonb", "xml", "inet", "cidr", "bit")
) | {"bit varying"}
_MODIFIER: Final = re.compile(r"\([^)]*\)")


class Width(NamedTuple):
    """How wide a row of some columns can get: their number, and where the last one's value ends."""

    columns: int = 0
    end: int = 0

    def plus(self, type_name: str) -> Width:
        """With one more column of this type after the others."""
        size, alignment = _footprint(type_name)
        return Width(self.columns + 1, _aligned(self.end, alignment) + size)

    @property
    def row_bytes(self) -> int:
        """The most bytes that a row takes: its header with a bitmap of NULLs, and every value set."""
        return _aligned(23 + (self.columns + 7) // 8, 8) + self.end

    @property
    def fits(self) -> bool:
        """Can every row of these columns be stored?"""
        return self.columns <= MAX_COLUMNS - _SPARE_COLUMNS and self.row_bytes <= ROW_BYTES


def width(types: Iterable[str]) -> Width:
    """The width of a row of columns of these types, in this order."""
    return reduce(Width.plus, types, Width())


def typical(types: Iterable[str]) -> int:
    """Bytes of a row of columns of these types, all set, as rows mostly are: numbers and texts of few characters."""
    kinds = list(types)
    return _aligned(23 + (len(kinds) + 7) // 8, 8) + round(sum(map(cell_bytes, kinds)))


def cell_bytes(type_name: str, characters: float | None = None) -> float:
    """Bytes of a value in a row; of one that varies, with so many characters as a text."""
    bare = _MODIFIER.sub("", type_name)
    if bare in _FIXED:
        return _FIXED[bare][0]
    if bare == "numeric":  # two bytes for four digits
        return 5 + (_DIGITS if characters is None else characters) / 2
    return 1 + (_CHARACTERS if characters is None else characters)


def fillfactor(types: Iterable[str]) -> int:
    """How full a page of rows of these columns is to be at first, so that updates find room on it (HOT).

    Rows are filled cell by cell: half a page free keeps an update on its page (1.6 MB of heap instead of 40 to 102).
    Of rows that are so wide that few fit a page, as many are put there as leave room for another version of one; a
    page for one alone is filled.
    """
    each = typical(types) + _POINTER
    fits = (PAGE_BYTES - _PAGE_HEADER) // each
    if fits < 2 or fits >= 8:
        return 100 if fits < 2 else 50
    kept = fits - max(1, fits // 2)
    return max(50, round((_PAGE_HEADER + (kept + 0.5) * each) * 100 / PAGE_BYTES))


def rows_a_page(row: float, full: int) -> int:
    """How many rows of so many bytes an INSERT puts on a page of this fillfactor: one at the least."""
    return max(1, int((PAGE_BYTES * full / 100 - _PAGE_HEADER) // (-(-row // 8) * 8 + _POINTER)))


def _footprint(type_name: str) -> tuple[int, int]:
    """Bytes and alignment of a type. One that is not known may have a four-byte header and start aligned."""
    bare = _MODIFIER.sub("", type_name)
    if bare in _VARYING:
        return _STAYS_IN_ROW, 1
    return _FIXED.get(bare, (_STAYS_IN_ROW + 4, 8))


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
