"""What a backfill worker is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sink.mapping.mapping import Mapping
from snapshot.chunks.repair import Repairs


@dataclass(frozen=True, slots=True)
class BackfillSettings:
    """What a worker needs to know. The connection strings may hold passwords, and are not shown.

    `attempts` is how often a chunk is tried before it is given up; `backoff` how many seconds it rests after the
    first failure, and twice as long after each further one. `publication` and how long chunks are matter to tables that
    join: where the mapping has a family, a worker looks for them, and does not end. It `stays`, too, where partitions
    can be attached, whose chunks come later. `repairs` is for chunks that compare and set. `done` is called whenever a
    chunk is; `misfits` with the numbers of entries that one has put into quarantine, once that is committed: the stream
    may have overtaken them, and then nobody else closes them.
    """

    mapping: Mapping
    source_dsn: str = field(repr=False)
    target_dsn: str = field(repr=False)
    standby_dsn: str | None = field(default=None, repr=False)
    attempts: int = 5
    backoff: float = 1.0
    gate_seconds: float = 300.0
    publication: str = ""
    chunk_rows: int = 200_000
    chunk_hours: float | None = None
    stays: bool = False
    repairs: Repairs | None = None
    done: Callable[[], None] = lambda: None
    misfits: Callable[[Sequence[int]], None] = lambda numbers: None
