"""The quarantine's table: what lies in it, by reason or number, and what is taken out of it for good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg.types.json import Jsonb

from widebeam.quarantine.entry import Entry

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Choice:
    """Which entries of a connector: those with these numbers and reasons; an empty list is no restriction."""

    connector: str
    ids: Sequence[int] = ()
    reasons: Sequence[str] = ()

    @property
    def parameters(self) -> dict[str, Any]:
        """For the statements below."""
        return {"connector": self.connector, "ids": list(self.ids) or None, "reasons": list(self.reasons) or None}


class Heap(NamedTuple):
    """All entries of one reason."""

    reason: str
    entries: int
    first: Any
    last: Any


def heaps(session: Session, choice: Choice) -> list[Heap]:
    """How many entries there are of each reason, and when the first and the last one came."""
    query = f"SELECT reason, count(*), min(at), max(at) {_FROM} GROUP BY reason ORDER BY 2 DESC, 1"
    return [Heap(*row) for row in session.execute(query, choice.parameters)]


def entries(session: Session, choice: Choice, limit: int | None = None) -> list[Entry]:
    """The entries, oldest first, up to a number of them."""
    query = f"SELECT {_COLUMNS} {_FROM} ORDER BY id LIMIT %(limit)s"
    return [Entry(*row) for row in session.execute(query, {**choice.parameters, "limit": limit})]


def some_at_a_time(session: Session, choice: Choice) -> Iterator[list[Entry]]:
    """All entries that there are now, oldest first; whoever takes them may delete them meanwhile."""
    query = f"SELECT {_COLUMNS} {_FROM} AND id > %(after)s AND id <= %(last)s ORDER BY id LIMIT %(limit)s"
    row = session.execute(f"SELECT coalesce(max(id), 0) {_FROM}", choice.parameters).fetchone()
    after, last = 0, row[0] if row else 0
    while True:
        parameters = {**choice.parameters, "after": after, "last": last, "limit": _AT_ONCE}
        found = [Entry(*row) for row in session.execute(query, parameters)]
        if not found:
            return
        yield found
        after = found[-1].id


def take_out(session: Session, connector: str, action: str, taken: Sequence[Entry], detail: dict[str, Any]) -> int:
    """Delete entries and say so in the audit log, whole, in the open transaction; how many were still there."""
    numbers = [entry.id for entry in taken]
    gone = session.execute(_DELETE, [connector, numbers]).fetchall()
    if gone:
        left = {row[0] for row in gone}
        kept = [{**entry._asdict(), "at": entry.at.isoformat()} for entry in taken if entry.id in left]
        session.execute(_AUDIT, [connector, action, Jsonb({**detail, "entries": kept})])
    return len(gone)


def discard(session: Session, choice: Choice) -> int:
    """Give entries up: they go, and the audit log keeps what they were. How many they were."""
    discarded = 0
    for some in some_at_a_time(session, choice):
        with session.transaction():
            discarded += take_out(session, choice.connector, "quarantine discard", some, {})
    return discarded


_COLUMNS: Final = "id, at, origin, position::text, reason, detail, raw"
_FROM: Final = (
    "FROM widebeam.quarantine WHERE connector = %(connector)s"
    " AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s::bigint[]))"
    " AND (%(reasons)s::text[] IS NULL OR reason = ANY(%(reasons)s::text[]))"
)
_DELETE: Final = "DELETE FROM widebeam.quarantine WHERE connector = %s AND id = ANY(%s) RETURNING id"
_AUDIT: Final = "INSERT INTO widebeam.audit (connector, action, detail) VALUES (%s, %s, %s)"
