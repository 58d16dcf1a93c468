"""Columns that come again: read once, and known by their bytes. Pure.

A ship sends the readings of the same channels moment after moment, so that the columns of keys and of discriminators
are the same bytes in record after record: to look them up costs a fraction of reading them, and whoever compares or
hashes their texts meets texts that he has met before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec

Values: TypeAlias = "Sequence[str | None]"

_KEPT: Final = 200_000
"""Values that are remembered before the memory starts anew, and pieces of _PIECE bytes of them; about 20 MB."""
_PIECE: Final = 64

_IN_VAIN: Final = 2_000
"""After so many columns of one name that had not come before, in a row, none of that name is looked for any more."""

_read: Final[Callable[[bytes | msgspec.Raw], list[str | None] | None]] = msgspec.json.Decoder(
    list[str | None] | None
).decode


class ColumnCache:
    """What was read of columns. Made for one codec; threads may share it."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[str | None, ...]] = {}
        self._kept = 0
        self._in_vain: dict[str, int] = {}

    def column(self, name: str, raw: msgspec.Raw) -> Values | None:
        """The values of a column; None if all are NULL. Raises MsgspecError or ValueError if these bytes are none."""
        in_vain = self._in_vain.get(name, 0)
        if in_vain >= _IN_VAIN:
            return _read(raw)
        text = bytes(raw)
        known = self._known.get(text)
        if known is not None:
            if in_vain:
                self._in_vain[name] = 0
            return known
        read = _read(text)
        if read is None:
            return None
        self._in_vain[name] = in_vain + 1
        return self._keep(text, tuple(read))

    def _keep(self, text: bytes, values: tuple[str | None, ...]) -> Values:
        size = len(values) + len(text) // _PIECE
        self._kept += size
        if self._kept > _KEPT:
            self._known.clear()
            self._kept = size
        self._known[text] = values
        return values
