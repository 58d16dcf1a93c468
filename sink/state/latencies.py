"""The latencies of the partitions that a sink has: measured when a batch is visible, written down now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from sink.state import account
from sink.state.account import Connection
from sink.state.latency import bucket, whole

_EVERY: Final = 1.0
"""Seconds between two writings while there is something to apply."""


class Latencies:
    """Histograms by partition. The target's are read when a partition is taken over, and replaced when written."""

    def __init__(self) -> None:
        self._counts: dict[int, list[int]] = {}
        self._unwritten: set[int] = set()
        self._written_at = 0.0

    def take_over(self, partition: int, counts: list[int]) -> None:
        """Go on from this histogram."""
        self._counts[partition] = whole(counts)

    def forget(self, partition: int) -> None:
        """The partition is another sink's."""
        self._counts.pop(partition, None)
        self._unwritten.discard(partition)

    def observe(self, commits: Mapping[tuple[int, int], int]) -> None:
        """These can be read now: rows by partition and commit time (in microseconds since 1970)."""
        visible = time.time() * 1_000_000
        for (partition, committed), rows in commits.items():
            if partition in self._counts:
                self._counts[partition][bucket((visible - committed) / 1000)] += rows
                self._unwritten.add(partition)

    def write(self, connection: Connection, connector: str, *, idle: bool) -> None:
        """Write down what is new: at once when idle, else every second."""
        if self._unwritten and (idle or time.monotonic() - self._written_at >= _EVERY):
            account.write_latency(connection, connector, {each: self._counts[each] for each in self._unwritten})
            self._unwritten.clear()
            self._written_at = time.monotonic()
