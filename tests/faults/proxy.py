"""A TCP proxy on loopback for what networks do: latency, narrow lines, single bytes, lost packets, silence, resets."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal

from tests.faults.loss import lose

Way = Literal["up", "down"]
"""From the client to the server, and back."""

_BLOCK: Final = 16 * 1024
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: the close is a reset


@dataclass(frozen=True, slots=True)
class Weather:
    """How bytes travel: seconds of latency a block, bytes a second, bytes in one write; None: no limit.

    `loss` is the share of packets that are lost on their way to the proxy, from both sides.
    """

    latency: float = 0.0
    bandwidth: int | None = None
    piece: int | None = None
    loss: float = 0.0


class _Link:
    """One client's connection and ours to the server, with a thread for each way."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._ends: dict[Way, tuple[socket.socket, socket.socket]] = {"up": (client, server), "down": (server, client)}
        self.flows: dict[Way, threading.Event] = {"up": threading.Event(), "down": threading.Event()}
        self.vanished = False
        for way, flow in self.flows.items():
            flow.set()
            threading.Thread(target=self._pump, args=[way], daemon=True).start()

    @property
    def port(self) -> int:
        """The port from which the server sees this client come."""
        return int(self._ends["up"][1].getsockname()[1])

    def cut(self) -> None:
        """Reset both connections."""
        for end in self._ends["up"]:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for flow in self.flows.values():
            flow.set()

    def lose(self, share: float, *ends: Way) -> None:
        """Lose packets that come in from these ends: "up" from the client, "down" from the server."""
        for way in ends:
            try:
                lose(self._ends[way][0], share)
            except PermissionError:
                raise
            except OSError:  # it is closed just now
                pass

    def _pump(self, way: Way) -> None:
        taken, given = self._ends[way]
        try:
            while data := taken.recv(_BLOCK):
                self.flows[way].wait()
                self._send(given, data)
            self.flows[way].wait()  # a close travels no better than data
            given.shutdown(socket.SHUT_WR)
        except OSError:  # one end was reset, so the other one is
            self.flows[way].wait()
            self.cut()
        self._proxy.over(self, way)

    def _send(self, given: socket.socket, data: bytes) -> None:
        weather = self._proxy.weather
        delay = weather.latency + (len(data) / weather.bandwidth if weather.bandwidth else 0.0)
        if delay:
            time.sleep(delay)
        size = weather.piece or len(data)
        for start in range(0, len(data), size):
            given.sendall(data[start : start + size])

    def close(self) -> None:
        """Both ways are over."""
        for end in self._ends["up"]:
            end.close()


class Proxy:
    """Listens on `port` and passes to `upstream` (set it before the first client comes). All methods: any thread."""

    def __init__(self, upstream: int = 0) -> None:
        self.upstream = upstream
        self.weather = Weather()
        self._fronts: list[dict[str, float | int]] = []
        self._downs = 0
        self._frozen = False
        self._closed = False
        self._lock = threading.Lock()
        self._links: dict[_Link, set[Way]] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more clients, and reset those there are."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> int:
        """Reset all connections; new ones are taken. How many there were."""
        with self._lock:
            for link in self._links:
                link.cut()
            return len(self._links)

    @contextmanager
    def weathered(self, **weather: float | int) -> Iterator[None]:
        """Another weather for a while; of several at a time the latest holds in what it says."""
        self._set_weather(lambda fronts: fronts.append(weather))
        try:
            yield
        finally:
            self._set_weather(lambda fronts: fronts.remove(weather))

    def _set_weather(self, change: Callable[[list[dict[str, float | int]]], None]) -> None:
        with self._lock:
            change(self._fronts)
            self.weather = Weather()
            for front in self._fronts:
                self.weather = replace(self.weather, **front)  # type: ignore[arg-type]
            for link in self._links:
                if not link.vanished:
                    link.lose(self.weather.loss, "up", "down")

    def vanish(self) -> None:
        """Clients of now and the server are gone for each other: they get no answer, not even from a kernel."""
        with self._lock:
            for link in self._links:
                link.vanished = True
                link.lose(1, "up", "down")

    @contextmanager
    def silent(self, *ways: Way, port: int) -> Iterator[None]:
        """On the connection that the server sees come from `port`, nothing gets through these ways, and nobody is told.

        Afterwards all of it arrives.
        """
        with self._lock:
            held = [link.flows[way] for link in self._links for way in ways if link.port == port]
        assert held
        for flow in held:
            flow.clear()
        try:
            yield
        finally:
            for flow in held:
                flow.set()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """As a server that is stopped: connections stay, new ones are taken, and nothing comes back on any of them.

        Afterwards all of it arrives.
        """
        self._freeze(True)
        try:
            yield
        finally:
            self._freeze(False)

    def _freeze(self, frozen: bool) -> None:
        with self._lock:
            self._frozen = frozen
            for flow in (flow for link in self._links for flow in link.flows.values()):
                if frozen:
                    flow.clear()
                else:
                    flow.set()

    @contextmanager
    def down(self) -> Iterator[None]:
        """All connections are reset, and new ones too."""
        with self._lock:
            self._downs += 1
        self.cut()
        try:
            yield
        finally:
            with self._lock:
                self._downs -= 1

    def over(self, link: _Link, way: Way) -> None:
        """One way of a link is over."""
        with self._lock:
            ways = self._links.get(link, set())
            ways.discard(way)
            if not ways:
                self._links.pop(link, None)
                link.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            if self._downs or self._closed:
                raise ConnectionRefusedError
            server = socket.create_connection(("127.0.0.1", self.upstream))
        except OSError:
            with contextlib.suppress(OSError):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            client.close()
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            link = _Link(self, client, server)
            if self.weather.loss:
                link.lose(self.weather.loss, "up", "down")
            if self._frozen:
                for flow in link.flows.values():
                    flow.clear()
            self._links[link] = {"up", "down"}
