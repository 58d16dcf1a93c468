"""What a sink needs to know."""

from __future__ import annotations

from dataclasses import dataclass, field

from cdc.record.codec import decode
from sink.fold.batch import Decode
from sink.mapping.mapping import Mapping


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """Settings of one sink. The source is read where there is a dictionary, or cells have to be read again.

    `batch_rows` is how many narrow rows go into one target transaction at most (a record is never cut). `patience`
    is for how many seconds a generation with a gap may be the last one until that is taken for a loss of the log;
    `give_up_after` for how many one failure may last, but for a server's being away.
    `rewindable`: a replay may set the progress back while it runs.
    """

    target_dsn: str = field(repr=False)
    mapping: Mapping
    source_dsn: str | None = field(default=None, repr=False)
    batch_rows: int = 50_000
    patience: float = 300.0
    give_up_after: float = 600.0
    decode: Decode = decode
    rewindable: bool = False
