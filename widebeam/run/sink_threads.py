"""The sinks of the direct transport: threads of the process that captures."""

from __future__ import annotations

import threading

from cdc.log.direct import MemoryLog
from cdc.source.session import connect
from sink.run import Sink, SinkSettings


class SinkThreads:
    """So many sinks on one log in memory."""

    def __init__(self, settings: SinkSettings, log: MemoryLog, size: int) -> None:
        self._settings = settings
        self._log = log
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, name=f"sink {n + 1}") for n in range(size)]
        self.failure: BaseException | None = None

    def begin(self) -> None:
        """Start, after everybody before us is fenced out.

        Offsets in memory are numbers of ours alone, counted on from the target's. Somebody who still applied what
        another process had captured would move the target on, and we would take our own records for his.
        """
        with connect(self._settings.target_dsn, autocommit=True) as target:
            target.execute(
                "UPDATE widebeam.progress SET epoch = epoch + 1 WHERE connector = %s",
                [self._settings.mapping.connector],
            )
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stop and wait; nothing happens if they have not begun."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _work(self) -> None:
        try:
            Sink(self._settings, self._log.join).run(self._stop)
        except BaseException as error:  # noqa: BLE001  kept for the thread that can end the process
            self.failure = self.failure or error
            self._log.fail(str(error))
