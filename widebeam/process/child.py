"""A part as a child process: its lines and its end come as messages in one queue."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Final, NamedTuple, TypeAlias

from widebeam.process import heartbeat

PARENT: Final = "WIDEBEAM_PARENT"
"""Environment: the process id of the supervisor, for `die_with_parent`."""

COMMAND: tuple[str, ...] = (sys.executable, "-m", "widebeam")
"""What a part's arguments are for: this very installation."""

NAME: Final = "WIDEBEAM_PART"
"""Environment: the part's name in its log, where there are several of a kind."""

_PR_SET_PDEATHSIG: Final = 1


class Part(NamedTuple):
    """A part to run: its name in messages and the command's arguments (never a secret: anyone can see them).

    A `finite` part has done its work when it ends with 0; the others never end by themselves. The run goes on without
    one that is `beside` it, which is told all the same.
    """

    name: str
    arguments: tuple[str, ...]
    finite: bool = False
    beside: bool = False


class Line(NamedTuple):
    """A part wrote a line to its log."""

    part: Part
    text: str


class Ended(NamedTuple):
    """A part ended with an exit code (negative: by that signal), its last line, after so many seconds.

    `progressed`: something had become durable by it.
    """

    part: Part
    code: int
    last: str
    seconds: float
    progressed: bool = False


class Wake(NamedTuple):
    """Something outside the children asks for attention."""


class Looked(NamedTuple):
    """Whoever looks on has seen the goal reached, or cannot go on for an error."""

    error: BaseException | None = None


Message: TypeAlias = "Line | Ended | Wake | Looked"


class Child:
    """A running part. Start it from a thread that lives as long as the part: the kernel ends it with that thread.

    `felt` is when its heartbeat was last felt, and `sign` what it said; `progressed_at` is when it last got on.
    """

    __slots__ = ("_messages", "_process", "_pulse", "felt", "part", "progressed_at", "sign", "started")

    def __init__(self, part: Part, messages: SimpleQueue[Message]) -> None:
        self.part, self._messages, self.started = part, messages, time.monotonic()
        self.felt, self.sign = self.started, heartbeat.STARTING
        self.progressed_at: datetime | None = None
        self._pulse, told = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*COMMAND, *part.arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**os.environ, PARENT: str(os.getpid()), NAME: part.name, heartbeat.FD: str(told)},
                pass_fds=(told,),
                start_new_session=True,  # Ctrl-C is for the supervisor, which tells its children in its own way
                encoding="utf-8",
                errors="replace",
            )
        except BaseException:
            os.close(self._pulse)
            raise
        finally:
            os.close(told)
        feeling = threading.Thread(target=self._feel, name=f"{part.name} heartbeat", daemon=True)
        feeling.start()
        threading.Thread(target=self._follow, args=[feeling], name=part.name, daemon=True).start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def send(self, how: signal.Signals) -> None:
        """Send a signal; nothing happens if the process has ended."""
        self._process.send_signal(how)

    def _follow(self, feeling: threading.Thread) -> None:
        last = ""
        assert self._process.stderr is not None  # noqa: S101  it is a pipe
        with self._process.stderr as lines:
            for line in lines:
                last = line.rstrip("\n") or last
                self._messages.put(Line(self.part, line.rstrip("\n")))
        code, seconds = self._process.wait(), time.monotonic() - self.started
        feeling.join()
        self._messages.put(Ended(self.part, code, last, seconds, self.progressed_at is not None))

    def _feel(self) -> None:
        with open(self._pulse, "rb", buffering=0) as signs:  # noqa: PTH123  it is no path
            while felt := signs.read(256):
                self.felt, self.sign = time.monotonic(), felt[-1:]
                if heartbeat.PROGRESS in felt:
                    self.progressed_at = datetime.now(UTC)


def die_with_parent() -> None:
    """In a child of the supervisor: get SIGTERM when it dies, however it dies. Elsewhere: nothing. Linux only."""
    parent = os.environ.get(PARENT)
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != int(parent):  # it died before the line above
        raise SystemExit(1)
