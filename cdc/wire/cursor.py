"""A cursor over one frame of the stream: every read is checked against the frame's end."""

from __future__ import annotations

from typing import NoReturn

from cdc.lsn import Lsn

_PG_EPOCH = 946_684_800_000_000
"""2000-01-01, PostgreSQL's zero of time, in microseconds since 1970-01-01."""


class Undecodable(Exception):
    """A frame that is not what the protocol says: at which byte of it, and what was expected there."""

    def __init__(self, offset: int, expected: str, frame: bytes) -> None:
        super().__init__(
            f"byte {offset} of a frame of {len(frame)} bytes: expected {expected}; it starts {frame[:32]!r}"
        )
        self.offset = offset
        self.expected = expected


class Cursor:
    """Reads the fields of a frame one after the other; each read raises `Undecodable` when it cannot be done."""

    __slots__ = ("frame", "offset")

    def __init__(self, frame: bytes, offset: int = 0) -> None:
        self.frame = frame
        self.offset = offset

    @property
    def left(self) -> int:
        """How many bytes are not read yet."""
        return len(self.frame) - self.offset

    def fail(self, expected: str, back: int = 0) -> NoReturn:
        """Raise `Undecodable`, `back` bytes before the present offset."""
        raise Undecodable(self.offset - back, expected, self.frame)

    def skip(self) -> None:
        """Go to the end without a copy of what is left."""
        self.offset = len(self.frame)

    def take(self, size: int, what: str) -> bytes:
        """The next `size` bytes."""
        end = self.offset + size
        if end > len(self.frame):
            self.fail(f"{what} ({size} bytes)")
        taken = self.frame[self.offset : end]
        self.offset = end
        return taken

    def number(self, size: int, what: str) -> int:
        """An unsigned big-endian number of `size` bytes."""
        return int.from_bytes(self.take(size, what), "big")

    def signed(self, size: int, what: str) -> int:
        """A signed big-endian number of `size` bytes."""
        return int.from_bytes(self.take(size, what), "big", signed=True)

    def lsn(self, what: str) -> Lsn:
        """A WAL position."""
        return Lsn(self.number(8, what))

    def time(self, what: str) -> int:
        """A time, as microseconds since 1970-01-01 UTC."""
        return unix_microseconds(self.signed(8, what))

    def letter(self, allowed: str, what: str) -> str:
        """One byte that is one of the letters `allowed`."""
        letter = chr(self.number(1, what))
        if letter not in allowed:
            self.fail(f"{what}, one of {', '.join(allowed)}, not {letter!r}", back=1)
        return letter

    def text(self, size: int, what: str) -> str:
        """`size` bytes of UTF-8 without a NUL."""
        taken = self.take(size, what)
        try:
            decoded = taken.decode()
        except UnicodeDecodeError as error:
            self.fail(f"{what} in UTF-8", back=size - error.start)
        if "\0" in decoded:
            self.fail(f"{what} without a NUL", back=size - taken.index(0))
        return decoded

    def string(self, what: str) -> str:
        """UTF-8 up to a terminating NUL."""
        end = self.frame.find(b"\0", self.offset)
        if end < 0:
            self.fail(f"{what}, ended by a NUL")
        decoded = self.text(end - self.offset, what)
        self.offset += 1
        return decoded

    def end(self) -> None:
        """The frame must be read to its end."""
        if self.left:
            self.fail(f"the end of the frame, not {self.left} bytes more")


def unix_microseconds(pg_microseconds: int) -> int:
    """Microseconds since 2000-01-01, as the server counts, to microseconds since 1970-01-01."""
    return pg_microseconds + _PG_EPOCH
