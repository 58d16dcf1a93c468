"""What a session costs on both of its sides."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import psutil
import psycopg

from tests.bench.process import Line

Session: TypeAlias = psycopg.Connection[tuple[Any, ...]]


@dataclass
class Cost:
    """What was used between two looks: `server` and `client` in CPU us of a backend and of this process."""

    seconds: float = 0.0
    server: float = 0.0
    client: float = 0.0

    def each(self, count: int) -> Line:
        """For one of so many."""
        micro = 1e6 / count
        return {
            "us": round(self.seconds * micro, 3),
            "server_cpu_us": round(self.server * micro, 3),
            "client_cpu_us": round(self.client * micro, 3),
        }


@contextmanager
def costing(session: Session) -> Iterator[Cost]:
    """What the block costs, on both sides of this session."""
    backend, cost = psutil.Process(session.info.backend_pid), Cost()
    before, client, began = sum(backend.cpu_times()[:2]), time.process_time(), time.monotonic()
    yield cost
    cost.seconds, cost.client = time.monotonic() - began, time.process_time() - client
    cost.server = sum(backend.cpu_times()[:2]) - before
