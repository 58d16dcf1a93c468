"""What was seen of a connector, as values: what `judge` makes a state of."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from widebeam.state.sign import Sign

Phase: TypeAlias = Literal["preparing", "backfilling", "streaming", "converged"]
"""How far a connector is, whether or not it gets on."""


class HaltFact(NamedTuple):
    """The halt that is written down; `age` in seconds."""

    cause: str
    what: str
    remedy: str
    age: float


class SlotFact(NamedTuple):
    """The slot on the source; bytes of WAL. `retained` is what it keeps, `room` what it may keep beside that until the
    server takes it away (None: no limit is set). `inactive` are the seconds since somebody streamed, where the server
    tells."""

    active: bool
    status: str
    retained: int | None = None
    room: int | None = None
    inactive: float | None = None


class Waits(NamedTuple):
    """Something that was committed in the source and is not in the wide tables. Seconds: `age` since its commit,
    `still` since anything got on there."""

    where: str
    age: float
    still: float


class Refused(NamedTuple):
    """What went to the quarantine among the rows of the last minute in which there were any."""

    entries: int
    rows: int
    reason: str
    detail: str


class Facts(NamedTuple):
    """One look. `signs` is None where the control schema does not know them. `slot` is None if there is none, or if
    the source does not answer, which `unreachable` tells by `source` then."""

    connector: str
    phase: Phase
    slot_name: str
    transport: str = "direct"
    dropping: bool = False
    halt: HaltFact | None = None
    unreachable: tuple[str, ...] = ()
    read_only: bool = False
    slot: SlotFact | None = None
    held_up: tuple[str, ...] = ()
    """What the slot waits for, a sentence each."""
    looked: bool = True
    """Whether the source was looked at."""
    signs: tuple[Sign, ...] | None = ()
    waits: tuple[Waits, ...] = ()
    lag_records: int | None = None
    refused: Refused | None = None
    chunks_open: int = 0
    chunks_given_up: int = 0
    mapped: str = ""
    """The mapped columns in words, for messages: `time last_updated, key entity_id`."""
