"""The quarantine's table: what lies in it, by reason or number, and what is taken out of it for good."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg.types.json import Jsonb

from cdc.failpoint import Failpoint, hit
from cdc.patience import SECONDS, bounded
from widebeam.quarantine.entry import Entry

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_AT_ONCE: Final = 500
_BYTES_AT_ONCE: Final = 8 * 1024 * 1024
"""Of entries that are taken together: how many, and of their raw rows or records. One may be larger."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which entries of a connector: those with these numbers and reasons; an empty list is no restriction.

    With a `newest`, none that came after it.
    """

    connector: str
    ids: Sequence[int] = ()
    reasons: Sequence[str] = ()
    newest: int | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """For the statements below."""
        ids, reasons = list(self.ids) or None, list(self.reasons) or None
        return {"connector": self.connector, "ids": ids, "reasons": reasons, "newest": self.newest}


class Heap(NamedTuple):
    """All entries of one reason."""

    reason: str
    entries: int
    first: Any
    last: Any


def as_of_now(session: Session, choice: Choice) -> Choice:
    """The same without what is still to come: somebody may be asked about what there is, and take his time."""
    row = session.execute(f"SELECT coalesce(max(id), 0) {_FROM}", choice.parameters).fetchone()
    return replace(choice, newest=row[0] if row else 0)


def heaps(session: Session, choice: Choice) -> list[Heap]:
    """How many entries there are of each reason, and when the first and the last one came."""
    query = f"SELECT reason, count(*), min(at), max(at) {_FROM} GROUP BY reason ORDER BY 2 DESC, 1"
    return [Heap(*row) for row in session.execute(query, choice.parameters)]


def must_have(session: Session, choice: Choice) -> None:
    """LookupError where a number that was given is none of an entry that is chosen: it may be another's by mistake."""
    found = {row[0] for row in session.execute(f"SELECT id {_FROM}", choice.parameters)} if choice.ids else set()
    missing = [str(number) for number in choice.ids if number not in found]
    if missing:
        kind = f" of the reason {', '.join(choice.reasons)}" if choice.reasons else ""
        raise LookupError(
            f"the quarantine of {choice.connector} has no entry {', '.join(missing)}{kind}: "
            f"`widebeam quarantine list {choice.connector}` shows those that there are"
        )


def entries(session: Session, choice: Choice, limit: int | None = None) -> list[Entry]:
    """The entries, oldest first, up to a number of them."""
    query = f"SELECT {_COLUMNS} {_FROM} ORDER BY id LIMIT %(limit)s"
    return [Entry(*row) for row in session.execute(query, {**choice.parameters, "limit": limit})]


def batches(session: Session, choice: Choice) -> Iterator[list[Entry]]:
    """All entries that there are now, in the order of their positions; whoever takes them may delete them meanwhile.

    What has no position comes last. The order stands in the server (a cursor that outlives transactions), so that
    however many there are, they are sorted once, and only a batch of them is here. `session` is in autocommit.
    """
    order = f"SELECT id, octet_length(raw) {_FROM} {_IN_ORDER}"
    query = f"SELECT {_COLUMNS} {_FROM} {_IN_ORDER}"
    with session.cursor("widebeam_batches", withhold=True) as numbers:
        numbers.itersize = 10 * _AT_ONCE
        numbers.execute(order, choice.parameters)
        for some in _cut(numbers):
            found = session.execute(query, replace(choice, ids=some).parameters).fetchall()
            if found:
                yield [Entry(*row) for row in found]


def _cut(numbers: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    """Numbers of entries with the bytes of each, in batches of a bounded size."""
    some: list[int] = []
    size = 0
    for number, weight in numbers:
        if some and (len(some) >= _AT_ONCE or size + weight > _BYTES_AT_ONCE):
            yield some
            some, size = [], 0
        some.append(number)
        size += weight
    if some:
        yield some


def take_out(session: Session, connector: str, action: str, taken: Sequence[Entry], detail: dict[str, Any]) -> int:
    """Delete entries and say so in the audit log, whole, in the open transaction; how many were still there."""
    numbers = [entry.id for entry in taken]
    gone = session.execute(_DELETE, [connector, numbers]).fetchall()
    if gone:
        left = {row[0] for row in gone}
        kept = [{**entry._asdict(), "at": entry.at.isoformat()} for entry in taken if entry.id in left]
        session.execute(_AUDIT, [connector, action, Jsonb({**detail, "entries": kept})])
    return len(gone)


def discard(session: Session, choice: Choice, lock_patience: float = SECONDS) -> int:
    """Give entries up: they go, and the audit log keeps what they were. How many they were.

    A batch in a transaction; `session` is in autocommit. Raises LockHeld after so many seconds: what was discarded
    before is discarded.
    """
    discarded = 0
    doing = f"discarding from the quarantine of {choice.connector}"
    for some in batches(session, choice):
        with bounded(doing, session, seconds=lock_patience), session.transaction():
            gone = take_out(session, choice.connector, "quarantine discard", some, {})
            hit(Failpoint.DISCARD_TAKEN_OUT, session)
        hit(Failpoint.DISCARD_COMMITTED)
        discarded += gone
    return discarded


_COLUMNS: Final = "id, at, origin, position::text, reason, detail, raw"
_IN_ORDER: Final = "ORDER BY quarantine.position NULLS LAST, id"  # not by its text, which is selected under that name
_FROM: Final = (
    "FROM widebeam.quarantine WHERE connector = %(connector)s"
    " AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s::bigint[]))"
    " AND (%(reasons)s::text[] IS NULL OR reason = ANY(%(reasons)s::text[]))"
    " AND (%(newest)s::bigint IS NULL OR id <= %(newest)s::bigint)"
)
_DELETE: Final = "DELETE FROM widebeam.quarantine WHERE connector = %s AND id = ANY(%s) RETURNING id"
_AUDIT: Final = "INSERT INTO widebeam.audit (connector, action, detail) VALUES (%s, %s, %s)"
