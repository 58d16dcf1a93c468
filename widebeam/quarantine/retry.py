"""Retrying: readings in quarantine get their place, after the mapping was mended.

The rule: an entry does not say what its cell has to hold, only that the cell may be wrong. What it has to hold is read
again from the source, and written while no sink can advance: all partitions' progress is locked first, then the
writers of the narrow table are waited for, and then the source is read. So what is written is at least as new as all
that was applied, and everything newer is still to come by the stream, which puts it over it. Nothing is lost: the
source's row is the reading, or what overtook it. Nothing comes back: a row that was deleted is not there, and its cell
is cleared. Entries that were read by a chunk need no position for that, and bytes that can be decoded now neither.

Where deletes are ignored (`on_delete = "ignore"`), a row that is gone says nothing: its entries stay in quarantine.
Where several source rows meet in a cell, all that can be in it are read, as the stream does it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

import psycopg

from cdc.envelope import encode_key
from cdc.event import Value
from cdc.lsn import Lsn
from cdc.partition import partition
from cdc.record import Changes, Op, Stamp
from sink import account, origins, tombstones
from sink.interpret import Interpreters
from sink.lookup import Lookup
from sink.mapping import Mapping
from sink.merge import Merger
from sink.origin import Origins, may_meet
from sink.partitions import days_in, for_all_parts
from sink.pivot import Fold
from sink.registry import Registry, Retyped
from sink.reread import CROWDED, settle
from sink.route import Routes
from sink.rows import spread_all, whole
from sink.several import Cell as WideCell
from sink.wide import Refused
from widebeam.quarantine import shelf, truth
from widebeam.quarantine.entry import Cell, Entry, Narrow, narrow_rows, why_unread
from widebeam.quarantine.shelf import Choice

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_ATTEMPTS: Final = 4
_REFUSED: Final = (psycopg.DataError, psycopg.IntegrityError)


@dataclass(slots=True)
class Retried:
    """What became of entries, by their numbers.

    `placed`: their cells hold what the source has now; `gone`: the source has no such row any more, and their cells
    are empty. The others stay in quarantine: `unfit` with the reason that holds now, `unread` because they say no
    source row of this connector, `undecided` because the row is gone and deletes are ignored.
    """

    placed: list[int] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    unfit: dict[int, tuple[str, str]] = field(default_factory=dict)
    unread: dict[int, str] = field(default_factory=dict)
    undecided: list[int] = field(default_factory=list)

    @property
    def stayed(self) -> int:
        """How many are still in quarantine."""
        return len(self.unfit) + len(self.unread) + len(self.undecided)


@dataclass(slots=True)
class _Case:
    """One source row, and the entries that speak of it. `row` is as the newest of them has it."""

    row: Narrow
    entries: list[Entry] = field(default_factory=list)

    @property
    def ids(self) -> list[int]:
        return [entry.id for entry in self.entries]


Cases: TypeAlias = "dict[Cell, _Case]"


class _Again(Exception):
    """Meanwhile a row came to need a column that is not there."""


class Retry:
    """Retries entries over two connections, both in autocommit.

    `patience` is how long writers are waited for (seconds); `lookup` reads the dictionary, where the mapping has one.
    """

    def __init__(
        self,
        source: Session,
        target: Session,
        mapping: Mapping,
        patience: float = 10.0,
        lookup: Lookup | None = None,
    ) -> None:
        self._source, self._target, self._mapping, self._patience = source, target, mapping, patience
        self._registry = Registry(mapping)
        self._registry.refresh(target)
        self._routes = Routes(mapping, self._registry.entities, first=1)
        self._merger = Merger(target, mapping)
        self._lookup = lookup
        self._interpreters = Interpreters(mapping, None if lookup is None else lookup.dictionary)
        self._origins = Origins() if may_meet(mapping) else None
        self._names = [truth.quoted_name(source, rule.table) for rule in mapping.rules]
        self.done = Retried()

    def run(self, choice: Choice) -> Retried:
        """Retry the chosen entries, oldest first. Raises truth.StillWriting; what was done before is done."""
        if self._lookup is not None:
            self._lookup.refresh(self._target, registry=self._registry)
        if self._origins is not None:
            origins.follow(self._target, self._mapping.connector, self._origins)
        for some in shelf.some_at_a_time(self._target, choice):
            cases = self._cases(some)
            if cases:
                self._settle(cases)
        return self.done

    def _cases(self, some: Iterable[Entry]) -> Cases:
        cases: Cases = {}
        for entry in some:
            rows = [(row.cell(self._mapping), row) for row in narrow_rows(entry, self._mapping)]
            cells = [(cell, row) for cell, row in rows if cell is not None]
            if len(cells) != 1:  # none; or a whole record, which goes row by row when its sink reads it again
                self.done.unread[entry.id] = why_unread(entry, self._mapping)
            for cell, row in cells if len(cells) == 1 else []:
                case = cases.setdefault(cell, _Case(row))
                case.row = row
                case.entries.append(entry)
        return cases

    def _settle(self, cases: Cases) -> None:
        """All of them in one transaction; where the target refuses a value, they are halved until it is alone."""
        try:
            self._attempts(cases)
        except _REFUSED as error:
            items = list(cases.items())
            if len(items) == 1:
                self._unfit(items[0][1], "bad_value", str(error).splitlines()[0])
            else:
                self._settle(dict(items[: len(items) // 2]))
                self._settle(dict(items[len(items) // 2 :]))

    def _attempts(self, cases: Cases) -> None:
        refused: Refused = {}
        for _ in range(_ATTEMPTS):
            fold = self._fold(cases, self._read(cases), {}, refused)
            if fold.needs:
                refused |= self._registry.ensure(self._target, fold.needs)
                continue
            days = {name: days_in(self._mapping, rows) for name, rows in fold.tables.items()}
            self._registry.cover(self._target, partial(for_all_parts, self._registry.entities, days))
            self._merger.prepare(whole(self._registry.entities, fold.tables), self._registry.changes)
            try:
                with self._target.transaction():
                    self._place(cases, refused)
            except (_Again, Retyped):
                self._registry.refresh(self._target)
                continue
            return
        raise LookupError("the rows in quarantine are changed faster than columns can be made for them: try again")

    def _place(self, cases: Cases, refused: Refused) -> None:
        """In the open transaction: lock, read, write."""
        self._registry.hold(self._target)
        positions = self._lock()
        truth.await_writers(self._source, self._names, self._patience)
        rows = self._read(cases)
        fold = self._fold(cases, rows, positions, refused)
        if fold.needs:
            raise _Again
        moments = None if self._mapping.plain else fold.moments
        cells = tombstones.cleared(self._mapping, self._registry.entities, fold.tables, moments)
        tombstones.bury(self._target, self._mapping, cells)
        for part_rows in spread_all(self._registry.entities, fold.tables):
            self._merger.stage(part_rows)
            self._merger.upsert(part_rows)
        self._close(cases, rows, fold)

    def _lock(self) -> dict[int, Lsn]:
        """Stop the sinks; how far each partition is, which becomes its rows' `_lsn`: nothing applied is later."""
        connector = self._mapping.connector
        account.stop_all(self._target, connector)
        return {number: Lsn.parse(text) for number, text in self._target.execute(_POSITIONS, [connector])}

    def _read(self, cases: Cases) -> truth.Rows:
        found: truth.Rows = {}
        for rule in self._mapping.rules:
            mine = [cell for cell in cases if cell.table == rule.table.qualified]
            found |= truth.rows_of(self._source, rule, mine)
        return found

    def _fold(self, cases: Cases, rows: truth.Rows, positions: dict[int, Lsn], refused: Refused) -> Fold:
        fold = self._taken(cases, rows, positions, refused)
        while self._origins is not None and origins.write(self._target, self._mapping.connector, self._origins):
            fold = self._taken(cases, rows, positions, refused)
        if fold.touched:
            settle(self._source, fold, self._mapping, self._interpreters)
        return fold

    def _taken(self, cases: Cases, rows: truth.Rows, positions: dict[int, Lsn], refused: Refused) -> Fold:
        fold = Fold(self._mapping, self._routes, refused, self._interpreters, origins=self._origins)
        for number, (cell, case) in enumerate(cases.items()):
            there: Sequence[tuple[Value, ...]] = rows.get(cell, ())
            if there:
                changed = [[Op.UPDATE.value, *row] for row in there]
            elif self._mapping.on_delete == "ignore":
                continue
            else:
                changed = [[Op.DELETE.value, *case.row.row]]
            fold.add(self._changes(cell, changed, positions), str(number), escape=True)
        return fold

    def _changes(self, cell: Cell, rows: list[list[Value]], positions: dict[int, Lsn]) -> Changes:
        """A record of these rows, as the stream would have brought it."""
        rule = self._mapping.rule_of(cell.table)
        if rule is None:
            raise LookupError(f"the mapping has no table {cell.table}")
        place = partition(encode_key(rule.table.placed(cell.head)), len(positions)) if positions else 0
        stamp = Stamp(self._mapping.connector, 0, 0, positions.get(place, Lsn(0)), 0, 0)
        wide = dict(zip(rule.table.wide, cell.head, strict=True))
        return Changes(stamp, cell.table, wide, list(rule.table.carried), rows)

    def _close(self, cases: Cases, rows: truth.Rows, fold: Fold) -> None:
        """Take out what is settled, and note what became of each."""
        unfit = {
            int(misfit.origin.split(":")[0]): (misfit.reason, misfit.detail)
            for misfit in fold.misfits
            if misfit.reason != CROWDED
        }
        settled: list[Entry] = []
        for number, (cell, case) in enumerate(cases.items()):
            if cell in rows and (met := self._crowded(cell, rows[cell], fold)) is not None:
                unfit.setdefault(number, (CROWDED, met))
            if number in unfit:
                self._unfit(case, *unfit[number])
            elif cell in rows:
                self.done.placed += case.ids
                settled += case.entries
            elif self._mapping.on_delete == "ignore":
                self.done.undecided += case.ids
            else:
                self.done.gone += case.ids
                settled += case.entries
        shelf.take_out(self._target, self._mapping.connector, "quarantine retry", settled, {})

    def _crowded(self, cell: Cell, rows: Sequence[tuple[Value, ...]], fold: Fold) -> str | None:
        """What rows of a case meet in its cell, although none are to; None where none do."""
        for row in rows if fold.crowded else ():
            found = self._interpreters.of(cell.table).read(cell.head, row)
            for each in found if isinstance(found, list) else ():
                if (met := fold.crowded.get(WideCell(each.entity, each.time, each.key))) is not None:
                    return met
        return None

    def _unfit(self, case: _Case, reason: str, detail: str) -> None:
        self.done.unfit.update((number, (reason, detail)) for number in case.ids)


_POSITIONS: Final = (
    "SELECT partition, greatest(high, cutoff)::text FROM widebeam.progress JOIN widebeam.connectors USING (connector)"
    " WHERE connector = %s"
)
