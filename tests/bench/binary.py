"""The reference fleet's wide rows for COPY, as text and in the binary format, both made from values that are texts.

Source: PostgreSQL documentation, "COPY", section "Binary Format".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import cache
from struct import Struct
from typing import Final

from tests.bench.reference import FLEET, moment, reading

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_EPOCH: Final = datetime(2000, 1, 1)
_LONG, _DOUBLE, _LENGTH, _COUNT = Struct(">iq"), Struct(">id"), Struct(">i"), Struct(">h")


@cache
def _values(tick: int) -> list[str]:
    """The cells of one ship's moment, as they come out of a change record."""
    found = (reading(tick, n, FLEET.tick_rows)[:4] for n in range(FLEET.channels))
    return [next(value for value in values if value is not None) for values in found]


def as_text(moments: int) -> list[bytes]:
    """So many wide rows."""
    return ["\t".join(row(tick)).encode() + b"\n" for tick in range(moments)]


def row(tick: int) -> list[str]:
    """One of them, value by value."""
    return [moment(tick), "0/1", *_values(tick)]


def _integer(value: str) -> bytes:
    return _LONG.pack(8, int(value))


def _decimal(value: str) -> bytes:
    return _DOUBLE.pack(8, float(value))


def _text(value: str) -> bytes:
    raw = value.encode()
    return _LENGTH.pack(len(raw)) + raw


def _boolean(value: str) -> bytes:
    return b"\0\0\0\1" + (b"\1" if value == "t" else b"\0")


_FORMS: Final[list[Callable[[str], bytes]]] = [
    (_integer, _integer, _text, _boolean, *[_decimal] * 16)[n % 20] for n in range(FLEET.channels)
]


def as_binary(moments: int) -> list[bytes]:
    """The same rows."""
    return [_SIGNATURE, *map(_row, range(moments)), _TRAILER]


def _row(tick: int) -> bytes:
    at = int((datetime.fromisoformat(moment(tick)) - _EPOCH) / timedelta(microseconds=1))
    cells: Iterable[bytes] = (form(value) for form, value in zip(_FORMS, _values(tick), strict=True))
    return b"".join([_COUNT.pack(FLEET.channels + 2), _LONG.pack(8, at), _LONG.pack(8, 1), *cells])
