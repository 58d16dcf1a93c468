"""The target database: wide rows, ledger and tombstones, changed by whole transactions."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.model.capture import POSITION_STEP
from tests.model.rules import Rule
from tests.model.source import Cell, Table, WideKey

CHUNKS = (0, 1)


def chunk_of(time: str) -> int:
    """The chunk whose range holds this time."""
    return int(time > "2")


@dataclass(slots=True)
class WideRow:
    """A wide row: the position that last touched it, and its cells."""

    lsn: int
    cells: dict[str, str | None] = field(default_factory=dict)


@dataclass(slots=True)
class Target:
    """All state that sinks and backfill workers share."""

    rules: frozenset[Rule]
    cutoff_lsn: int
    rows: dict[WideKey, WideRow] = field(default_factory=dict)
    chunks: dict[int, str] = field(default_factory=lambda: dict.fromkeys(CHUNKS, "planned"))
    tombstones: set[Cell] = field(default_factory=set)
    repairs: set[int] = field(default_factory=set)  # ranges that are to be compared and set, after a gap

    def change(self, wide: WideKey, cells: list[tuple[str, str | None]], position: int) -> None:
        """The stream sets cells or clears them."""
        row = self.rows.setdefault(wide, WideRow(position))
        for key, value in cells:
            if value is None and Rule.TOMBSTONE in self.rules and self.chunks[chunk_of(wide[1])] == "planned":
                self.tombstones.add(Cell(*wide, key))
            row.cells[key] = value
        row.lsn = position
        self._settle(wide)

    def truncate(self, position: int) -> None:
        """Remove the rows below the position, and void what is not merged: what stands after it comes by the stream."""
        self.rows = {wide: row for wide, row in self.rows.items() if row.lsn >= position}
        if Rule.VOID in self.rules:
            self.repairs.clear()
            self.chunks = {chunk: "merged" if state == "merged" else "void" for chunk, state in self.chunks.items()}

    def merge(self, chunk: int, read: Table, tombstones: set[Cell]) -> None:
        """Fill a chunk's cells in; `tombstones` are those that its worker knows of."""
        for cell, value in read.items():
            if value is not None and cell not in tombstones:
                self._fill(cell, value)
        self.tombstones = {cell for cell in self.tombstones if chunk_of(cell.time) != chunk}
        self.chunks[chunk] = "merged"

    def _fill(self, cell: Cell, value: str) -> None:
        row = self.rows.setdefault(cell.wide, WideRow(self.cutoff_lsn))
        if Rule.BUMP not in self.rules:
            row.lsn = max(row.lsn, POSITION_STEP * 10**6)
        if row.cells.get(cell.key) is None or Rule.FILL not in self.rules:
            row.cells[cell.key] = value

    def _settle(self, wide: WideKey) -> None:
        """A wide row exists exactly when one of its cells is not NULL."""
        if all(value is None for value in self.rows[wide].cells.values()):
            del self.rows[wide]

    def cells(self) -> Table:
        """Everything that readers see, as a narrow table."""
        return {
            Cell(*wide, key): value
            for wide, row in self.rows.items()
            for key, value in row.cells.items()
            if value is not None
        }
