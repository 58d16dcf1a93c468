"""The replication connection: frames in, status updates out. Nothing here knows what is in a frame.

Source: PostgreSQL documentation, "Streaming Replication Protocol" (XLogData, primary keepalive, standby status update).
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from functools import partial
from struct import Struct
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import pq, sql

from cdc.lsn import Lsn
from cdc.source.session import answered, connect, connect_to_read
from cdc.trouble import TROUBLES

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

_XLOGDATA: Final = ord("w")
_KEEPALIVE: Final = ord("k")
_PAYLOAD: Final = 25
"""Bytes of an XLogData message before its payload: kind, WAL start, WAL end, the server's clock."""
_KEEPALIVE_LAYOUT: Final = Struct(">cQqB")
_STATUS: Final = Struct(">cQQQqB")
_STATUS_SECONDS: Final = 5.0
_PATIENCE: Final = 60.0
"""Seconds that we wait for a server that would wait for us for ever."""
_GATHER: Final = 0.001
"""Seconds from the first byte of something new to its reading, in which more of it comes."""
_NEAR_MICROSECONDS: Final = 1_000
"""A round trip that is no longer than this needs no large window."""
_WINDOW: Final = 128 * 1024
"""Bytes that a near server may send ahead of our reading: at a round trip of a millisecond 128 MB a second."""
_TCP_INFO_RTT: Final = Struct("@68xI")
"""Where Linux's struct tcp_info has the smoothed round trip time, in microseconds."""
_TOLD: Final = 0.25
"""The part of our patience after which a silence is told, so that `status` names it within a minute."""
MUTE: Final = "walsender"
"""Whose trouble it is when the server says nothing, and is at work."""
_LOOK_SECONDS: Final = 5
_IDLE: Final = ("Activity", "Client")
"""What a walsender waits for that has nothing to do, or whose reader does not read."""
_PG_EPOCH: Final = 946_684_800
"""2000-01-01 in seconds since 1970-01-01."""


class StreamEnded(psycopg.OperationalError):
    """The server ended the stream (it shuts down, or somebody terminated the walsender)."""


