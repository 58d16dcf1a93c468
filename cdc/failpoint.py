"""Failpoints: every durable step at which a part may be made to die, to fail or to stand still. For tests and the soak.

The list is here and nowhere else. A part looks at the environment once, when it starts: without WIDEBEAM_FAILPOINTS a
site is a call that looks at an empty dictionary, and does nothing. Its form:

    WIDEBEAM_FAILPOINTS="sink.staged=crash@3;capture.*=error,chance:0.01,seed:7;*=hang,once:/tmp/tokens/"

NAME (`*` and `?` stand for others), ACTION, `@n` for the n-th hit in a process, and any of:
`once:FILE` fires only while the file is there, and takes it away, so that a part that starts again passes; in a
directory (with a slash at its end) the file is that of the point's name, and the action that is written in it wins
(`crash@3`: at the third hit from now on, in whichever processes);
`chance:P` fires by chance, by the generator that `seed:N` sets (else by the process's own).

Actions: `crash` kills this process by SIGKILL, `hang` stops it by SIGSTOP, `error` raises Injected, `cut` sends COMMIT
over the session of the step and gives the session up without its answer.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, Protocol, Self

ENVIRONMENT: Final = "WIDEBEAM_FAILPOINTS"


class Action(StrEnum):
    """What can happen at a point."""

    CRASH = "crash"
    HANG = "hang"
    ERROR = "error"
    CUT = "cut"


class Failpoint(StrEnum):
    """A step by its name; `before` is the durable step that lies behind it, `after` the one that is still to come."""

    before: str
    after: str

    def __new__(cls, name: str, before: str, after: str) -> Self:
        """A name with what lies before and after it."""
        member = str.__new__(cls, name)
        member._value_, member.before, member.after = name, before, after
        return member

    CAPTURE_SLOT_TAKEN = "capture.slot_taken", "the slot streams to us", "our generation is taken"
    CAPTURE_GENERATION_TAKEN = "capture.generation_taken", "our generation is taken", "the first record is handed over"
    CAPTURE_HANDED_OVER = "capture.handed_over", "records are handed to the log", "they are known to be durable"
    CAPTURE_CONFIRMED = "capture.confirmed", "the records are durable", "the journal says so"
    CAPTURE_JOURNALED = "capture.journaled", "the journal says how far we are", "the slot is told"
    CAPTURE_DRAINED = "capture.drained", "at a stop, all is durable that can be", "the last report is made"

    SINK_ASSIGNED = "sink.assigned", "the progress of new partitions is read", "they are read from there on"
    SINK_ADVANCED = "sink.advanced", "progress is advanced by compare-and-set", "a wide row is touched"
    SINK_TOMBSTONED = "sink.tombstoned", "tombstones are written", "a wide row is touched"
    SINK_QUARANTINED = "sink.quarantined", "quarantine_entries are in the quarantine", "a wide row is touched"
    SINK_VOIDED = "sink.voided", "a truncate has made open chunks void", "it removes rows"
    SINK_STAGED = "sink.staged", "rows are in the staging table", "they are in the wide table"
    SINK_TRUNCATED = "sink.truncated", "a truncate has removed rows", "the batch is committed"
    SINK_MERGED = "sink.merged", "all of a batch is merged", "it is committed"
    SINK_COMMITTED = "sink.committed", "a batch is committed", "this sink goes on from there, and tells the log"

    COLUMNS_MADE = "columns.made", "tables and columns are made for new keys", "the rows that need them are written"
    ORIGINS_WRITTEN = "origins.written", "the origins of columns are written down", "the rows from there are written"
    PARTITIONS_MADE = "partitions.made", "partitions of a wide table are made", "the rows that need them are written"

    BACKFILL_GATE_OPEN = "backfill.gate_open", "the gate is open", "that is written down"
    BACKFILL_SNAPSHOT_TAKEN = "backfill.snapshot_taken", "a chunk's snapshot is taken", "the chunk is read"
    BACKFILL_READ = "backfill.read", "a chunk is read", "its row in the ledger is locked"
    BACKFILL_LOCKED = "backfill.locked", "the chunk's row in the ledger is locked", "its tombstones are read"
    BACKFILL_STAGED = "backfill.staged", "rows of a chunk are in the staging table", "they are in the wide table"
    BACKFILL_MERGED = "backfill.merged", "all of a chunk is merged", "the ledger says so"
    BACKFILL_MARKED = "backfill.marked", "the ledger says that a chunk is merged", "that is committed"
    BACKFILL_COMMITTED = "backfill.committed", "a chunk is committed", "its claim is given back"
    BACKFILL_VOIDED = "backfill.voided", "a chunk that was read turns out void", "its claim is given back"

    ATTACHED_PLANNED = "attached.planned", "chunks of an attached partition are written", "they are committed"
    ATTACHED_HELD = "attached.held", "all sinks are held for such a chunk", "it is read and written over what is there"
    JOIN_WRITTEN_DOWN = "join.written_down", "a new narrow table and its chunks are written down", "it is published"
    JOIN_PUBLISHED = "join.published", "a new narrow table is published", "its gate is opened"

    PREPARE_ENROLLED = "prepare.enrolled", "the connector's row is written", "anything else of it is made"
    PREPARE_SCHEMA_MADE = "prepare.schema_made", "the wide tables' schema is there", "the topic is made"
    PREPARE_TOPIC_MADE = "prepare.topic_made", "the topic is made", "its id is written down"
    PREPARE_PUBLISHED = "prepare.published", "the publication is made", "the catalog's facts are written down"
    PREPARE_SURVEYED = "prepare.surveyed", "the catalog's facts are written down", "columns are made ahead"
    PREPARE_COLUMNS_MADE = "prepare.columns_made", "columns are made ahead", "the slot is made"
    PREPARE_SLOT_MADE = "prepare.slot_made", "the slot is made", "its cutoff is written down"
    PREPARE_CUTOFF_NOTED = "prepare.cutoff_noted", "the cutoff is written down", "the chunks are planned"
    PREPARE_PLANNED = "prepare.planned", "the chunks are planned", "parts are started"

    GAP_FENCED = "gap.fenced", "the old stream is fenced", "the topic is taken as it is now"
    GAP_TOPIC_TAKEN = "gap.topic_taken", "sinks begin at the topic's end", "the narrow tables are taken as they are"
    GAP_PUBLISHED = "gap.published", "all narrow tables are published", "the slot is made anew"
    GAP_SLOT_MADE = "gap.slot_made", "the slot is made anew", "its cutoff is written down"
    GAP_CUTOFF_NOTED = "gap.cutoff_noted", "the new cutoff is written down", "rows of the old stream lie at or below it"
    GAP_REBASED = "gap.rebased", "rows of the old stream lie at or below the cutoff", "the ranges are planned"
    GAP_PLANNED = "gap.planned", "the ranges are written", "they are committed, and the way is open"
    REPAIR_HELD = "repair.held", "all sinks are held for a range that differs", "it is read again"
    REPAIR_MERGED = "repair.merged", "what differs in a range is set and cleared", "that is committed"
    REPLAY_REWOUND = "replay.rewound", "progress is set back in a new epoch", "that is committed"
    REPLAY_COMMITTED = "replay.committed", "the replay is committed", "anybody waits for it"

    RETRY_STAGED = "retry.staged", "rows of a batch of the quarantine are in the staging table", "all sinks are held"
    RETRY_HELD = "retry.held", "all sinks are held for such a batch", "its source rows are read again"
    RETRY_TOMBSTONED = "retry.tombstoned", "tombstones of rows that are gone are written", "a wide row is touched"
    RETRY_MERGED = "retry.merged", "all of such a batch is in the wide tables", "its entries leave the quarantine"
    RETRY_TAKEN_OUT = "retry.taken_out", "its entries are out of the quarantine", "that is committed"
    RETRY_COMMITTED = "retry.committed", "such a batch is committed", "the next one is looked at"
    DISCARD_TAKEN_OUT = "discard.taken_out", "entries are discarded, and the audit log has them", "that is committed"
    DISCARD_COMMITTED = "discard.committed", "a batch of entries is discarded", "the next one is looked at"

    DROP_FENCED = "drop.fenced", "nothing can be applied any more", "the first wide table goes"
    DROP_TABLES_GONE = "drop.tables_gone", "the tables of an entity are gone", "the next entity's go, or the slot"
    DROP_SLOT_GONE = "drop.slot_gone", "the slot is gone", "the publication goes"
    DROP_PUBLICATION_GONE = "drop.publication_gone", "the publication is gone", "the topic goes"
    DROP_TOPIC_GONE = "drop.topic_gone", "the topic is gone", "the consumer group goes"
    DROP_GROUP_GONE = "drop.group_gone", "the consumer group is gone", "the wide tables' schema goes"
    DROP_SCHEMA_GONE = "drop.schema_gone", "the wide tables' schema is gone", "the connector's row goes"
    DROP_FORGOTTEN = "drop.forgotten", "the connector's row is gone", "that is committed"


class Injected(Exception):
    """A failpoint's error."""


