"""How a connector is, as values: what `status --json` prints and what every view shows."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from cdc.trouble import Trouble
from widebeam.state.restart_log import Restart
from widebeam.state.sign import Sign
from widebeam.status.facts import Phase
from widebeam.status.judge import State


@dataclass(frozen=True, slots=True)
class Backfill:
    """Chunks by state, rows read, and how long the rest takes. Rates are rows a second."""

    chunks: int = 0
    planned: int = 0
    failed: int = 0
    given_up: int = 0
    merged: int = 0
    void: int = 0
    rows: int = 0
    cells: int = 0
    rows_expected: int = 0
    rows_s: float | None = None
    eta_s: float | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """The replication slot. `retained_bytes` is the WAL that it keeps on the source, `room_bytes` what it may keep
    beside that before the server takes it away; None without a limit."""

    active: bool
    confirmed: str
    retained_bytes: int | None
    wal_status: str
    room_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Partition:
    """How far one partition is applied. `end_offset` and `lag` (records) are None where they cannot be known."""

    partition: int
    next_offset: int
    end_offset: int | None
    lag: int | None
    high: str
    epoch: int
    generation: int
    broken: bool
    rows: int
    commit_time: datetime | None
    applied_at: datetime | None


@dataclass(frozen=True, slots=True)
class Stream:
    """The way from the WAL to the wide tables: what is behind, in bytes of WAL, in seconds and in records."""

    lag_bytes: int | None = None
    lag_seconds: float | None = None
    lag_records: int | None = None
    records: int = 0
    changes: int = 0
    rows: int = 0
    cells: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class HaltSeen:
    """Why the connector halted, and the way on."""

    cause: str
    what: str
    remedy: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Status:
    """All that can be seen of a connector. `latency_ms` is commit to visible, as percentiles over all time.

    `state` is what `widebeam.status.judge` says, with `cause` and `command`, which are empty where all is well; `phase`
    is how far it is, whether or not it gets on; `problems` are what else is the matter. `signs` are its
    processes' last. `notices` are what became of the source without an event, and does not stop the connector.
    """

    connector: str
    state: State
    at: datetime
    transport: str
    phase: Phase | None = None
    cause: str = ""
    command: str = ""
    generation: int = 0
    cutoff: str | None = None
    converged_at: datetime | None = None
    backfill: Backfill = Backfill()
    stream: Stream = Stream()
    slot: Slot | None = None
    latency_ms: dict[str, float | None] = field(default_factory=dict)
    partitions: tuple[Partition, ...] = ()
    quarantine: int = 0
    halt: HaltSeen | None = None
    notices: tuple[str, ...] = ()
    restarts: tuple[Restart, ...] = ()
    signs: tuple[Sign, ...] = ()
    problems: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values; times as ISO 8601 with their zone."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {name: _plain(inner) for name, inner in value.items()}
        case Sign() | Trouble():
            return _plain(value._asdict())
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case datetime():
            return value.isoformat()
        case float():
            return round(value, 3)
        case _:
            return value
