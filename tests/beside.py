"""Work that is done beside a test, in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from tests.waiting import PATIENCE, watched


@contextmanager
def beside(work: Callable[[Event], object]) -> Iterator[Event]:
    """Until the end of the block, which sets the event that the work looks at. Its error is raised here at the end."""
    stop, failed = Event(), list[BaseException]()

    def run() -> None:
        try:
            work(stop)
        except BaseException as error:  # noqa: BLE001  raised again below
            failed.append(error)

    thread = Thread(target=run)
    thread.start()
    try:
        with watched(lambda: f"{work} failed: {failed[0]!r}" if failed else None):
            yield stop
    finally:
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive(), f"{work} does not stop"
    if failed:
        raise failed[0]
