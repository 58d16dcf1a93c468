"""Healing: readings that came before their entry of the dictionary get their place once it is there.

Nobody has to ask for it. It is `quarantine retry` of those entries alone whose ids are known by now, some of them at a
time; an id that never comes costs nothing but being looked up.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
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

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

AT_ONCE: Final = 20_000
"""Entries that are looked at in one go; the next ones come in the next."""
_UNKNOWN: Final = "unknown_id"
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
        lookup = Lookup(self._source_dsn, mapping.connector, mapping.rule.dictionary)
        with (
            open_target(self._target_dsn, "widebeam-quarantine") as target,
            connect(self._source_dsn, autocommit=True, application_name="widebeam-quarantine") as source,
            closing(lookup),
        ):
            retry = Retry(source, target, mapping, lookup=lookup)
            retry.look_up()
            choice = Choice(mapping.connector, numbers, [_UNKNOWN])
            known = list(_known(target, mapping, lookup, choice))
            if not known:
                return 0
            try:
                done = retry.run(Choice(mapping.connector, known, [_UNKNOWN]))
            except (Halt, LockHeld, StillWriting, LookupError) as busy:
                _LOG.info("readings whose ids are known by now stay in quarantine for a while: %s", busy)
                return 0
        healed = len(done.placed) + len(done.gone)
        _LOG.info("%d readings left the quarantine: the dictionary knows their ids by now", healed)
        return healed


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
