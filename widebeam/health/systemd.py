"""Tells systemd how the service is: the protocol of sd_notify(3), lines of NAME=value in a datagram."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping
from typing import Final

from widebeam.terminal import in_line

_LOG: Final = logging.getLogger(__name__)


class Notifier:
    """Where NOTIFY_SOCKET names no socket, it does nothing. Children must not speak for us: the variables are taken."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        name = environment.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._socket: socket.socket | None = None
        self._told: dict[str, str] = {}
        ours = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watched = environment.pop("WATCHDOG_USEC", "0") != "0" and ours
        """Whether the service is ended when it says nothing for a while."""
        if name[:1] in ("/", "@"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)  # who does not read must not stop us

    def ready(self) -> None:
        """All is at work. Told once."""
        self._once("READY", "1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; told when it is another one."""
        self._once("STATUS", in_line(" ".join(text.split())))

    def alive(self) -> None:
        """The watchdog may wait for us another time."""
        if self.watched:
            self._tell("WATCHDOG=1")

    def stopping(self, seconds: float) -> None:
        """We end, and may take so long."""
        self._once("STOPPING", f"1\nEXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def close(self) -> None:
        """Tell nothing any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _once(self, name: str, value: str) -> None:
        if self._told.get(name) != value and self._tell(f"{name}={value}"):
            self._told[name] = value

    def _tell(self, lines: str) -> bool:
        """Whether it has been told; what is not now is tried again the next time."""
        if self._socket is None:
            return True
        try:
            self._socket.sendto(lines.encode(), self._address)
        except OSError as error:
            _LOG.debug("systemd is not told %s: %s", lines, error)
            return False
        return True
