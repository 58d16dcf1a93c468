"""Retrying: readings in quarantine get their place, after the mapping was mended.

The rule: an entry does not say what its cell has to hold, only that the cell may be wrong. What it has to hold is read
again from the source, and written at a standstill of the sinks (sink/state/standstill.py). Nothing is lost: the
source's row is the reading, or what overtook it. Nothing comes back: a row that was deleted is not there, and its cell
is cleared. Entries that were read by a chunk need no position for that, and bytes that can be decoded now neither.

Entries go in the order of their positions, a batch in a transaction: the sinks stand still for no more than its rows,
and what a crash leaves undone is still in quarantine. Between two batches anything may happen, to rows of the next one
and of the last one, also where entries of one row are in both: each batch reads its rows anew, so that it never puts
back what a later change has overtaken. Nobody's lock is waited for without a bound, and none of ours is held by a
process that stands still: the server ends a transaction that is idle, but not a COPY. So a batch is staged before the
locks are taken.

Where deletes are ignored (`on_delete = "ignore"`), a row that is gone says nothing: its entries stay in quarantine.
Where several source rows meet in a cell, all that can be in it are read, as the stream does it.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from cdc.failpoint import Failpoint, hit
from cdc.patience import SECONDS, bounded
from sink.fold.pivot import Fold
from sink.fold.rows import PartRows
from sink.fold.spread import spread_all
from sink.lookup import Lookup
from sink.mapping.interpret import Interpreters
from sink.mapping.mapping import Mapping
from sink.mapping.wide import Refused
from sink.merge import tombstones
from sink.merge.merge import Merger
from sink.merge.prepared import Prepared
from sink.merge.staged import LockedStage
from sink.state import standstill
from sink.state.standstill import Moved, Standing, Standstill, Unsteady
from sink.wide.partitions import days_in, for_all_parts
from sink.wide.registry import Registry
from widebeam.quarantine import store
from widebeam.quarantine.entry import Entry
from widebeam.quarantine.found import Finder, Found, mark
from widebeam.quarantine.quarantined_row import QuarantinedRow, QuarantinedRows, Retried, gathered
from widebeam.quarantine.store import Choice

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_REFUSED: Final = (psycopg.DataError, psycopg.IntegrityError)


class _Made(NamedTuple):
    """Rows as the source has had them, and what they can be staged in."""

    prepared: Prepared
    parts: list[PartRows]


class Retry:
    """Retries entries over two connections, both in autocommit.

    `patience` is how long writers are waited for (seconds), and `lock_patience` a lock in the target; `lookup` reads
    the dictionary, where the mapping has one. With `widen`, tables of any size are rewritten to widen a column.
    """

    def __init__(
        self,
        source: Session,
        target: Session,
        mapping: Mapping,
        patience: float = 10.0,
        lookup: Lookup | None = None,
        lock_patience: float = SECONDS,
        *,
        widen: bool = False,
    ) -> None:
        self._source, self._target, self._mapping = source, target, mapping
        self._lock_patience = lock_patience
        self._registry = Registry(mapping, rewrites=None) if widen else Registry(mapping)
        self._registry.refresh(target)
        self._merger = Merger(target, self._registry)
        self._lookup = lookup
        dictionary = None if lookup is None else lookup.dictionary
        partitions = standstill.positions(target, mapping.connector)
        self._finder = Finder((source, target), self._registry, Interpreters(mapping, dictionary), partitions)
        tables = [rule.table.table_name for rule in mapping.rules]
        self._standstill = Standstill(
            source, target, self._registry, tables, patience=patience, reached=Failpoint.RETRY_HELD
        )
        self.done = Retried()

    def run(self, choice: Choice) -> Retried:
        """Retry the chosen entries. Raises StillWriting, LockHeld; what was done before is done."""
        self.look_up()
        doing = f"retrying the quarantine of {choice.connector}"
        for some in store.batches(self._target, choice):
            cases, unread = gathered(some, self._mapping)
            self.done.add(unread)
            if cases:
                with bounded(doing, self._target, seconds=self._lock_patience):
                    self._settle(cases)
        return self.done

    def look_up(self) -> None:
        """Know what the dictionary says now."""
        if self._lookup is not None:
            self._lookup.refresh(self._target, registry=self._registry)

    def _settle(self, cases: QuarantinedRows) -> None:
        """All of them in one transaction; where the target refuses a value, they are halved until it is alone."""
        try:
            self._attempts(cases)
        except (*_REFUSED, Unsteady) as error:
            self._registry.refresh(self._target)
            self._finder.forget()
            items = list(cases.items())
            if len(items) > 1:
                self._settle(dict(items[: len(items) // 2]))
                self._settle(dict(items[len(items) // 2 :]))
            elif isinstance(error, Unsteady):
                raise
            else:
                _unfit(self.done, items[0][1], "bad_value", str(error).splitlines()[0])

    def _attempts(self, cases: QuarantinedRows) -> None:
        refused: Refused = {}
        done = self._standstill.overwrite(
            lambda: self._prepared(cases, refused),
            lambda made: self._place(cases, made, refused),
            "the rows in quarantine",
        )
        hit(Failpoint.RETRY_COMMITTED)
        self.done.add(done)

    def _prepared(self, cases: QuarantinedRows, refused: Refused) -> _Made | None:
        """The rows for whose staging all is made now, None where it was columns; `refused` grows."""
        self._finder.follow()
        fold = self._finder.find(cases, refused).fold
        if fold.needs:
            refused |= self._registry.ensure(self._target, fold.needs)
            return None
        days = {name: days_in(self._mapping, rows) for name, rows in fold.tables.items()}
        self._registry.cover(self._target, partial(for_all_parts, self._registry.entities, days))
        parts = spread_all(self._registry.entities, fold.tables)
        return _Made(self._merger.prepare(parts), parts)

    def _place(self, cases: QuarantinedRows, made: _Made, refused: Refused) -> Retried:
        """In the open transaction: stage, lock, read again, write, and take out what is settled. Raises Moved."""
        prepared, parts = made
        staged = prepared.stage([parts])
        if parts:
            hit(Failpoint.RETRY_STAGED)
        locked = staged.lock()
        standing = self._standstill.begin()
        found = self._finder.find(cases, refused)
        if found.fold.needs or spread_all(self._registry.entities, found.fold.tables) != parts:
            self._finder.forget()
            raise Moved
        self._write(found.fold, locked, standing)
        done = self._close(cases, found)
        hit(Failpoint.RETRY_TAKEN_OUT, self._target)
        return done

    def _write(self, fold: Fold, locked: LockedStage, standing: Standing) -> None:
        moments = None if self._mapping.plain else fold.moments
        cells = tombstones.cleared(self._mapping, self._registry.entities, fold.tables, moments)
        if tombstones.bury(self._target, self._mapping, cells):
            hit(Failpoint.RETRY_TOMBSTONED)
        locked.locate({mark(number): position for number, position in standing.positions.items()})
        locked.upsert()
        hit(Failpoint.RETRY_MERGED)

    def _close(self, cases: QuarantinedRows, found: Found) -> Retried:
        """Take out what is settled; what becomes of each, once that is committed."""
        unfit, done = self._finder.unfit(cases, found), Retried()
        settled: list[Entry] = []
        for number, (cell, case) in enumerate(cases.items()):
            if number in unfit:
                _unfit(done, case, *unfit[number])
            elif cell in found.rows:
                done.placed += case.ids
                settled += case.entries
            elif self._mapping.on_delete == "ignore":
                done.undecided += case.ids
            else:
                done.gone += case.ids
                settled += case.entries
        store.take_out(self._target, self._mapping.connector, "quarantine retry", settled, {})
        return done


def _unfit(done: Retried, case: QuarantinedRow, reason: str, detail: str) -> None:
    done.unfit |= dict.fromkeys(case.ids, (reason, detail))