class Session(Protocol):
    """What `cut` needs of a connection."""

    @property
    def pgconn(self) -> Any:
        """libpq's own."""

    def close(self) -> None:
        """Give it up."""

    def execute(self, query: str, /) -> Any:
        """The driver's error, once it is closed."""


@dataclass(slots=True)
class Trap:
    """What is to happen at a point, and when."""

    action: Action | Callable[[], None]
    nth: int | None = None
    token: str | None = None
    chance: float | None = None
    random: random.Random = field(default_factory=random.Random)
    hits: int = 0

    def sprung(self, point: Failpoint) -> Action | Callable[[], None] | None:
        """Count a hit; what is to happen now, if anything."""
        self.hits += 1
        if self.nth is not None and (self.hits < self.nth if self.token else self.hits != self.nth):
            return None
        if self.chance is not None and self.random.random() >= self.chance:
            return None
        return self.action if self.token is None else self._taken(point, self.token)

    def _taken(self, point: Failpoint, token: str) -> Action | Callable[[], None] | None:
        """Whoever of several processes takes the file away is the one that fires."""
        file = Path(token, point) if token.endswith("/") else Path(token)
        try:
            said, _, left = file.read_text().strip().partition("@")
            if left and int(left) > 1:
                _put(file, f"{said}@{int(left) - 1}")
                return None
            file.unlink()
        except FileNotFoundError:
            return None
        return _action(said) if said else self.action


