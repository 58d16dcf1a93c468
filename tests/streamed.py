"""A connector's stream over the direct transport, worked in a thread while a test changes the source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from cdc.session import connect
from widebeam.connector import Connector
from widebeam.fence import Fence
from widebeam.parts import run_stream
from widebeam.prepared import Prepared


@contextmanager
def streaming(connector: Connector, ready: Prepared) -> Iterator[None]:
    """The stream is worked until the end of the block, however that ends."""
    stop = Event()
    thread = Thread(target=run_stream, args=[connector, ready, stop])
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def pass_all(dsn: str, connector: Connector) -> None:
    """All that is committed by now is applied, to a connector whose source and target are one database."""
    with connect(dsn, autocommit=True) as session:
        fence = Fence(session, session, connector.name, 60)
        fence.pass_all()
        assert fence.holds
