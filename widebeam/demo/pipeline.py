"""`widebeam run` as a child process: what the demo shows is the command itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from widebeam.process.child import PARENT


class PipelineFailed(ChildProcessError):
    """The command ended when it should not, or did not end well."""


class Pipeline:
    """A running `widebeam run`. Start it from the main thread: it ends with the thread that started it."""

    def __init__(self, connector: Path, log: Path | None, *, leashed: bool) -> None:
        """Its output goes to the terminal without a `log`. With `leashed=False` it goes on after us."""
        self._log = log
        out = log.open("ab") if log is not None else None
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "widebeam", "run", str(connector)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **({PARENT: str(os.getpid())} if leashed else {})},
                start_new_session=True,  # Ctrl-C is for the demo, which stops its pipeline in order
            )
        finally:
            if out is not None:
                out.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def alive(self) -> None:
        """Raise PipelineFailed if it has ended."""
        code = self._process.poll()
        if code is not None:
            raise PipelineFailed(f"`widebeam run` ended with {code}\n{self._said()}")

    def stop(self, seconds: float = 60) -> None:
        """Stop it as Ctrl-C does; raises PipelineFailed unless it ends with 0."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code != 0:
            raise PipelineFailed(f"`widebeam run` ended with {code} when it was asked to stop\n{self._said()}")

    def end(self) -> None:
        """Make sure that it is gone."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()

    def _said(self) -> str:
        return "" if self._log is None else self._log.read_text(errors="replace")[-4000:]