def _put(file: Path, text: str) -> None:
    """Over what is there, in one step: others read it meanwhile."""
    made = file.with_name(f".{file.name}.{os.getpid()}")
    made.write_text(text)
    made.replace(file)


_traps: dict[Failpoint, Trap] = {}


def hit(point: Failpoint, session: Session | None = None) -> None:
    """This step is reached. `session` is the one whose open transaction is about to be committed, if that is so."""
    if _traps:
        _act(point, session)


def _act(point: Failpoint, session: Session | None) -> None:
    trap = _traps.get(point)
    match None if trap is None else trap.sprung(point):
        case None:
            pass
        case Action.CRASH:
            os.kill(os.getpid(), signal.SIGKILL)
        case Action.HANG:
            os.kill(os.getpid(), signal.SIGSTOP)
        case Action.ERROR:
            raise Injected(f"failpoint {point}")
        case Action.CUT:
            if session is None:
                raise Injected(f"failpoint {point} has no session that could be cut")
            session.pgconn.send_query(b"COMMIT")
            session.pgconn.flush()
            session.close()
            # As when the answer does not come: psycopg leaves the block of a closed connection without an error.
            session.execute("SELECT")
        case do:
            do()


def parse(text: str) -> dict[Failpoint, Trap]:
    """What WIDEBEAM_FAILPOINTS says; ValueError where it is not as described above."""
    traps: dict[Failpoint, Trap] = {}
    for entry in filter(None, (each.strip() for each in text.split(";"))):
        names, _, what = entry.partition("=")
        points = [point for point in Failpoint if fnmatchcase(point, names.strip())]
        if not points:
            raise ValueError(f"{ENVIRONMENT}: there is no failpoint {names!r}: see cdc/failpoint.py")
        for point in points:
            traps[point] = _trap(what, point)
    return traps


def _trap(what: str, point: Failpoint) -> Trap:
    action, *options = what.strip().split(",")
    action, _, nth = action.partition("@")
    given = dict(option.split(":", 1) for option in options if ":" in option)
    if len(given) != len(options) or given.keys() - {"once", "chance", "seed"} or (nth and not nth.isdecimal()):
        raise ValueError(f"{ENVIRONMENT}: {what!r} is not an action with @n, once:FILE, chance:P, seed:N")
    return Trap(
        _action(action),
        int(nth) if nth else None,
        given.get("once"),
        float(given["chance"]) if "chance" in given else None,
        random.Random(f"{given['seed']} {point}") if "seed" in given else random.Random(),  # noqa: S311  no secret
    )


def _action(text: str) -> Action:
    try:
        return Action(text)
    except ValueError:
        raise ValueError(f"{ENVIRONMENT}: {text!r} is none of {', '.join(Action)}") from None


@contextmanager
def doing(point: Failpoint, do: Callable[[], None]) -> Iterator[None]:
    """Within this process, for a test: at this point, in whichever thread reaches it, this is done."""
    before = dict(_traps)
    _traps[point] = Trap(do)
    try:
        yield
    finally:
        _traps.clear()
        _traps.update(before)


@contextmanager
def armed(text: str) -> Iterator[dict[Failpoint, Trap]]:
    """Within this process, for a test: the same as the environment variable; how often a point was hit is in it."""
    before = dict(_traps)
    _traps.update(parse(text))
    try:
        yield dict(_traps)
    finally:
        _traps.clear()
        _traps.update(before)


_traps.update(parse(os.environ.get(ENVIRONMENT, "")))
