"""What the source has now of cases, folded as the stream would have brought it."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import psycopg

from cdc.event import Value
from cdc.lsn import Lsn
from cdc.record.envelope import encode_key
from cdc.record.partition import partition
from cdc.record.record import Changes, Op, Stamp
from sink.fold.column_route import Routes
from sink.fold.pivot import Fold
from sink.mapping.interpret import Interpreters
from sink.mapping.several import Cell as WideCell
from sink.mapping.wide import Refused
from sink.reread import CROWDED, settle
from sink.state.sharing import Sharing
from sink.wide.registry import Registry
from widebeam.quarantine import truth
from widebeam.quarantine.entry import Cell
from widebeam.quarantine.quarantined_row import QuarantinedRows

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class Found(NamedTuple):
    """The source's rows of cases, and what they come to. Instead of a position a wide row has its partition's mark."""

    rows: truth.Rows
    fold: Fold


class Finder:
    """Looks in the source for rows of cases.

    `sessions` are those of source and target, both in autocommit; `partitions` are the stream's.
    """

    def __init__(
        self,
        sessions: tuple[Session, Session],
        registry: Registry,
        interpreters: Interpreters,
        partitions: Sized,
    ) -> None:
        self._source, self._target = sessions
        self._mapping, self._interpreters = registry.mapping, interpreters
        self._routes = Routes(registry.mapping, registry.entities, first=1)
        self._partitions = max(1, len(partitions))
        self._sharing = Sharing(self._target, registry.mapping)

    def follow(self) -> None:
        """Know which columns are shared by now."""
        self._sharing.follow()

    def forget(self) -> None:
        """A transaction was undone, and the origins of columns that were written down in it."""
        self._sharing = Sharing(self._target, self._mapping)

    def find(self, cases: QuarantinedRows, refused: Refused) -> Found:
        """What there is of these cases. `refused` are keys that cannot have a column, as for a fold."""
        rows = self._read(cases)
        return Found(rows, self._fold(cases, rows, refused))

    def unfit(self, cases: QuarantinedRows, found: Found) -> dict[int, tuple[str, str]]:
        """Reason and detail of each case, by its number, whose row still has no place."""
        rows, fold = found
        unfit = {
            int(quarantine_entry.origin.split(":")[0]): (quarantine_entry.reason, quarantine_entry.detail)
            for quarantine_entry in fold.quarantine_entries
            if quarantine_entry.reason != CROWDED
        }
        for number, cell in enumerate(cases):
            if cell in rows and (met := self._crowded(cell, rows[cell], fold)) is not None:
                unfit.setdefault(number, (CROWDED, met))
        return unfit

    def _read(self, cases: QuarantinedRows) -> truth.Rows:
        found: truth.Rows = {}
        for rule in self._mapping.rules:
            mine = [cell for cell in cases if cell.table == rule.table.qualified]
            found |= truth.rows_of(self._source, rule, mine)
        return found

    def _fold(self, cases: QuarantinedRows, rows: truth.Rows, refused: Refused) -> Fold:
        taken = partial(self._taken, cases, rows, refused)
        fold = self._sharing.settled(taken(), taken)
        if fold.touched:
            settle(self._source, fold, self._mapping, self._interpreters)
        return fold

    def _taken(self, cases: QuarantinedRows, rows: truth.Rows, refused: Refused) -> Fold:
        fold = Fold(self._mapping, self._routes, refused, self._interpreters, origins=self._sharing.origins)
        for number, (cell, case) in enumerate(cases.items()):
            there: Sequence[tuple[Value, ...]] = rows.get(cell, ())
            if there:
                changed = [[Op.UPDATE.value, *row] for row in there]
            elif self._mapping.on_delete == "ignore":
                continue
            else:
                changed = [[Op.DELETE.value, *case.row.row]]
            fold.add(self._changes(cell, changed), str(number), escape=True)
        return fold

    def _changes(self, cell: Cell, rows: list[list[Value]]) -> Changes:
        """A record of these rows, as the stream would have brought it; instead of a position it says its partition."""
        rule = self._mapping.rule_of(cell.table)
        if rule is None:
            raise LookupError(f"the mapping has no table {cell.table}")
        place = partition(encode_key(rule.table.placed(cell.head)), self._partitions)
        stamp = Stamp(self._mapping.connector, 0, 0, mark(place), 0, 0)
        wide = dict(zip(rule.table.wide, cell.head, strict=True))
        return Changes(stamp, cell.table, wide, list(rule.table.carried), rows)

    def _crowded(self, cell: Cell, rows: Sequence[tuple[Value, ...]], fold: Fold) -> str | None:
        """What rows of a case meet in its cell, although none are to; None where none do."""
        for row in rows if fold.crowded else ():
            found = self._interpreters.of(cell.table).read(cell.head, row)
            for each in found if isinstance(found, list) else ():
                if (met := fold.crowded.get(WideCell(each.entity, each.time, each.key))) is not None:
                    return met
        return None


def mark(number: int) -> Lsn:
    """What is staged for a position that is not known before the locks are taken."""
    return Lsn(number)
