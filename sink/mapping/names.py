"""Names of columns, tables, parts and partitions, made from keys and entities. Pure.

PostgreSQL cuts an identifier silently after 63 bytes, so that two long keys could become one column: names are settled
here, before anything is made. How many columns fit a row is in width.py.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable, Sequence
from hashlib import sha256
from typing import Final

NAME_BYTES: Final = 63
"""The longest identifier, in bytes of UTF-8."""

TABLE_BYTES: Final = NAME_BYTES - len("__9999")
"""The longest name of a wide table's view: its parts' names are longer."""

SYSTEM_COLUMNS: Final = frozenset(("ctid", "xmin", "cmin", "xmax", "cmax", "tableoid"))
"""Names that no column can have."""

LSN_COLUMN: Final = "_lsn"
"""The wide tables' own column: the position of the commit that last touched the row."""

BARE: Final = "0/0"
"""`_lsn` of a row without a cell: one that is there because another part has a row (`Entity.bases`)."""

OVERFLOW_COLUMN: Final = "_overflow"
"""The wide tables' column for keys without a column of their own, where nobody has that name."""

_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def misplaced(key: str | None) -> tuple[str, str] | None:
    """Why a key cannot become a column: a reason and its detail; None when it can."""
    if key is None:
        return "null_key", "the key is NULL"
    if not key:
        return "empty_key", "the key is empty"
    found = _UNPRINTABLE.search(key)
    if found is not None:
        return "unplaceable_key", f"the key has the character U+{ord(found[0]):04X} at {found.start()}"
    return None


def folded(name: str) -> str:
    """What two names share that a reader would take for the same: case and Unicode form aside."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def fitted(name: str, identity: str, taken: Container[str], limit: int = NAME_BYTES) -> str:
    """`name` where it fits and nobody has it, else a readable head of it and a hash of `identity`.

    `taken` holds the names that are there, each `folded`.
    """
    if len(name.encode()) <= limit and folded(name) not in taken:
        return name
    for salt in range(1000):
        digest = sha256(f"{identity}\0{salt}".encode() if salt else identity.encode()).hexdigest()[:8]
        candidate = f"{_head(name, limit - 9)}_{digest}"
        if folded(candidate) not in taken:
            return candidate
    raise ValueError(f"no free name for {name!r}")


def reserved(key_columns: Iterable[str]) -> set[str]:
    """The column names that are taken before there is any column, `folded`."""
    return {folded(name) for name in (*key_columns, LSN_COLUMN, *SYSTEM_COLUMNS)}


def table_name(template: str, entity: Sequence[str | None]) -> str:
    """The name that the template gives for an entity, before it is `fitted`."""
    values = "_".join("" if value is None else value for value in entity)
    return _UNPRINTABLE.sub("_", template.replace("{entity}", values)) or "_"


def group_name(view: str, group: str) -> str:
    """The name of a group's view, before it is `fitted`.

    Two underscores, since one is what joins the values of an entity; a group's name begins with a letter, so that it is
    never the number of a part.
    """
    return f"{view}__{group}"


def part_name(view: str, part: int) -> str:
    """The name of a wide table's part, before it is `fitted`; of a group's part, with the group's view."""
    return f"{view}__{part}"


def partition_name(part: str, period: str) -> str:
    """The name of a part table's partition, before it is `fitted`: a part's name may be cut, but not the period."""
    end = f"__{period}"
    return fitted(part, f"{part}{end}", (), NAME_BYTES - len(end.encode())) + end


def _head(name: str, limit: int) -> str:
    """The first characters of `name` that fit `limit` bytes, never half a character."""
    return name.encode()[:limit].decode(errors="ignore")
