"""Ways in which the changes of a slot can come over the wire."""

from __future__ import annotations

from contextlib import closing
from struct import Struct
from typing import Final

import psycopg

from cdc.lsn import Lsn
from cdc.source.session import connect
from cdc.wire.stream import Stream
from tests.bench import reference
from tests.bench.cost import Session, costing
from tests.bench.process import LOOK, Line
from tests.bench.stack import Stack

_OPTIONS: Final = "proto_version '1', publication_names 'everything'"
_PEEK: Final = (
    "COPY (SELECT data FROM pg_logical_slot_peek_binary_changes('{}', NULL, NULL,"
    " 'proto_version', '1', 'publication_names', 'everything')) TO STDOUT (FORMAT binary)"
)
_DOUBLE: Final = Struct(">d")
_BEHIND: Final = b"b\x00\x00\x00\x07Decimal"
"""What comes behind a decimal number in a tuple of the reference table."""


class Changes:
    """The WAL of so many new rows, which a slot still holds."""

    def __init__(self, place: Stack, rows: int) -> None:
        self.dsn = place.database(place.name("wire"))
        self.rows = rows
        self.session = place.session(self.dsn)
        self.session.execute("CREATE PUBLICATION everything FOR ALL TABLES")
        self.slot = place.name("wire")
        self.session.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [self.slot])
        reference.write(self.dsn, 0, rows)
        [(end,)] = self.session.execute("SELECT pg_current_wal_insert_lsn()::text").fetchall()
        self.end = Lsn.parse(end)

    def streaming(self, more: str = "") -> Session:
        """A replication connection at its start."""
        session = connect(self.dsn, autocommit=True, replication="database")
        started = session.pgconn.exec_(f"START_REPLICATION SLOT {self.slot} LOGICAL 0/0 ({_OPTIONS}{more})".encode())
        if started.status != psycopg.pq.ExecStatus.COPY_BOTH:
            raise psycopg.errors.error_from_result(started)
        session.pgconn.nonblocking = 1
        return session

    def received(self, more: str = "", *, numbers: bool = False) -> Line:
        """What a row costs that is received and thrown away; with `numbers`, those in binary are made text."""
        with closing(self.streaming(more)) as session:
            stream, seen = Stream(session, Lsn(0), 60.0), 0
            with costing(session) as cost:
                while stream.received < self.end and stream.passed < self.end:
                    frames = stream.read(2_000, LOOK)
                    seen += sum(frame[0] == ord("I") for frame in frames)
                    if numbers:
                        _texts(frames)
        if seen != self.rows:
            raise LookupError(f"{seen:,} of {self.rows:,} rows came")
        return cost.each(self.rows)

    def peeked(self) -> Line:
        """The same out of a function, by COPY."""
        peek = _PEEK.format(self.slot).encode()
        with (
            connect(self.dsn, autocommit=True) as session,
            costing(session) as cost,
            session.cursor().copy(peek) as data,
        ):
            size = sum(len(block) for block in data)
        return cost.each(self.rows) | {"mb": round(size / 2**20)}

    def drop(self) -> None:
        """A slot that stays would hold the WAL of the ways that come after it."""
        self.session.execute(
            "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE slot_name = %s", [self.slot]
        )
        self.session.execute("SELECT pg_drop_replication_slot(%s)", [self.slot])


def _texts(frames: list[bytes]) -> list[str]:
    """The decimal numbers of binary tuples, as short as they can be read back."""
    behind = len(_BEHIND)
    unpack = _DOUBLE.unpack_from
    return [repr(unpack(frame, len(frame) - behind - 8)[0]) for frame in frames if frame.endswith(_BEHIND)]


def tuples(place: Stack, rows: int) -> dict[str, Line]:
    """Text or binary."""
    changes = Changes(place, rows)
    found = {"text": changes.received(), "binary": changes.received(", binary 'true'", numbers=True)}
    changes.drop()
    return found


def catch_up(place: Stack, rows: int) -> dict[str, Line]:
    """Streamed or peeked at."""
    changes = Changes(place, rows)
    found = {"replication stream": changes.received(), "COPY of the slot's peek function": changes.peeked()}
    changes.drop()
    return found
