"""What capture is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import psycopg

from cdc.record.envelope import JSON, Codec
from cdc.record.relations import Family, Vouch
from cdc.source.narrow import NarrowTable

Survey: TypeAlias = "Callable[[psycopg.Connection[tuple[Any, ...]]], bool]"
"""Looks at the catalog over a connection in autocommit; True if it wants to look again soon. Raises Halt."""


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """What capture needs to know. Seconds everywhere.

    `ack_seconds` lie between two acknowledgements while changes come, `idle_seconds` while none come (each one is
    written to the target first). `drain_seconds` is how long a clean stop waits for deliveries. `slot_seconds` is how
    long to stand by for a slot in use; None: as long as it takes. `watch_seconds` lie between two looks at the
    source's catalog; `survey` looks at more there than whether everything is published still. `oids` are the tables'
    as they were written down, by their qualified names; `vouch` compares their columns' types with those.
    `follow` takes a failover for ours if it is, or raises a Halt.
    """

    connector: str
    source_dsn: str = field(repr=False)
    slot: str
    publication: str
    tables: tuple[NarrowTable, ...]
    family: Family | None = None
    codec: Codec = JSON
    ack_seconds: float = 1.0
    idle_seconds: float = 10.0
    drain_seconds: float = 10.0
    slot_seconds: float | None = None
    watch_seconds: float = 10.0
    survey: Survey | None = None
    oids: Mapping[str, int] = field(default_factory=dict)
    vouch: Vouch | None = None
    follow: Callable[[], None] | None = None
