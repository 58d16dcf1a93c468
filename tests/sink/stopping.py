"""A sink that stops itself (SIGSTOP) in the middle of its first COPY, in a process of its own: DSN, its record."""

from __future__ import annotations

import os
import signal
import sys

from cdc.log.transport import Received
from cdc.record.envelope import decode
from sink.apply import Applier
from sink.fold.batch import Batch
from sink.merge.merge import Merger
from sink.state import account
from sink.target import open_target
from sink.wide.registry import Registry
from tests.sink.conftest import MAPPING

FENCED = 7


def _stop_in_copy(merger: Merger) -> None:
    write = merger._write

    def stopping(copy: bytes, parts: list[tuple[int, list[str]]]) -> None:
        with merger._connection.cursor().copy(copy) as target:
            [(number, lines), *_] = parts
            target.write(f"{number}\t{lines[0]}")
            merger._connection.pgconn.flush()
            os.kill(os.getpid(), signal.SIGSTOP)
        for stage, number in merger._staged:
            stage.empty(number)
        merger._write = write  # type: ignore[method-assign]
        write(copy, parts)

    merger._write = stopping  # type: ignore[method-assign]


def main(dsn: str, record: str) -> int:
    """Apply the record at offset 0 of partition 0; FENCED if somebody else did."""
    with open_target(dsn, "stopping") as session:
        registry = Registry(MAPPING)
        registry.refresh(session)
        batch = Batch(MAPPING, decode, {0: account.load(session, "ships", [0])[0].progress})
        batch.take(Received(0, 0, None, record.encode(), 1))
        applier = Applier(session, MAPPING, registry)
        applier._merger = Merger(session, MAPPING)  # which copies, however few the rows are
        _stop_in_copy(applier._merger)
        try:
            applier.apply(batch)
        except account.Fenced:
            return FENCED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
