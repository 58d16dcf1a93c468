"""The proof for rules that no database can be asked in: the narrow rows are read as the backfill reads them.

Range by range, what they come to is staged in the target and compared there. A cell counts as different only when its
narrow value stood still around a barrier, and the wide one is another one after it, twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from sink.mapping.several import Cell
from sink.wide.registry import Registry
from snapshot.chunks.plan import Chunk
from widebeam.verify.fence import Fence
from widebeam.verify.proof import Difference, VerifyReport, VerifySettings
from widebeam.verify.quarantined import Shelved
from widebeam.verify.range_reader import PIECE_ROWS, Found, RangeReader, lighter, ranges
from widebeam.verify.staged import Differing, Staged
from widebeam.verify.unfinished import unfinished

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_ROUNDS: Final = 8


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


class RowComparison:
    """One run of verify."""

    def __init__(self, settings: VerifySettings, source: Session, target: Session) -> None:
        self._settings, self._mapping = settings, settings.mapping
        self._source, self._target = source, target
        self._registry = Registry(settings.mapping)
        self._reader = RangeReader(source, target, settings.mapping)
        self._shelved = Shelved(target, settings.mapping, self._reader.interpreters)
        self._outlives = "ignore" in (settings.mapping.on_delete, settings.mapping.on_truncate)
        self._report = VerifyReport(settings.mapping.connector, captured=settings.captured)
        self._staged = Staged(target, self._registry)
        self._fence = Fence(source, target, self._mapping.connector, settings.patience)

    def run(self, progress: Callable[[int, int], None]) -> VerifyReport:
        """Compare all ranges."""
        began, report = monotonic(), self._report
        self._registry.refresh(self._target)
        self._registry.check(self._target)
        self._fence.pass_all()
        self._registry.refresh(self._target)
        open_ = unfinished(self._target, self._mapping)
        chunks = ranges(self._source, self._mapping, self._settings.chunk_rows, self._settings.chunk_hours)
        chunks, left_out = open_.left_out(self._mapping, chunks)
        report.left_out, report.unfilled, report.chunks = len(left_out), open_.chunks, open_.of
        for chunk in chunks:
            for piece in lighter(self._source, self._mapping, chunk, PIECE_ROWS):
                self._compare(piece)
            report.ranges += 1
            progress(report.ranges, len(chunks))
        report.fenced = self._fence.holds
        report.seconds = round(monotonic() - began, 3)
        return report

    def _compare(self, piece: Chunk) -> None:
        """Compare a range, or a piece of one that is heavier than was planned."""
        look, report = self._look(piece), self._report
        report.rows += look.found.rows
        report.cells += len(look.found.cells)
        report.quarantined += look.shelved
        if look.differing:
            self._settle(piece, look)

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
        for _ in range(_ROUNDS):
            before = look
            self._fence.pass_all()
            self._registry.refresh(self._target)
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
        known = self._shelved.cells(empty)
        meant = {cell for cell in explained - known if self._is_nulled(cell, found, proven[cell][1])}
        self._report.quarantined += len(known)
        self._report.nulled += len(meant)
        for cell in sorted(proven.keys() - known - meant, key=str):
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
