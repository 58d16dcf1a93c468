"""Recovery: after each fault, what is committed then reaches the wide tables, however the storm goes on."""

from __future__ import annotations

import threading
import time
from typing import Final

from tests.faults.stand import Stand

PATIENCE: Final = 180.0
"""Seconds within which what is committed has to arrive, under the worst of the storm."""

_LOOK: Final = 0.5
_AWAY: Final = (1, 75)
"""Exit codes of a start while the servers are away."""


class Recovery:
    """Emits a barrier when faults are over, and awaits it. Starts `widebeam run` again, as a service manager does."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._waiting: list[str] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.recovered = 0
        self.slowest = 0.0
        self.problems: list[str] = []
        self._thread = threading.Thread(target=self._work, name="recovery", daemon=True)
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def __enter__(self) -> Recovery:
        self._thread.start()
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._keeper.join()

    def over(self, fault: str) -> None:
        """A fault is over: its recovery is awaited."""
        with self._lock:
            self._waiting.append(fault)

    def settle(self) -> None:
        """Wait until all that is over has been recovered from, or was given up."""
        while self._thread.is_alive():
            with self._lock:
                if not self._waiting:
                    return
            time.sleep(_LOOK)

    def _work(self) -> None:
        while not self._stop.wait(_LOOK):
            with self._lock:
                faults = list(self._waiting)
            if faults:
                self._await(faults)
                with self._lock:
                    del self._waiting[: len(faults)]

    def _await(self, faults: list[str]) -> None:
        began = time.monotonic()
        try:
            self._stand.recovered(PATIENCE)
        except Exception as error:  # noqa: BLE001  whatever it is: told at the end
            self.problems.append(f"not recovered after {time.monotonic() - began:.0f} s from {faults}: {error!r}")
        else:
            self.recovered += len(faults)
            self.slowest = max(self.slowest, time.monotonic() - began)

    def _keep(self) -> None:
        """`widebeam run` is started again; that it ended by itself is a problem, unless the servers were away."""
        started = time.monotonic()
        while not self._stop.wait(_LOOK):
            run = self._stand.run
            if self._stand.resting or (run is not None and run.poll() is None):
                continue
            if run is not None and run.poll() not in _AWAY:
                self.problems.append(
                    f"`widebeam run` ended with {run.poll()} after {time.monotonic() - started:.0f} s, unasked:"
                    f" {self._stand.said()[-1500:]}"
                )
            started = time.monotonic()
            self._stand.running()
