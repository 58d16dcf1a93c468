"""A sink that stops itself (SIGSTOP) in the middle of its first COPY, in a process of its own: DSN, its record."""

from __future__ import annotations

import os
import signal
import sys

from cdc.log.transport import Received
from cdc.record.envelope import decode
from sink.apply import Applier
from sink.fold.batch import Batch
from sink.merge import prepared
from sink.merge.stage import Connection
from sink.state import account
from sink.target import open_target
from sink.wide.registry import Registry
from tests.sink.conftest import MAPPING

FENCED = 7


def _stopping(connection: Connection, copy: bytes, parts: list[tuple[int, list[str]]]) -> None:
    """A COPY of one line, in the middle of which this process stops."""
    [(number, [line])] = parts
    with connection.cursor().copy(copy) as target:
        half = len(line) // 2
        target.write(f"{number}\t{line[:half]}")
        connection.pgconn.flush()
        os.kill(os.getpid(), signal.SIGSTOP)
        target.write(line[half:])


def main(dsn: str, record: str) -> int:
    """Apply the record at offset 0 of partition 0; FENCED if somebody else did."""
    with open_target(dsn, "stopping") as session:
        registry = Registry(MAPPING)
        registry.refresh(session)
        batch = Batch(MAPPING, decode, {0: account.load(session, "ships", [0])[0].progress})
        batch.take(Received(0, 0, None, record.encode(), 1))
        applier = Applier(session, MAPPING, registry)
        applier._merger.few = lambda _: None  # type: ignore[method-assign]  # it copies, however few the rows are
        prepared.write = _stopping  # type: ignore[assignment]
        try:
            applier.apply(batch)
        except account.Fenced:
            return FENCED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
