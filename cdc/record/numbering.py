"""Sequence numbers of one run of capture, and the records that bear them."""

from __future__ import annotations

from typing import NamedTuple

from cdc.record.record import Record


class Draft(NamedTuple):
    """A record and where it goes. `key` is None for what stands in every partition."""

    partition: int
    key: bytes | None
    record: Record


class Numbering:
    """Sequence numbers of one generation: 0, 1, 2, ... in each partition."""

    def __init__(self, connector: str, generation: int, partitions: int) -> None:
        self.connector = connector
        self.generation = generation
        self.partitions = partitions
        self._next = [0] * partitions

    def take(self, number: int) -> int:
        """The next sequence number of partition `number`."""
        sequence = self._next[number]
        self._next[number] = sequence + 1
        return sequence
