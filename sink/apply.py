"""Applying a batch: fold it, see that its columns are there, and commit rows and progress in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import errors

from cdc.failpoint import Failpoint, hit
from sink.fold.batch import Batch
from sink.fold.column_route import Routes
from sink.fold.pivot import Fold
from sink.fold.record_cache import RecordCache
from sink.fold.rows import PartRows
from sink.fold.spread import spread_all
from sink.lock_order import LockOrder
from sink.lookup import Lookup
from sink.mapping.interpret import Interpreters
from sink.mapping.mapping import Mapping
from sink.mapping.wide import Refused
from sink.merge.merge import Merger
from sink.merge.prepared import Prepared
from sink.reread import SourceCells
from sink.state.sharing import Sharing
from sink.state.sources import joined
from sink.wide.partitions import days_of
from sink.wide.registry import Registry, Retyped

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_BAD_VALUE: Final = ("bad_value", "the target refuses this value")
_BAD_RECORD: Final = ("bad_value", "the target refuses a value of this record, whatever is left out of it")
"""Reasons for the quarantine and their details."""

_FOLDS: Final = 5
"""Attempts to fold a batch: at first, when the dictionary was read, when columns are made, widened, one to spare."""


MOST_TABLES: Final = 500
"""Wide tables in a transaction, if it has more than one record. Each is locked with its index until the end, and a
server as it is installed has room for some 7,000 locks of all sessions: without a bound, the sinks of thousands of
entities would fail for good."""


class TooManyTables(Exception):
    """A batch is for so many wide tables that only a `share` of it may be one. Nothing of it is applied."""

    def __init__(self, tables: int) -> None:
        super().__init__(f"a batch is for {tables} wide tables")
        self.share = MOST_TABLES / tables


@dataclass(slots=True)
class _Folded:
    """A batch's rows ready to be merged, by part table, in the order in which tables are locked."""

    fold: Fold
    parts: list[PartRows]


class Applier:
    """Applies batches over one target connection, which is in autocommit. Lives as long as the connection."""

    def __init__(
        self,
        connection: Connection,
        mapping: Mapping,
        registry: Registry,
        lookup: Lookup | None = None,
        cells: SourceCells | None = None,
    ) -> None:
        self._connection = connection
        self._mapping = mapping
        self._registry = registry
        self._lookup = lookup
        self._cells = cells
        self._sharing = Sharing(connection, mapping, readable=cells is not None)
        self._interpreters = self._new_interpreters()
        self._routes = Routes(mapping, registry.entities, first=1)
        self._record_cache = RecordCache(self._routes)
        self._merger = Merger(connection, registry)

    def apply(self, batch: Batch, *, undo: bool = False) -> None:
        """Apply the batch. Raises Fenced, TooManyTables, or the database's error; nothing is applied then.

        (Or everything is, when the answer to COMMIT was lost: the target's progress tells.) With `undo` nothing is
        applied: it only shows whether there is an error.
        """
        if not self._mapping.plain:
            self._prepare_to_interpret(batch)
        folded = self._folded(batch)
        if len(folded.parts) > MOST_TABLES and len(batch.entries) > 1:
            raise TooManyTables(len(folded.parts))
        try:
            self._commit(batch, folded, undo=undo)
        except Retyped:
            self._registry.refresh(self._connection)
            folded.parts = spread_all(self._registry.entities, folded.fold.tables)
            self._commit(batch, folded, undo=undo)
        except errors.CheckViolation:  # somebody has dropped a partition; or has a constraint, which is said again
            if self._mapping.partition_by is None:
                raise
            self._commit(batch, folded, undo=undo, anew=True)

    def _commit(self, batch: Batch, folded: _Folded, *, undo: bool, anew: bool = False) -> None:
        self._registry.cover(self._connection, lambda: days_of(self._mapping, folded.parts), anew=anew)
        ready = self._merger.few(folded.parts) or self._merger.prepare(folded.parts)
        with self._connection.transaction(force_rollback=undo):
            # Before any lock: a process that is stopped in mid-COPY must not hold up its partitions' next owner.
            staged = ready.stage([folded.parts]) if isinstance(ready, Prepared) else ready
            if folded.parts:
                hit(Failpoint.SINK_STAGED)
            LockOrder(self._connection, self._mapping, self._registry).write(staged, batch, folded.fold)
        hit(Failpoint.SINK_COMMITTED)

    def _folded(self, batch: Batch) -> _Folded:
        refused: Refused = {}
        for attempt in range(_FOLDS):
            fold = self._fold(batch, refused)
            if self._interpreters.dictionary.missing:
                self._look_up(batch)
                fold = self._fold(batch, refused)
                self._interpreters.dictionary.missing.clear()
            if not fold.needs:
                return _Folded(fold, spread_all(self._registry.entities, fold.tables))
            if attempt == 0 and self._lookup is not None:  # an entry may have been renamed: that makes no new column
                self._lookup.refresh(self._connection, registry=self._registry)
                continue
            refused |= self._registry.ensure(self._connection, fold.needs)
            if self._lookup is not None:
                self._lookup.follow(self._connection, self._registry)
        raise LookupError(f"no columns came about for {list(fold.needs)[:5]}")

    def _fold(self, batch: Batch, refused: Refused) -> Fold:
        fold = self._sharing.settled(self._taken(batch, refused), partial(self._taken, batch, refused))
        if fold.touched:
            self._read_again(fold)
        return fold

    def _taken(self, batch: Batch, refused: Refused) -> Fold:
        known = self._interpreters, self._record_cache, self._sharing.origins
        fold = Fold(self._mapping, self._routes, refused, *known)
        for entry in batch.entries:
            if entry.poison.whole:
                fold.reject(entry.changes, entry.origin, *_BAD_RECORD)
            elif entry.poison.rows:
                fold.withhold(entry.changes, entry.origin, entry.poison.rows, *_BAD_VALUE)
            else:
                fold.add(entry.changes, entry.origin, escape=entry.escape)
        return fold

    def _read_again(self, fold: Fold) -> None:
        """Cells in which several rows can meet: what holds is read from the source."""
        if self._cells is None:
            raise LookupError("several source rows can meet in a cell, and the sink was not told where the source is")
        self._cells.settle(fold, self._mapping, self._interpreters)

    def _new_interpreters(self) -> Interpreters:
        return Interpreters(self._mapping, None if self._lookup is None else self._lookup.dictionary)

    def _prepare_to_interpret(self, batch: Batch) -> None:
        """Know the tables that have joined meanwhile, and what their ids mean by now."""
        tables = {entry.changes.table for entry in batch.entries}
        new = any(table not in self._mapping.tables and self._mapping.owns(table) for table in tables)
        # Rows of a table that this sink has had no record of yet can meet those of others in a cell.
        if new or (self._mapping.family is not None and self._cells is not None):
            self._mapping = joined(self._connection, self._mapping)
            self._interpreters = self._new_interpreters()
        self._sharing.follow()
        if self._lookup is not None:
            self._lookup.follow(self._connection, self._registry)

    def _look_up(self, batch: Batch) -> None:
        """An id is unknown: its entry was committed before its readings, or with them, so it is visible with them."""
        if self._lookup is not None:
            xids = {entry.changes.stamp.xid for entry in batch.entries}
            self._lookup.refresh(self._connection, xids, self._registry)
