"""Rows as pgoutput writes them (TupleData): for each column a kind byte, and for a text its length and bytes.

Three readers of the same format. `read_row` goes from column to column and says what is wrong where. `Pieces` reads
the common row several times faster, and refuses whatever is not common. `read_run` reads many common rows together,
faster again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from cdc.event import UNCHANGED, Relation, Row, Value
from cdc.wire.cursor import Cursor

_KEEP: Final = 16_384
"""How many pieces are remembered, before the memory starts anew; about 4 MB."""
_RUN: Final = 64
"""The longest run of NULLs that is looked up instead of read."""

_THEN: Final[dict[bytes, tuple[None, ...]]] = {b"n" * n + b"t": (None,) * n for n in range(_RUN)}
_LAST: Final[dict[bytes, tuple[None, ...]]] = {b"n" * n: (None,) * n for n in range(_RUN)}

_ZEROS: Final = b"\0\0\0"
_MARK: Final = b"."
_END: Final = object()
"""Stands behind each row's values while many rows are one list."""
_text: Final = itemgetter(0)
_FOLLOWERS: Final[dict[bytes, tuple[object, ...]]] = {
    **_THEN,
    **{nulls + _MARK: (*values, _END) for nulls, values in _LAST.items()},
}


class Irregular(Exception):
    """Not a row for the quick reader."""


class Pieces(dict[bytes, tuple[str | None, ...]]):
    """The quick reader's memory: a row is split at three zero bytes, which stand in each length under 256 bytes.

    A row `t 0 0 0 5 hello n t 0 0 0 2 hi` falls into the pieces `t`, `5 hello n t` and `2 hi`. A piece is right if
    its first byte is the length of the text after it and what follows the text is NULLs and, but for the row's last
    piece, the `t` of the next text. When every piece is right, the pieces put together again are the row as
    `read_row` would have read it, and they end where the frame ends: there is no byte that was not accounted for,
    so nothing needs a bounds check of its own. A text cannot hold a NUL, thus not the separator; longer texts,
    unchanged TOAST and broken rows make a piece that is not right, and `Irregular` is raised.

    Entities, times and keys come again and again, so the pieces once read are remembered: a lookup costs a tenth of
    reading, and equal values are one object, which makes the assembler's grouping cheaper too.
    """

    __slots__ = ("_followers",)

    def __init__(self, *, last: bool) -> None:
        super().__init__()
        self._followers = _LAST if last else _THEN

    def __missing__(self, piece: bytes) -> tuple[str | None, ...]:
        """The values in a piece that was not seen before, or not lately."""
        end = piece[0] + 1 if piece else 1
        nulls = self._followers.get(piece[end:])
        text = piece[1:end]
        if nulls is None or 0 in text or len(piece) < end:
            raise Irregular
        try:
            values = (text.decode(), *nulls) if nulls else (text.decode(),)
        except UnicodeDecodeError:
            raise Irregular from None
        if 46 not in text:  # a point: decimal numbers seldom come twice, and would push out the rest
            if len(self) >= _KEEP:
                self.clear()
            self[piece] = values
        return values


def read_run(frames: Sequence[bytes], start: int, width: int) -> list[Row]:
    """The rows of frames in which the first column's text begins at `start`, of `width` columns each, or `Irregular`.

    What `Pieces` does, for all rows at once: each different piece is read once, and the rest is looking up and laying
    out, which takes no step of ours for a single row. With a mark of its end behind it, a row's last piece is like
    any other; and since the marks come out one after each `width` values, every row has as many.
    """
    pieces = list(chain.from_iterable([(frame[start:] + _MARK).split(_ZEROS) for frame in frames]))
    try:
        known: dict[bytes, tuple[Any, ...]] = {
            piece: (piece[1 : (end := piece[0] + 1)].decode(),) + _FOLLOWERS[piece[end:]] for piece in set(pieces)
        }
    except (LookupError, UnicodeDecodeError):
        raise Irregular from None
    values = list(chain.from_iterable(map(known.__getitem__, pieces)))
    step, count = width + 1, len(frames)
    if len(values) != step * count or values[width::step].count(_END) != count:
        raise Irregular
    if "\0" in "".join(map(_text, known.values())):
        raise Irregular
    return list(zip(*[values[column::step] for column in range(width)], strict=True))


def read_row(cursor: Cursor, relation: Relation) -> Row:
    """One row of `relation`, column by column; `Undecodable` where it is not one."""
    start = cursor.offset
    row = _straight(cursor, len(relation.columns))
    if row is not None:
        return row
    cursor.offset = start
    width = cursor.number(2, "the number of columns")
    if width != len(relation.columns):
        cursor.fail(
            f"a row of {len(relation.columns)} columns, as {relation.schema}.{relation.name} has, not {width}", 2
        )
    return tuple([_value(cursor, relation, index) for index in range(width)])


def _straight(cursor: Cursor, width: int) -> Row | None:
    """The row, if nothing is wrong with it; else None.

    A slice that runs over the frame's end is short and raises nothing, but the position behind it is then beyond
    the end and stays there, so that one check after the loop finds it.
    """
    frame, position = cursor.frame, cursor.offset + 2
    if int.from_bytes(frame[cursor.offset : position], "big") != width:
        return None
    values: list[Value] = []
    try:
        for _ in range(width):
            kind = frame[position]
            position += 1
            if kind == 116:  # t
                start = position + 4
                position = start + int.from_bytes(frame[position:start], "big")
                text = frame[start:position]
                if 0 in text:
                    return None
                values.append(text.decode())
            elif kind == 110:  # n
                values.append(None)
            elif kind == 117:  # u
                values.append(UNCHANGED)
            else:
                return None
    except (IndexError, UnicodeDecodeError):
        return None
    if position > len(frame):
        return None
    cursor.offset = position
    return tuple(values)


def _value(cursor: Cursor, relation: Relation, index: int) -> Value:
    match cursor.number(1, "a column's kind"):
        case 116:  # t
            return cursor.text(cursor.number(4, "a value's length"), f"a value of {relation.columns[index].name}")
        case 110:  # n
            return None
        case 117:  # u
            return UNCHANGED
        case 98:  # b
            return cursor.fail(
                f"text for {relation.columns[index].name}, not binary (ask for no `binary` option)", back=1
            )
        case kind:
            return cursor.fail(f"a column's kind, one of n, u, t, not {chr(kind)!r}", back=1)
