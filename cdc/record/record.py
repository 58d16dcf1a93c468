"""Change records: what travels from capture to sink. The bytes are made in cdc.record.envelope."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from cdc.event import Value
from cdc.lsn import Lsn


class Op(StrEnum):
    """What happened to a narrow row. A move is a MOVE at the old place and an UPDATE at the new one.

    MOVE is not DELETE, because a mapping that keeps what was deleted still has to clear the place that a reading left.
    """

    INSERT = "i"
    UPDATE = "u"
    DELETE = "d"
    MOVE = "m"


class Stamp(NamedTuple):
    """Where a record stands: in which run of capture, in its partition, and in the source's history.

    `generation` counts the runs of capture; `sequence` counts the records of a generation in one partition from 0.
    `position` is the commit LSN, plus one for each truncate before the record in the same transaction.
    `commit_time` is in microseconds since 1970-01-01 UTC.
    """

    connector: str
    generation: int
    sequence: int
    position: Lsn
    xid: int
    commit_time: int


class Changes(NamedTuple):
    """The changes of one wide key in one transaction, or a part of them, in order.

    `wide` pairs the wide columns' names with their values. Each row is `[op, value, ...]` with one value
    for each name in `columns`.
    """

    stamp: Stamp
    table: str
    wide: dict[str, str | None]
    columns: list[str]
    rows: Sequence[list[Value]]


class Truncated(NamedTuple):
    """Narrow tables were truncated. Stands in every partition."""

    stamp: Stamp
    tables: list[str]


class Barrier(NamedTuple):
    """A transactional message of ours. Stands in every partition: all that was committed before it came before it."""

    stamp: Stamp
    content: str


Record: TypeAlias = "Changes | Truncated | Barrier"
