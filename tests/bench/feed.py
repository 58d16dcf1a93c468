"""Change records of the reference workload, put into a connector's topic as its capture would put them there."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, TypeAlias

from cdc.log.kafka import KafkaPublisher
from cdc.lsn import Lsn
from cdc.record.envelope import encode, encode_key
from cdc.record.numbering import Numbering
from cdc.record.partition import partition
from cdc.record.record import Changes, Stamp
from tests.bench.ours import Ours
from tests.bench.reference import TABLE

Shape: TypeAlias = Literal["rows", "cells", "half"]
"""A record holds a wide row's cells; or each cell is a record; or a record holds every second cell of a wide row."""

_CARRIED = list(TABLE.carried)


class Encoded(NamedTuple):
    """A record's place and bytes, and how many cells are in it."""

    partition: int
    key: bytes
    value: bytes
    cells: int


class Feed:
    """A capture's only generation, moment by moment, each a transaction. No other capture may run for the connector."""

    def __init__(self, ours: Ours) -> None:
        self._ours = ours
        self._partitions = ours.connector.partitions
        self._numbering = Numbering(ours.name, 1, self._partitions)
        self._position = int(Lsn.parse(ours.one("SELECT cutoff::text FROM widebeam.connectors")))

    def ticks(self, first: int, last: int, shape: Shape = "rows") -> Iterator[Encoded]:
        """The records of these moments (without the last one), each committed when it is asked for."""
        return (record for tick in range(first, last) for record in self._tick(tick, shape))

    def _tick(self, tick: int, shape: Shape) -> Iterator[Encoded]:
        self._position += 8
        for wide, rows in self._ours.fleet.wide_rows(tick):
            match shape:
                case "rows":
                    yield self._record(wide, rows)
                case "half":
                    yield self._record(wide, rows[::2])
                case "cells":
                    yield from (self._record(wide, [row]) for row in rows)

    def _record(self, wide: dict[str, str | None], rows: list[list[str | None]]) -> Encoded:
        key = encode_key(list(wide.values()))
        number = partition(key, self._partitions)
        sequence, now = self._numbering.take(number), time.time_ns() // 1000
        stamp = Stamp(self._ours.name, 1, sequence, Lsn(self._position), 1, now)
        changes = Changes(stamp, TABLE.qualified, wide, _CARRIED, rows)  # type: ignore[arg-type]  # the values are texts
        return Encoded(number, key, encode(changes), len(rows))

    def send(self, records: Iterable[Encoded]) -> int:
        """Put them into the topic, and wait until they are there. How many cells they have."""
        client, topic = self._ours.connector.kafka_client(), self._ours.connector.topic or ""
        publisher = KafkaPublisher(client, topic, self._partitions)
        sent = done = cells = 0
        for record in records:
            while not publisher.publish(record.partition, record.key, record.value, sent):
                done += len(publisher.delivered(0.05))
            sent, cells = sent + 1, cells + record.cells
        while done < sent:
            done += len(publisher.delivered(0.05))
        publisher.close()
        return cells
