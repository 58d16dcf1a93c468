"""An application that writes at an even pace."""

from __future__ import annotations

import time
from typing import Final

from cdc.source.session import connect
from tests.bench.reference import FLEET, INSERT

TRANSACTIONS_S: Final = 100
SHARES: Final = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
"""What is told of latencies."""


def steady(dsn: str, low: int, per_second: int, seconds: float) -> int:
    """Insert rows from number `low` on, in 100 transactions a second; how many there were."""
    each = max(1, per_second // TRANSACTIONS_S)
    count, done = round(seconds * TRANSACTIONS_S), 0
    with connect(dsn, autocommit=True) as session:
        began = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, began + number / TRANSACTIONS_S - time.monotonic()))
            start = low + number * each
            session.execute(INSERT, [start, start + each, FLEET.ships, FLEET.channels])
            done += each
    return done
