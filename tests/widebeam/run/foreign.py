"""A PostgreSQL that says in Russian why nobody can connect; the user's name is the SQLSTATE. It prints its port first.

In a process of its own: libpq's PQping waits without letting another thread of Python have a turn.
"""

from __future__ import annotations

import struct
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Final

_PROTOCOL_3: Final = b"\0\x03"


class _Refusal(StreamRequestHandler):
    def handle(self) -> None:
        request = self._packet()
        while not request.startswith(_PROTOCOL_3):  # first it may be asked for encryption
            self.wfile.write(b"N")
            request = self._packet()
        names = request[4:].split(b"\0")
        code = names[names.index(b"user") + 1].decode()
        fields = {"S": "ВАЖНО", "V": "FATAL", "C": code, "M": "система баз данных"}
        body = b"".join(f"{kind}{text}".encode() + b"\0" for kind, text in fields.items()) + b"\0"
        self.wfile.write(b"E" + struct.pack("!i", len(body) + 4) + body)

    def _packet(self) -> bytes:
        (size,) = struct.unpack("!i", self.rfile.read(4))
        return self.rfile.read(size - 4)


if __name__ == "__main__":
    with ThreadingTCPServer(("127.0.0.1", 0), _Refusal) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
