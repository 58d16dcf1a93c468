"""The proof for rules that no database can be asked in: the narrow rows are read as the backfill reads them.

Range by range, what they come to is staged in the target and compared there. A cell counts as different only when its
narrow value stood still around a barrier, and the wide one is another one after it, twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import psycopg

from sink.mapping.several import Cell
from snapshot.chunks.plan import Chunk
from widebeam.verify.cells import Sums
from widebeam.verify.comparison import ROUNDS, Comparison
from widebeam.verify.gone import Time, hashed, plus
from widebeam.verify.proof import Difference, Gone, VerifySettings
from widebeam.verify.quarantined import RowName, Shelved
from widebeam.verify.range_reader import PIECE_ROWS, Found, RangeReader, lighter, ranges
from widebeam.verify.staged import Differing, Staged

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class _Look(NamedTuple):
    """One look at a range: what the narrow tables come to, and the cells that differ from it.

    A row that has no place and is not in quarantine differs too, under the name of its own columns; and so does a cell
    that several rows fill where none should meet, whatever it holds.
    """

    found: Found
    differing: Differing
    shelved: int

    def value(self, cell: Cell) -> str | None:
        """What there should be in a cell."""
        reading = self.found.cells.get(cell)
        return self.differing.get(cell, (None, None))[0] if reading is None else str(reading.value)


class RowComparison(Comparison):
    """Row by row."""

    def __init__(self, settings: VerifySettings, source: Session, target: Session) -> None:
        super().__init__(settings, source, target)
        self._reader = RangeReader(source, target, settings.mapping)
        self._shelved = Shelved(target, settings.mapping, self._reader.interpreters)
        self._staged = Staged(target, self._registry)
        self._lonely: dict[Time, Sums] = {}
        self._in_quarantine = set[RowName]()
        """Rows of the range that is settled whose cells are empty for an entry."""

    def _ranges(self) -> list[Chunk]:
        return ranges(self._source, self._mapping, self._settings.chunk_rows, self._settings.chunk_hours)

    def _compare(self, portion: Sequence[Chunk]) -> None:
        """Compare each range, in pieces if it is heavier than was planned."""
        for chunk in portion:
            for piece in lighter(self._source, self._mapping, chunk, PIECE_ROWS):
                look, report = self._look(piece), self._report
                report.rows += look.found.rows
                report.cells += len(look.found.cells)
                report.quarantined += look.shelved
                if look.differing:
                    self._settle(piece, look)
                self._gone.take(self._lonely, look.found.times)
                self._lonely = {}

    def _settle_gone(self) -> list[Gone]:
        return self._gone.settled()

    def _look(self, chunk: Chunk) -> _Look:
        """The wide tables first: what is newer there than the narrow value is then no difference that lasts."""
        self._staged.take_there(chunk)
        found = self._reader.read(chunk)
        self._staged.take_should(found.cells.items())
        differing = self._staged.compare(outlives=self._outlives)
        known = self._shelved.rows(row for row, _ in found.unplaced)
        width, alike = len(self._mapping.table.entity), Counter[tuple[tuple[str, ...], str]]()
        for row, unplaced in found.unplaced:
            if row not in known:
                head = tuple(each or "" for each in row.head)
                key = f"{row.table}: {unplaced.reason}: {row.row[: len(self._mapping.table.key)]}"
                alike[head, key] += 1  # rows without a place may be alike in all that tells them apart
                key += f" ({alike[head, key]})" if alike[head, key] > 1 else ""
                differing[Cell(head[:width], head[width:], key)] = unplaced.detail, None
        for cell, rows in found.crowded.items():
            wide = differing[cell][1] if cell in differing else str(found.cells[cell].value)
            differing[cell] = rows, wide
        return _Look(found, differing, sum(row in known for row, _ in found.unplaced))

    def _settle(self, chunk: Chunk, look: _Look) -> None:
        """Which cells of a range really differ."""
        suspects = set(look.differing)
        seen_before: Differing = {}
        self._in_quarantine = set()
        for _ in range(ROUNDS):
            before = look
            self._pass_all()
            look = self._look(chunk)
            moving = {cell for cell in suspects if before.value(cell) != look.value(cell)}
            unequal = {cell: look.differing[cell] for cell in suspects - moving if cell in look.differing}
            proven = {cell: pair for cell, pair in unequal.items() if seen_before.get(cell) == pair}
            self._count(proven, look.found)
            seen_before = unequal
            suspects = moving | (unequal.keys() - proven.keys())
            if not suspects:
                return
        self._report.in_motion += len(suspects)

    def _count(self, proven: Differing, found: Found) -> None:
        """Count cells that differ, and name some; those that lie in quarantine, or are NULL on purpose, apart."""
        if not proven:
            return
        explained = proven.keys() - found.crowded.keys()  # of those that several rows fill, none can be right
        empty = {cell: found.cells[cell] for cell in explained if proven[cell][1] is None and cell in found.cells}
        shelved = self._shelved.cells(empty)
        known = shelved.keys()
        meant = {cell for cell in explained - known if self._is_nulled(cell, found, proven[cell][1])}
        rows = set(shelved.values())
        self._report.quarantined += len(rows - self._in_quarantine)
        self._in_quarantine |= rows
        self._report.nulled += len(meant)
        gone = {
            cell
            for cell in explained
            if self._gone.known and proven[cell][1] is not None and cell.time not in found.times
        }
        for cell in gone:
            one = hashed(*cell.entity, *cell.time, cell.key, proven[cell][1])
            self._lonely[cell.time] = plus(self._lonely.get(cell.time, Sums(0, 0)), one)
        for cell in sorted(proven.keys() - known - meant - gone, key=str):
            self._report.differences += 1
            if len(self._report.differing) < self._settings.named:
                self._report.differing.append(Difference(*cell, *proven[cell]))

    def _is_nulled(self, cell: Cell, found: Found, wide: str | None) -> bool:
        column, reading = self._staged.column(cell), found.cells.get(cell)
        return (
            self._mapping.type_conflict == "null"
            and wide is None
            and column is not None
            and reading is not None
            and not self._staged.fits(column, reading)
        )
