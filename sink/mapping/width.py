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


def _footprint(type_name: str) -> tuple[int, int]:
    """Bytes and alignment of a type. One that is not known may have a four-byte header and start aligned."""
    bare = _MODIFIER.sub("", type_name)
    if bare in _VARYING:
        return _STAYS_IN_ROW, 1
    return _FIXED.get(bare, (_STAYS_IN_ROW + 4, 8))


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
