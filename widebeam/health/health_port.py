"""The port on which the health of a run, or of a part alone, is asked for: GET /live, GET /ready, JSON."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, TypeAlias

from widebeam.config.connector import Connector
from widebeam.finding import Finding

_PATIENCE: Final = 5.0
"""Seconds for a piece of a request to come and an answer to go."""

_LONGEST: Final = 10.0
"""Seconds for all of a request."""

_MOST: Final = 16
"""Requests at a time. One more takes the place of the oldest, which keeps silent: an answer takes no time."""

_REQUEST_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Health:
    """`live`: it need not be started anew. `ready`: it does its work. `body` says why not, and how far it is."""

    live: bool
    ready: bool
    body: dict[str, Any]


Ask: TypeAlias = "Callable[[], Health]"


class PortTaken(OSError):
    """Somebody else listens where our health is to be asked for."""


@contextmanager
def served(connector: Connector, ask: Ask) -> Iterator[None]:
    """Answer while this lasts, in a thread; nothing is served where no port is configured. Raises PortTaken."""
    place = connector.options.health
    if place.port is None:
        yield
        return
    try:
        server = _Server((place.address, place.port), ask)
    except OSError as error:
        raise PortTaken(str(_taken(connector, error.strerror or str(error)))) from None
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def port_findings(connector: Connector) -> Iterator[Finding]:
    """Whether the port is free, or our own run answers there."""
    place = connector.options.health
    if place.port is None or _answers(place.address, place.port) == connector.name:
        return
    try:
        _Server((place.address, place.port), _nobody).server_close()
    except OSError as error:
        yield _taken(connector, error.strerror or str(error))


def _taken(connector: Connector, why: str) -> Finding:
    place = connector.options.health
    return Finding(
        f"the health port cannot be opened: {why}",
        f"{place.address}:{place.port}",
        f"set another `port` in [health] of {connector.file}, or end what listens there",
    )


def _answers(address: str, port: int) -> str | None:
    """Which connector's health is told there."""
    connection = http.client.HTTPConnection(address, port, timeout=_PATIENCE)
    with contextlib.closing(connection), contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        connection.request("GET", "/live")
        body = json.loads(connection.getresponse().read(1 << 16))
        return body.get("connector") if isinstance(body, dict) else None
    return None


def _nobody() -> Health:
    return Health(live=False, ready=False, body={})


class _Server(ThreadingHTTPServer):
    """Whoever keeps silent, or sends a byte now and then, gives way to the next, and his time has an end."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, place: tuple[str, int], ask: Ask) -> None:
        self.ask = ask
        self._guard = threading.Lock()
        self._open: dict[socket.socket, float] = {}  # the oldest first
        super().__init__(place, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, of which there are few."""
        with self._guard:
            self._open[request] = time.monotonic()
            while len(self._open) > _MOST:
                _hang_up(self._first())
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """About twice a second."""
        late = time.monotonic() - _LONGEST
        with self._guard:
            for request in [one for one, began in self._open.items() if began < late]:
                del self._open[request]
                _hang_up(request)

    def shutdown_request(self, request: Any) -> None:
        """It was answered."""
        with self._guard:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's error."""

    def _first(self) -> socket.socket:
        first = next(iter(self._open))
        del self._open[first]
        return first


def _hang_up(request: socket.socket) -> None:
    """Its thread reads the end, and ends."""
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Bounded(io.RawIOBase):
    """What a request may have of lines: some bytes in all, and then its end."""

    def __init__(self, lines: Any) -> None:
        self._lines = lines
        self._left = _REQUEST_BYTES

    def readline(self, size: int | None = -1, /) -> bytes:
        """The next line."""
        line: bytes = self._lines.readline(min(self._left, _REQUEST_BYTES if size is None or size < 0 else size))
        self._left -= len(line)
        return line

    def close(self) -> None:
        """Close what it reads from."""
        self._lines.close()
        super().close()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "widebeam"
    sys_version = ""
    timeout = _PATIENCE

    def setup(self) -> None:
        """Read no more than a request of ours can have."""
        super().setup()
        self.rfile = _Bounded(self.rfile)  # type: ignore[assignment]

    def do_GET(self) -> None:
        """Answer for /live and /ready; 503 where it is not so."""
        health = self.server.ask()
        match self.path:
            case "/live":
                self._answer(200 if health.live else 503, health.body)
            case "/ready":
                self._answer(200 if health.ready else 503, health.body)
            case _:
                self._answer(404, {"paths": ["/live", "/ready"]})

    def log_message(self, *_: object) -> None:
        """The log is for the connector."""

    def _answer(self, code: int, body: dict[str, object]) -> None:
        text = json.dumps(body).encode() + b"\n"
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(text)