class Stream:
    """Changes from `start` on. `received` is how far the WAL was read; `passed` the last keepalive's WAL end.
    A report is due every `status_seconds`, or the server takes us for dead; and a report asks for an answer when
    nothing came since the last one, so that we take a server for dead that is silent for `patience` seconds.

    libpq takes 16 KB from its socket at a time, so `read` collects what there is without any pause. The server sends
    each row by itself, which costs it two to three times more when the row goes out at once and wakes its reader than
    when it joins others that wait for a window: so the window is small where that costs no throughput, and a reader
    that was woken lets more rows gather before it reads.
    """

    def __init__(
        self, connection: Connection, received: Lsn, patience: float, at_work: Callable[[], bool] = lambda: False
    ) -> None:
        """`at_work` looks, over a session of its own, whether a server that says nothing is at work for us."""
        self._connection, self._at_work = connection, at_work
        self._pgconn = connection.pgconn
        self._heard = True
        self._asked: float | None = None
        self._looks = 0
        self._mute = True  # perhaps the stream before this one was
        self._patience = patience
        self.received = received
        self.status_seconds = min(_STATUS_SECONDS, patience / 3)
        self.passed = Lsn(0)
        self.reply_requested = False

    @classmethod
    def start(cls, dsn: str, slot: str, publication: str, start: Lsn) -> Stream:
        """Stream from the slot; psycopg.errors.ObjectInUse while somebody else does.

        A `start` below the slot's confirmed_flush is silently moved up to it by the server: compare them first.
        """
        connection = connect(dsn, autocommit=True, replication="database", application_name="widebeam-capture")
        try:
            with answered(connection):
                patience = _patience(connection)
            with answered(connection, patience):
                _start_replication(connection, slot, publication, start)
        except BaseException:
            connection.close()
            raise
        connection.pgconn.nonblocking = 1
        _narrow_window(connection.pgconn.socket)
        return cls(connection, start, patience, partial(at_work, dsn, connection.info.backend_pid))

    def read(self, most: int, timeout: float) -> list[bytes]:
        """Up to `most` pgoutput frames in order, waiting up to `timeout` seconds for the first one.

        Keepalives are taken out of the stream: afterwards `passed` and `reply_requested` say what the last one said.
        They do not prolong the waiting: beside a writer of other tables, one comes with each piece of its WAL.
        """
        frames: list[bytes] = []
        deadline = time.monotonic() + timeout
        get, fresh = self._pgconn.get_copy_data, False
        data = None
        while len(frames) < most:
            size, message = get(1)
            if size > 0:
                self._heard, self._asked = True, None
                if self._mute:
                    self._looks, self._mute = 0, False
                    TROUBLES.over(MUTE)
                if message[0] == _XLOGDATA:
                    data = message
                    frames.append(message[_PAYLOAD:].tobytes())
                else:
                    self._heed(message.tobytes())
            elif size < 0:
                raise self._ended()
            elif not fresh:
                self._pgconn.consume_input()
                fresh = True
                continue
            elif frames or self.reply_requested or not self._wait(deadline - time.monotonic()):
                self._check_silence()
                break
            fresh = False
        if data is not None:
            self._received(int.from_bytes(data[9:17], "big"))
        return frames

    def report(self, acknowledged: Lsn) -> None:
        """Tell the server what was received (write) and what it may forget (flush, apply)."""
        now = int((time.time() - _PG_EPOCH) * 1_000_000)
        received = max(self.received, acknowledged)
        ask, self._heard = not self._heard, False
        if ask and self._asked is None:
            self._asked = time.monotonic()
        self._pgconn.put_copy_data(_STATUS.pack(b"r", received, acknowledged, acknowledged, now, ask))
        self._pgconn.flush()  # what does not go out now goes with the next report
        self.reply_requested = False

    def close(self) -> None:
        """End the connection, and with it the use of the slot."""
        self._connection.close()

    def _wait(self, timeout: float) -> bool:
        if timeout <= 0:
            return False
        ready, _, _ = select.select([self._pgconn.socket], [], [], timeout)
        if ready:
            time.sleep(_GATHER)
        return bool(ready)

    def _check_silence(self) -> None:
        """There is nothing to read: that is an idle source, unless it was asked and has not answered for long.

        One that is at work has its reasons, as the commit of a million subtransactions, of which it says nothing for
        many minutes: it would begin with it again over a new session. So it is waited for, and that is told. Whether
        it is stopped, no session can see: what a stopped process waits for stays as it was.
        """
        silent = 0.0 if self._asked is None else time.monotonic() - self._asked
        if silent <= self._patience * _TOLD:
            return
        if silent > self._patience * (self._looks + 1):
            if not self._at_work():
                raise StreamEnded(f"the server has not answered for {silent:.0f} s on the replication stream")
            self._looks += 1
        self._mute = True
        doing = f", and is at work: decoding a large transaction (look {self._looks})" if self._looks else ""
        TROUBLES.hold(
            MUTE,
            f"the walsender (PID {self._connection.info.backend_pid}) has said nothing for {silent:.0f} s behind"
            f" {self.received}{doing}; one that uses no CPU on its server is stopped, and goes on by a SIGCONT",
        )

    def _ended(self) -> psycopg.Error:
        """Why the stream is over: the server's error, if it gave one."""
        result = self._pgconn.get_result()
        if result is not None and result.status == pq.ExecStatus.FATAL_ERROR:
            return psycopg.errors.error_from_result(result, self._connection.info.encoding)
        return StreamEnded("the server ended the replication stream")

    def _heed(self, message: bytes) -> None:
        if len(message) != _KEEPALIVE_LAYOUT.size or message[0] != _KEEPALIVE:
            raise StreamEnded(f"neither data nor a keepalive in the replication stream: {message[:40]!r}")
        _, wal_end, _, reply = _KEEPALIVE_LAYOUT.unpack(message)
        self._received(wal_end)
        self.passed = max(self.passed, Lsn(wal_end))
        self.reply_requested = self.reply_requested or reply == 1

    def _received(self, wal_end: int) -> None:
        self.received = max(self.received, Lsn(wal_end))


def at_work(dsn: str, pid: int) -> bool:
    """Whether a process of the server does something else than to wait for others; False if nobody can tell."""
    try:
        with connect_to_read(dsn, connect_timeout=_LOOK_SECONDS, application_name="widebeam-look") as session:
            found = session.execute("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
    except psycopg.Error:
        return False
    return found is not None and found[0] not in _IDLE


def _patience(connection: Connection) -> float:
    """As long as the server waits for us (wal_sender_timeout), we wait for it."""
    row = connection.execute("SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'").fetchone()
    return (int(row[0]) if row else 0) / 1000 or _PATIENCE


def _narrow_window(descriptor: int) -> None:
    """Bound what a near server can send ahead; a far one, or one on a Unix socket, keeps the kernel's own bound."""
    with socket.socket(fileno=os.dup(descriptor)) as link:
        if link.family == socket.AF_UNIX or not hasattr(socket, "TCP_INFO"):
            return
        info = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_RTT.size)
        if len(info) == _TCP_INFO_RTT.size and _TCP_INFO_RTT.unpack(info)[0] <= _NEAR_MICROSECONDS:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)


def _start_replication(connection: Connection, slot: str, publication: str, start: Lsn) -> None:
    command = sql.SQL(
        "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names {}, messages 'true')"
    ).format(
        sql.Identifier(slot),
        sql.SQL(str(start)),  # an Lsn prints as hexadecimal digits and a slash
        sql.Literal(sql.Identifier(publication).as_string(connection)),  # a list of identifiers within a literal
    )
    result = connection.pgconn.exec_(command.as_bytes(connection))
    if result.status != pq.ExecStatus.COPY_BOTH:
        raise psycopg.errors.error_from_result(result, connection.info.encoding)
