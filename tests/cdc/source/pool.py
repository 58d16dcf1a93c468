"""A pool between client and server, as far as a session can tell: another process id, and maybe dropped options."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

from psycopg.conninfo import conninfo_to_dict, make_conninfo


@contextmanager
def pool(dsn: str, *, drops_options: bool) -> Iterator[str]:
    """The connection string of one before the server that `dsn` names. A session of its is a session of the server."""
    parts = conninfo_to_dict(dsn)
    server = str(parts["host"]), int(str(parts["port"]))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        Thread(target=_serve, args=(listening, server, drops_options), daemon=True).start()
        yield make_conninfo(
            dsn, host="127.0.0.1", port=listening.getsockname()[1], sslmode="disable", gssencmode="disable"
        )
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


def _serve(listening: socket.socket, server: tuple[str, int], drops_options: bool) -> None:
    with suppress(OSError):
        while True:
            client = listening.accept()[0]
            Thread(target=_relay, args=(client, socket.create_connection(server), drops_options), daemon=True).start()


def _relay(client: socket.socket, server: socket.socket, drops_options: bool) -> None:
    with suppress(OSError, struct.error), client, server:
        body = _exactly(client, struct.unpack("!i", _exactly(client, 4))[0] - 4)
        words = body[4:].split(b"\0")[:-2]
        pairs = [
            pair for pair in zip(words[::2], words[1::2], strict=True) if not (drops_options and pair[0] == b"options")
        ]
        body = body[:4] + b"".join(name + b"\0" + value + b"\0" for name, value in pairs) + b"\0"
        server.sendall(struct.pack("!i", len(body) + 4) + body)
        kind = b""
        while kind != b"Z":
            kind, size = _exactly(server, 1), _exactly(server, 4)
            message = _exactly(server, struct.unpack("!i", size)[0] - 4)
            client.sendall(kind + size + (b"\0\0\0\x07" + message[4:] if kind == b"K" else message))
        Thread(target=_pipe, args=(client, server), daemon=True).start()
        _pipe(server, client)


def _pipe(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while some := source.recv(65_536):
            sink.sendall(some)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def _exactly(source: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        some = source.recv(size - len(got))
        if not some:
            raise OSError("closed")
        got += some
    return got
