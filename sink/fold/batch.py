"""A batch: received records, decoded and admitted, up to a truncate. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias, assert_never

from cdc.log.transport import Received
from cdc.lsn import Lsn
from cdc.record.envelope import Undecodable
from cdc.record.record import Barrier, Changes, Record, Truncated
from sink.fold.progress import Admission, Progress
from sink.fold.quarantine_entry import QuarantineEntry, undecodable
from sink.mapping.mapping import Mapping as WideMapping

Decode: TypeAlias = Callable[[bytes], Record]
Place: TypeAlias = "tuple[int, int]"
"""A record's partition and offset."""

_new: Final = tuple.__new__  # makes a NamedTuple without the call of its Python-level __new__


class Poison(NamedTuple):
    """What of a record the target has refused: the values that these of its rows set, or, if `whole`, its wide key, so
    that even its cells cannot be cleared."""

    rows: AbstractSet[int]
    whole: bool = False


CLEAN: Final = Poison(frozenset())
WHOLE: Final = Poison(frozenset(), whole=True)


class Entry(NamedTuple):
    """A record to be folded, and what of it goes into quarantine."""

    changes: Changes
    origin: str
    escape: bool
    poison: Poison


@dataclass(slots=True)
class Batch:
    """What one target transaction is to apply: `entries`, and then the truncate at that position, if there is one.

    `rows` counts narrow rows. `halted_by` is a truncate at which the connector is to stop: it and what comes after
    it are not in the batch. `commits` counts rows by partition and commit time, for the latency. `newest` is the commit
    time (us) of the last changes and the time (ms) at which the log took them.
    """

    mapping: WideMapping
    decode: Decode
    known: Mapping[int, Progress]
    poison: Mapping[Place, Poison] = field(default_factory=dict)
    admissions: dict[int, Admission] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    truncate: Lsn | None = None
    truncated: frozenset[str] = frozenset()
    quarantine_entries: list[QuarantineEntry] = field(default_factory=list)
    commits: dict[Place, int] = field(default_factory=dict)
    newest: tuple[int, int] | None = None
    rows: int = 0
    halted_by: Truncated | None = None

    @property
    def over(self) -> bool:
        """Nothing more is to be taken: it ends with a truncate.

        What comes after that one is staged apart, and a sink stages before it takes any lock.
        """
        return self.truncate is not None or self.halted_by is not None

    def take(self, received: Received) -> None:
        """Take the next record in. One of a partition that is not ours, or that is applied already, is nothing."""
        if self.over:
            raise ValueError("a batch takes nothing after a truncate")
        admission = self.admissions.get(received.partition) or self._first(received.partition)
        if admission is None or received.offset < admission.next_offset:
            return
        self._take(received, admission)
        if self.halted_by is None:
            self.admissions[received.partition] = admission

    def _first(self, partition: int) -> Admission | None:
        """What admits the first record of a partition, if that is ours."""
        known = self.known.get(partition)
        return None if known is None else Admission(known)

    def _take(self, received: Received, admission: Admission) -> None:
        origin = f"{received.partition}:{received.offset}"
        try:
            record = self.decode(received.value)
        except Undecodable as error:
            self.quarantine_entries.append(undecodable(origin, received.value, "undecodable_record", error.reason))
            admission.pass_over(received.offset)
            return
        if record.stamp.connector != self.mapping.connector:
            detail = f"a record of connector {record.stamp.connector}"
            self.quarantine_entries.append(undecodable(origin, received.value, "foreign_record", detail))
            admission.pass_over(received.offset)
        elif isinstance(record, Truncated) and self._halts(record, admission.now):
            self.halted_by = record
        elif admission.admit(received.offset, record):
            self._include(received, record, admission, origin)

    def _halts(self, record: Truncated, now: Progress) -> bool:
        """A truncate that is to be applied, and that the mapping says to stop at."""
        return (
            self.mapping.on_truncate == "halt"
            and any(map(self.mapping.owns, record.tables))
            and Admission(now).admit(now.next_offset, record)
        )

    def _include(self, received: Received, record: Record, admission: Admission, origin: str) -> None:
        match record:
            case Changes():
                place, rows = (received.partition, received.offset), len(record.rows)
                escape = _may_need_escape(received.value)
                self.entries.append(_new(Entry, (record, origin, escape, self.poison.get(place, CLEAN))))
                admission.rows += rows
                admission.cells += rows
                self.rows += rows
                commit = received.partition, record.stamp.commit_time
                self.commits[commit] = self.commits.get(commit, 0) + rows
                self.newest = record.stamp.commit_time, received.timestamp
            case Truncated():
                if self.mapping.on_truncate == "apply" and any(map(self.mapping.owns, record.tables)):
                    self.truncate = record.stamp.position
                    self.truncated = frozenset(filter(self.mapping.owns, record.tables))
            case Barrier():
                pass  # its position is in the admission
            case _:
                assert_never(record)


def _may_need_escape(value: bytes) -> bool:
    r"""JSON escapes tab, line end and backslash by a backslash; another format has to be looked at value by value."""
    return not value.startswith(b"{") or b"\\" in value
