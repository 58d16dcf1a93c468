"""Healing: entries of the quarantine that nobody has to ask for: it is `quarantine retry` of them alone.

Readings that came before their entry of the dictionary get their place once it is there, some of them at a time; an id
that never comes costs nothing but being looked up.

What a chunk puts away it has read from a snapshot, and the stream may have brought a later change of its row before
the chunk was merged: then no change is to come that closes the entry. So it is looked at again once it is committed.
Where the source still has the row as the entry says it, each later change is applied after that, and closes it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final, TypeAlias

import psycopg

from cdc.halt import Halt
from cdc.patience import LockHeld
from cdc.source.session import connect
from cdc.source.writers import StillWriting
from sink.lookup import Lookup
from sink.mapping.interpret import Interpreters, Unplaced
from sink.mapping.mapping import Mapping
from sink.target import open_target
from widebeam.quarantine.quarantined_row import gathered
from widebeam.quarantine.retry import Retry
from widebeam.quarantine.store import Choice, batches
from widebeam.quarantine.truth import rows_of

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

AT_ONCE: Final = 20_000
"""Entries that are looked at in one go; the next ones come in the next."""
_UNKNOWN: Final = "unknown_id"
_NAME: Final = "widebeam-quarantine"
_NEXT: Final = (
    "SELECT id FROM widebeam.quarantine WHERE connector = %s AND reason = %s AND id > %s ORDER BY id LIMIT %s"
)
_LOG: Final = logging.getLogger(__name__)


class Healer:
    """Goes through the entries of unknown ids, from the oldest on and over again."""

    def __init__(self, source_dsn: str, target_dsn: str) -> None:
        self._source_dsn, self._target_dsn = source_dsn, target_dsn
        self._after = 0

    def look(self, target: Session, mapping: Mapping) -> int:
        """One go; how many entries found their place. Raises psycopg.Error."""
        if mapping.rule.dictionary is None:
            return 0
        found = target.execute(_NEXT, [mapping.connector, _UNKNOWN, self._after, AT_ONCE]).fetchall()
        self._after = found[-1][0] if len(found) == AT_ONCE else 0
        return self._heal(mapping, [number for (number,) in found]) if found else 0

    def _heal(self, mapping: Mapping, numbers: list[int]) -> int:
        with _retrying(self._source_dsn, self._target_dsn, mapping) as (retry, lookup, _, target):
            retry.look_up()
            known = list(_known(target, mapping, lookup, Choice(mapping.connector, numbers, [_UNKNOWN])))
            healed = _retried(retry, Choice(mapping.connector, known, [_UNKNOWN]), "whose ids are known by now")
        if healed:
            _LOG.info("%d readings left the quarantine: the dictionary knows their ids by now", healed)
        return healed


class Overtaken:
    """Looks at what chunks have put into quarantine; `mapping` tells it over a session with the target."""

    def __init__(self, source_dsn: str, target_dsn: str, mapping: Callable[[Session], Mapping]) -> None:
        self._source_dsn, self._target_dsn, self._mapping = source_dsn, target_dsn, mapping

    def __call__(self, numbers: Sequence[int]) -> None:
        """Settle those of the entries whose rows are others by now; the others at another time, if a server is away."""
        try:
            if numbers:
                self._look(numbers)
        except (psycopg.Error, TimeoutError) as away:
            _LOG.info("what chunks have put into quarantine is looked at again by the next backfill: %s", away)

    def _look(self, numbers: Sequence[int]) -> None:
        with open_target(self._target_dsn, _NAME) as known:
            mapping = self._mapping(known)
        with _retrying(self._source_dsn, self._target_dsn, mapping) as (retry, _, source, target):
            changed = list(_changed(source, target, mapping, Choice(mapping.connector, numbers)))
            if changed:
                retry.look_up()
                _retried(retry, Choice(mapping.connector, changed), "that the stream has overtaken")


@contextmanager
def _retrying(source_dsn: str, target_dsn: str, mapping: Mapping) -> Iterator[tuple[Retry, Lookup, Session, Session]]:
    """A retry, over sessions of its own."""
    with (
        open_target(target_dsn, _NAME) as target,
        connect(source_dsn, autocommit=True, application_name=_NAME) as source,
        closing(Lookup(source_dsn, mapping.connector, mapping.rule.dictionary)) as lookup,
    ):
        yield Retry(source, target, mapping, lookup=lookup), lookup, source, target


def _retried(retry: Retry, choice: Choice, which: str) -> int:
    """How many entries left the quarantine. What cannot be done now is done at another time."""
    if not choice.ids:
        return 0
    try:
        done = retry.run(choice)
    except (Halt, LockHeld, StillWriting, LookupError) as busy:
        _LOG.info("readings %s stay in quarantine for a while: %s", which, busy)
        return 0
    return len(done.placed) + len(done.gone)


def _changed(source: Session, target: Session, mapping: Mapping, choice: Choice) -> Iterator[int]:
    """Those of the entries whose rows the source has otherwise now, or not at all."""
    for some in batches(target, choice):
        rows, _ = gathered(some, mapping)
        for rule in mapping.rules:
            mine = [cell for cell in rows if cell.table == rule.table.qualified]
            found = rows_of(source, rule, mine)
            for cell in mine:
                if rows[cell].row.row not in found.get(cell, []):
                    yield from rows[cell].ids


def _known(target: Session, mapping: Mapping, lookup: Lookup, choice: Choice) -> Iterator[int]:
    """Those of the entries whose rows can be read with what the dictionary says now."""
    interpreters = Interpreters(mapping, lookup.dictionary)
    for some in batches(target, choice):
        rows, _ = gathered(some, mapping)
        for cell, quarantined in rows.items():
            read = interpreters.of(cell.table).read(cell.head, quarantined.row.row)
            if not (isinstance(read, Unplaced) and read.reason == _UNKNOWN):
                yield from quarantined.ids
    lookup.dictionary.missing.clear()
