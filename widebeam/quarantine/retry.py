"""Retrying: readings in quarantine get their place, after the mapping was mended.

The rule: an entry does not say what its cell has to hold, only that the cell may be wrong. What it has to hold is read
again from the source, and written while no sink can advance: all partitions' progress is locked first, then the
writers of the narrow table are waited for, and then the source is read. So what is written is at least as new as all
that was applied, and everything newer is still to come by the stream, which puts it over it. Nothing is lost: the
source's row is the reading, or what overtook it. Nothing comes back: a row that was deleted is not there, and its cell
is cleared. Entries that were read by a chunk need no position for that, and bytes that can be decoded now neither.

Entries go in the order of their positions, a batch in a transaction: the sinks stand still for no more than its rows,
and what a crash leaves undone is still in quarantine. Between two batches anything may happen, to rows of the next one
and of the last one, also where entries of one row are in both: each batch reads its rows anew, so that it never puts
back what a later change has overtaken. Nobody's lock is waited for without a bound, and none of ours is held by a
process that stands still: the server ends a transaction that is idle, but not a COPY. So a batch is staged before the
locks are taken, as the source has it then, and if it has anything else once they are, all is done anew.

Where deletes are ignored (`on_delete = "ignore"`), a row that is gone says nothing: its entries stay in quarantine.
Where several source rows meet in a cell, all that can be in it are read, as the stream does it.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, TypeAlias

import psycopg

from cdc.failpoint import Failpoint, hit
from cdc.lsn import Lsn
from cdc.patience import SECONDS, bounded
from sink.fold.pivot import Fold
from sink.fold.rows import PartRows, spread_all
from sink.lookup import Lookup
from sink.mapping.interpret import Interpreters
from sink.mapping.mapping import Mapping
from sink.mapping.wide import Refused
from sink.merge import tombstones
from sink.merge.merge import Merger
from sink.state import account
from sink.wide.partitions import days_in, for_all_parts
from sink.wide.registry import Registry, Retyped
from widebeam.quarantine import store, truth
from widebeam.quarantine.entry import Entry
from widebeam.quarantine.found import Finder, Found, mark
from widebeam.quarantine.quarantined_row import QuarantinedRow, QuarantinedRows, Retried, gathered
from widebeam.quarantine.store import Choice

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_ATTEMPTS: Final = 6
_REFUSED: Final = (psycopg.DataError, psycopg.IntegrityError)


class _Again(Exception):
    """Meanwhile the source has come to have something else, which is not staged."""


class _Unsteady(Exception):
    """So it was at each attempt."""


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
        self._patience, self._lock_patience = patience, lock_patience
        self._registry = Registry(mapping, rewrites=None) if widen else Registry(mapping)
        self._registry.refresh(target)
        self._merger = Merger(target, mapping)
        self._lookup = lookup
        dictionary = None if lookup is None else lookup.dictionary
        self._finder = Finder((source, target), self._registry, Interpreters(mapping, dictionary), self._positions())
        self._names = [truth.quoted_name(source, rule.table) for rule in mapping.rules]
        self.done = Retried()

    def run(self, choice: Choice) -> Retried:
        """Retry the chosen entries. Raises truth.StillWriting, LockHeld; what was done before is done."""
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
        except (*_REFUSED, _Unsteady) as error:
            self._registry.refresh(self._target)
            self._finder.forget()
            items = list(cases.items())
            if len(items) > 1:
                self._settle(dict(items[: len(items) // 2]))
                self._settle(dict(items[len(items) // 2 :]))
            elif isinstance(error, _Unsteady):
                raise LookupError("a row in quarantine changes faster than it can be placed: try again") from error
            else:
                _unfit(self.done, items[0][1], "bad_value", str(error).splitlines()[0])

    def _attempts(self, cases: QuarantinedRows) -> None:
        refused: Refused = {}
        for _ in range(_ATTEMPTS):
            self._finder.follow()
            fold = self._finder.find(cases, refused).fold
            if fold.needs:
                refused |= self._registry.ensure(self._target, fold.needs)
                continue
            days = {name: days_in(self._mapping, rows) for name, rows in fold.tables.items()}
            self._registry.cover(self._target, partial(for_all_parts, self._registry.entities, days))
            parts = spread_all(self._registry.entities, fold.tables)
            self._merger.prepare(parts, self._registry.changes)
            try:
                with self._target.transaction():
                    done = self._place(cases, parts, refused)
            except (_Again, Retyped):
                self._registry.refresh(self._target)
                self._finder.forget()
                continue
            hit(Failpoint.RETRY_COMMITTED)
            self.done.add(done)
            return
        raise _Unsteady

    def _place(self, cases: QuarantinedRows, parts: list[PartRows], refused: Refused) -> Retried:
        """In the open transaction: stage, lock, read again, write, and take out what is settled."""
        self._merger.stage(*parts)
        if parts:
            hit(Failpoint.RETRY_STAGED)
        self._registry.hold(self._target)
        positions = self._lock()
        hit(Failpoint.RETRY_HELD)
        truth.await_writers(self._source, self._names, self._patience)
        found = self._finder.find(cases, refused)
        if found.fold.needs or spread_all(self._registry.entities, found.fold.tables) != parts:
            raise _Again
        self._write(found.fold, parts, positions)
        done = self._close(cases, found)
        hit(Failpoint.RETRY_TAKEN_OUT, self._target)
        return done

    def _write(self, fold: Fold, parts: list[PartRows], positions: dict[int, Lsn]) -> None:
        moments = None if self._mapping.plain else fold.moments
        cells = tombstones.cleared(self._mapping, self._registry.entities, fold.tables, moments)
        if tombstones.bury(self._target, self._mapping, cells):
            hit(Failpoint.RETRY_TOMBSTONED)
        self._merger.locate({mark(number): position for number, position in positions.items()})
        self._merger.upsert(*parts)
        hit(Failpoint.RETRY_MERGED)

    def _lock(self) -> dict[int, Lsn]:
        """Stop the sinks; how far each partition is, which becomes its rows' `_lsn`: nothing applied is later."""
        account.stop_all(self._target, self._mapping.connector)
        return self._positions()

    def _positions(self) -> dict[int, Lsn]:
        rows = self._target.execute(_POSITIONS, [self._mapping.connector])
        return {number: Lsn.parse(text) for number, text in rows}

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


_POSITIONS: Final = (
    "SELECT partition, greatest(high, cutoff)::text FROM widebeam.progress JOIN widebeam.connectors USING (connector)"
    " WHERE connector = %s"
)
