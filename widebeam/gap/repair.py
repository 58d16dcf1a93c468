"""Repairing a range: every cell gets what the source has now, and what the source has not is cleared.

What differs is read and written at a standstill of the sinks (sink/state/standstill.py), so a cell that the new stream
touched wins. Only ranges whose sums differ are locked for; where they are equal without a lock, every cell was what the
source had at some moment after the gate, and all later changes of it are in the stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from time import monotonic
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from cdc.event import Value
from cdc.failpoint import Failpoint, hit
from cdc.lsn import Lsn
from cdc.record.record import Changes, Op, Stamp
from sink.fold.column_route import Routes
from sink.fold.pivot import Fold
from sink.fold.quarantine_entry import QuarantineEntry, quarantine_entry
from sink.fold.spread import spread_all, whole
from sink.mapping.interpret import Reading, Unplaced
from sink.mapping.mapping import Mapping
from sink.mapping.several import SourceRow
from sink.mapping.wide import Refused
from sink.merge.merge import Merger
from sink.merge.prepared import Prepared
from sink.state import quarantine
from sink.state.standstill import Moved, Standstill
from sink.wide.partitions import days_in, for_all_parts
from sink.wide.registry import Registry
from snapshot.chunks import ledger
from snapshot.chunks.plan import Chunk
from widebeam.verify.cells import Narrow, Wide
from widebeam.verify.quarantined import Shelved
from widebeam.verify.range_reader import PIECE_ROWS, Found, RangeReader, lighter
from widebeam.verify.staged import Differing, Lack, Staged

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_PATIENCE: Final = 3.0
"""Seconds that writers are waited for; the sinks stand still meanwhile. Then the range rests, and is tried again."""


class _Look(NamedTuple):
    """What a range comes to in the source, and the cells of the wide tables that differ from it."""

    found: Found
    differing: Differing


class RangeRepair:
    """Repairs ranges over a session in the source (the primary) and one in the target, both in autocommit."""

    def __init__(self, source: Session, target: Session, mapping: Mapping) -> None:
        self._source, self._target, self._mapping = source, target, mapping
        self._registry = Registry(mapping)
        self._registry.refresh(target)
        self._reader = RangeReader(source, target, mapping)
        self._shelved = Shelved(target, mapping, self._reader.interpreters)
        self._staged = Staged(target, self._registry)
        self._merger = Merger(target, self._registry)
        self._sums = (Narrow(source, mapping), Wide(target, self._registry)) if mapping.plain else None
        tables = [rule.table.table_name for rule in mapping.rules]
        self._standstill = Standstill(
            source, target, self._registry, tables, patience=_PATIENCE, reached=Failpoint.REPAIR_HELD
        )
        # What a purge removed from the narrow table stays in the wide ones.
        self.outlives = "ignore" in (mapping.on_delete, mapping.on_truncate)

    def __call__(self, chunk: Chunk, began: float) -> None:
        """Compare the range, and set what differs; in the ledger it is merged then. Raises StillWriting."""
        self._registry.refresh(self._target)
        rows = cells = 0
        pieces = [] if self._equal(chunk) else lighter(self._source, self._mapping, chunk, PIECE_ROWS)
        for piece in pieces:
            if len(pieces) == 1 or not self._equal(piece):
                found, set_ = self._mend(piece)
                rows, cells = rows + found, cells + set_
        with self._target.transaction():
            if ledger.lock(self._target, self._mapping.connector, chunk.number):
                seconds = monotonic() - began
                ledger.mark_merged(
                    self._target, self._mapping.connector, chunk.number, rows=rows, cells=cells, seconds=seconds
                )

    def lacking(self, chunk: Chunk) -> Iterator[Lack]:
        """The cells of a range that would be cleared, in the order of its pieces; nothing is set."""
        for piece in [] if self._equal(chunk) else lighter(self._source, self._mapping, chunk, PIECE_ROWS):
            self._staged.take_there(piece)
            self._staged.take_should(self._reader.read(piece).cells.items())
            yield from self._staged.lacking()

    def view(self, entity: str) -> str:
        """The view of an entity, by its identity."""
        return self._registry.entities[entity].view

    def _mend(self, piece: Chunk) -> tuple[int, int]:
        """Set what differs in a piece of a range: how many narrow rows there were, and how many cells differed."""
        refused: Refused = {}
        return self._standstill.overwrite(
            lambda: self._prepared(piece, refused),
            lambda prepared: self._repair(piece, refused, prepared),
            f"the rows of range {piece.number}",
        )

    def _prepared(self, piece: Chunk, refused: Refused) -> Prepared | None:
        """For the rows as they are now, None where it was columns; `refused` grows."""
        fold, _ = self._fold(piece, self._look(piece), Lsn(0), refused)
        if fold.needs:
            refused |= self._registry.ensure(self._target, fold.needs)
            return None
        days = {name: days_in(self._mapping, rows) for name, rows in fold.tables.items()}
        self._registry.cover(self._target, partial(for_all_parts, self._registry.entities, days))
        return self._merger.prepare(whole(self._registry.entities, fold.tables, clears=True))

    def _equal(self, chunk: Chunk) -> bool:
        """The databases' own sums of the range agree; False, too, where they cannot be asked for them."""
        if self._sums is None or self.outlives:
            return False
        narrow, wide = (side.by_range([chunk]).get(0, (0, 0, 0)) for side in self._sums)
        return narrow[1:] == wide[1:]

    def _repair(self, chunk: Chunk, refused: Refused, prepared: Prepared) -> tuple[int, int]:
        """In the open transaction: lock, read, write. Raises Moved, Unprepared."""
        held = prepared.hold()
        standing = self._standstill.begin()
        self._registry.refresh(self._target)
        look = self._look(chunk)
        fold, quarantine_entries = self._fold(chunk, look, standing.furthest, refused)
        if fold.needs:
            raise Moved
        if not ledger.lock(self._target, self._mapping.connector, chunk.number):
            return 0, 0  # it is not open any more: a truncate made it void, or another gap
        held.upsert(spread_all(self._registry.entities, fold.tables))
        quarantine.write(self._target, self._mapping.connector, quarantine_entries)
        hit(Failpoint.REPAIR_MERGED)
        return look.found.rows, len(look.differing)

    def _look(self, chunk: Chunk) -> _Look:
        self._staged.take_there(chunk)
        found = self._reader.read(chunk, keep_rows=True)
        self._staged.take_should(found.cells.items())
        return _Look(found, self._staged.compare(outlives=self.outlives))

    def _fold(self, chunk: Chunk, look: _Look, position: Lsn, refused: Refused) -> tuple[Fold, list[QuarantineEntry]]:
        """The cells that differ, set or cleared; and the rows without a place that are not in quarantine yet."""
        fold = Fold(
            self._mapping, Routes(self._mapping, self._registry.entities, first=1), refused, self._reader.interpreters
        )
        unplaced = list[tuple[SourceRow, Unplaced]](look.found.unplaced)
        for cell in look.differing:
            reading = look.found.cells.get(cell) or Reading(*cell, "", "", None)
            refusal = fold.put(reading, position, [])
            if refusal is not None:
                unplaced.append((look.found.rows_of[cell], Unplaced(*refusal)))
        known = self._shelved.rows(row for row, _ in unplaced)
        strange = [(row, why) for row, why in unplaced if row not in known]
        return fold, [self._misfit(chunk, n, position, *each) for n, each in enumerate(strange)]

    def _misfit(self, chunk: Chunk, n: int, position: Lsn, row: SourceRow, why: Unplaced) -> QuarantineEntry:
        table = self._mapping.table
        stamp = Stamp(self._mapping.connector, 0, 0, position, 0, 0)
        wide = dict(zip(table.wide, row.head, strict=True))
        values: list[Value] = [Op.UPDATE.value, *row.row]
        changes = Changes(stamp, row.table, wide, list(table.carried), [values])
        return quarantine_entry(changes, 0, f"chunk:{chunk.number}:{n}", why.reason, why.detail)
