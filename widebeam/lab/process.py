"""Server processes that never outlive the process that started them."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import socket
import subprocess
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from widebeam.lab.account import server_account

_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None, use_errno=True)
_running: weakref.WeakSet[ServerProcess] = weakref.WeakSet()


class ServerFailed(ChildProcessError):
    """A server did not start, or ended when it should not. The message has the end of its log."""


class ServerProcess:
    """One server, its own process group (Ctrl-C on our terminal is not for it), its output in a file.

    With `leash`, the kernel sends it that signal when the thread that started it ends, so start servers from a thread
    that lives as long as they are needed (the main one). Linux only; elsewhere only the clean-up at exit holds.
    """

    __slots__ = ("__weakref__", "_leash", "_process", "log", "name")

    def __init__(
        self, name: str, argv: list[str], *, log: Path, env: Mapping[str, str], leash: signal.Signals | None
    ) -> None:
        account = server_account()
        self.name, self.log, self._leash = name, log, leash
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                env=dict(env),
                start_new_session=True,
                preexec_fn=_leashed(leash) if leash is not None else None,  # noqa: PLW1509 - one system call
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        if leash is not None:
            _running.add(self)

    @property
    def pid(self) -> int:
        """Process id; also the id of its process group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def end(self, how: signal.Signals, *, seconds: float = 30.0) -> int:
        """Send `how`, wait for the end, and kill what is left after `seconds`. Gives the exit code; 0 if long ended."""
        if not self.running:
            return self._process.returncode
        self._process.send_signal(how)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            return self._process.wait(seconds)
        finally:
            _running.discard(self)

    def until(self, condition: Callable[[], bool], *, seconds: float) -> None:
        """Wait until `condition` holds; ServerFailed if the process ends first, or, killing it, after `seconds`."""
        deadline = time.monotonic() + seconds
        while not condition():
            if not self.running:
                raise ServerFailed(f"{self.name} ended with {self._process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                self.end(signal.SIGKILL)
                raise ServerFailed(f"{self.name} was not ready after {seconds:.0f} s:\n{self.tail()}")
            time.sleep(0.02)

    def tail(self, size: int = 3000) -> str:
        """The last `size` bytes of its log."""
        return self.log.read_bytes()[-size:].decode(errors="replace")


def run_once(doing: str, argv: Sequence[str], directory: Path) -> None:
    """A program of a server's, by its account, to its end. Raises ServerFailed with what it said."""
    account = server_account()
    made = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        env=server_environment(),
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
    if made.returncode:
        raise ServerFailed(f"{doing} ended with {made.returncode}:\n{made.stdout}{made.stderr}")


def free_port() -> int:
    """A TCP port on loopback that is free at this moment. Another process may be quicker: try again then."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def server_environment(**more: str) -> dict[str, str]:
    """An environment that is the same everywhere, with `more` in it: no settings of the user's reach a server."""
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC", **more}


def _leashed(leash: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()

    def tie() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(leash))
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return tie


@atexit.register
def _end_all() -> None:
    for process in list(_running):
        process.end(process._leash or signal.SIGTERM, seconds=10)
