"""A connector as it is configured: its options, and what is named and decided by them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from cdc.source.narrow import NarrowTable
from cdc.source.table_name import TableName
from sink.mapping.family import Source, joining, rules
from sink.mapping.group import Group
from sink.mapping.mapping import Mapping
from sink.mapping.period import Unit
from widebeam.config import language
from widebeam.config.options.file import Options

LOGICAL_PARTITIONS: Final = 8
"""Partitions of the direct transport. Written down in widebeam.connectors when a connector is made."""

_HOURS: Final[dict[Unit, float]] = {"day": 24, "week": 168, "month": 720, "year": 8760}
_PARTITIONS_OF_A_CHUNK: Final = 64


@dataclass(frozen=True, slots=True)
class Connector:
    """One pipeline as configured: its name (the file's), the file, and all options.

    `only` is one of its narrow tables, to look at as if there were no other.
    """

    name: str
    file: Path
    options: Options
    only: NarrowTable | None = None

    @property
    def transport(self) -> str:
        """`kafka` or `direct`, as widebeam.connectors names them."""
        return "direct" if self.options.kafka is None else "kafka"

    @property
    def partitions(self) -> int:
        """How many partitions a new connector gets."""
        return LOGICAL_PARTITIONS if self.options.kafka is None else self.options.kafka.partitions

    @property
    def slot(self) -> str:
        """The replication slot's name."""
        return self.options.source.slot or f"widebeam_{self.name.replace('-', '_')}"

    @property
    def publication(self) -> str:
        """The publication's name."""
        return self.options.source.publication or f"widebeam_{self.name.replace('-', '_')}"

    @property
    def topic(self) -> str | None:
        """The Kafka topic; None on the direct transport."""
        kafka = self.options.kafka
        return None if kafka is None else kafka.topic or f"widebeam.{self.name}"

    @property
    def group(self) -> str:
        """The consumer group of the sinks."""
        return f"widebeam.{self.name}"

    def kafka_client(self, part: str = "") -> dict[str, str]:
        """librdkafka's settings with their secrets, for a client alone; empty on the direct transport.

        The brokers' logs and metrics call it by the connector and the `part`.
        """
        kafka = self.options.kafka
        if kafka is None:
            return {}
        # Level 4: warnings. Without it librdkafka chats on stderr when a client is closed.
        longest = kafka.record_megabytes * 2**20
        return {
            "log_level": "4",
            "client.id": f"widebeam.{self.name}" + (f".{part}" if part else ""),
            "message.max.bytes": str(longest),
            "receive.message.max.bytes": str(max(100_000_000, longest + 2**20)),
            "bootstrap.servers": kafka.bootstrap_servers,
            **kafka.client_settings(),
        }

    @property
    def patterns(self) -> tuple[TableName, ...]:
        """The narrow tables as they are configured, where % stands for any text in the name."""
        source = self.options.source
        return tuple(map(TableName.of, source.tables if source.table is None else [source.table]))

    @property
    def growing(self) -> bool:
        """Whether tables can join while it runs."""
        return self.options.source.table is None and any("%" in each.name for each in self.patterns)

    @property
    def layout(self) -> Literal["per_entity", "single"]:
        """One wide table for each entity, or a single one: without entity or without time there can only be that."""
        source, target = self.options.source, self.options.target
        return target.layout if source.entity and source.time else "single"

    @property
    def chunk_hours(self) -> float | None:
        """How long a chunk of the backfill may be, None: however long. Of partitions it meets a bounded number, since
        each takes locks."""
        given, unit = self.options.backfill.chunk_hours, self.options.target.partition_by
        most = None if unit is None else _PARTITIONS_OF_A_CHUNK * _HOURS[unit]
        return min((each for each in (given, most) if each is not None), default=None)

    @property
    def table(self) -> NarrowTable:
        """The narrow table as capture and sink see it: where there are several, the first, or the one it is `at`."""
        if self.only is not None:
            return self.only
        return language.narrow(self.options.source, *self.patterns[0])

    def at(self, table: NarrowTable) -> Connector:
        """The same connector, as if this were its only narrow table: to look at one after the other."""
        return replace(self, only=table)

    @property
    def family(self) -> language.Tables:
        """Which narrow tables belong, and how they are read."""
        return language.Tables(self.options.source)

    def mapping(self, sources: Iterable[Source]) -> Mapping:
        """The mapping of narrow tables, with their columns' types as the source's catalog writes them."""
        target, sink, tables = self.options.target, self.options.sink, list(sources)
        return Mapping(
            connector=self.name,
            rules=rules(self.family, tables, widens=sink.type_conflict == "widen"),
            schema=target.wide_schema,
            name=self.wide_name,
            layout=self.layout,
            family=self.family if self.growing else None,
            joining=joining(tables),
            on_delete=sink.on_delete,
            on_truncate=sink.on_truncate,
            unknown_key=sink.unknown_key,
            type_conflict=sink.type_conflict,
            columns_per_table=sink.columns_per_table,
            columns_per_hour=sink.columns_per_hour,
            readers=tuple(target.readers),
            groups=tuple(
                Group(each.name, frozenset(each.keys), None if each.pattern is None else re.compile(each.pattern))
                for each in target.groups
            ),
            partition_by=target.partition_by,
            fillfactor=target.fillfactor,
        )

    @property
    def wide_name(self) -> str:
        """The wide tables' name, where `{entity}` stands for the entity's values."""
        default = "{entity}" if self.layout == "per_entity" else "{connector}"
        return (self.options.target.name or default).replace("{connector}", self.name)
