"""The rows of a chunk where several can meet in a cell: which of them holds it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cdc.lsn import Lsn
from cdc.record.record import Changes, Stamp
from sink.fold.copytext import unescaped
from sink.fold.pivot import Fold
from sink.fold.quarantine_entry import QuarantineEntry, quarantine_entry
from sink.mapping.interpret import Interpreters, Unplaced
from sink.mapping.mapping import Mapping
from sink.mapping.several import Cell, Meeting, SourceRow

_UNKNOWN: Final = "the dictionary does not know it"


class Crowd:
    """Lines come in by `add`; `put` gives a fold the cells that have another holder than at the last time.

    Only cells in which the chunk's own table has a row are put: the rows of other tables are there to meet them.
    """

    def __init__(self, mapping: Mapping, interpreters: Interpreters) -> None:
        self._mapping, self._interpreters = mapping, interpreters
        self._meeting = Meeting(mapping.rules)
        self._waiting: list[tuple[int | None, SourceRow]] = []
        self._unplaced: list[tuple[int, SourceRow, Unplaced]] = []
        self._cells: dict[Cell, int] = {}

    @property
    def open(self) -> bool:
        """Is there anything to put?"""
        return bool(self._waiting or self._cells or self._unplaced)

    def add(self, table: str, first: int | None, lines: Iterable[list[str]]) -> None:
        """Take lines in, each its head and its carried values. `first` is the first one's number, None for others'."""
        wide = bool(self._mapping.table.wide)
        for n, fields in enumerate(lines):
            head = tuple(map(unescaped, fields[0].split("\t"))) if wide else ()
            row = SourceRow(table, head, tuple(map(unescaped, fields[1:])))
            self._waiting.append((None if first is None else first + n, row))

    def put(self, fold: Fold, position: Lsn, origin: str) -> None:
        """Put what changed hands. A row with an unknown id waits for the dictionary until `settled`."""
        self._waiting = [each for each in self._waiting if not self._placed(*each)]
        for number, row in self._waiting:
            if number is not None:
                fold.quarantine_entries.append(
                    self._misfit(row, position, f"{origin}:{number}", "unknown_id", _UNKNOWN)
                )
        for number, row, why in self._unplaced:
            fold.quarantine_entries.append(self._misfit(row, position, f"{origin}:{number}", why.reason, why.detail))
        for cell, number in self._cells.items():
            row, reading = self._meeting.held[cell]
            refusal = fold.put(reading, position, [])
            if refusal is not None:
                fold.quarantine_entries.append(self._misfit(row, position, f"{origin}:{number}", *refusal))

    def settled(self) -> None:
        """What was put has its place."""
        self._waiting.clear()
        self._unplaced.clear()
        self._cells.clear()

    def _placed(self, number: int | None, row: SourceRow) -> bool:
        """Let a row in; False if the dictionary lacks its id."""
        interpreter = self._interpreters.of(row.table)
        found = interpreter.read(row.head, row.row)
        if isinstance(found, Unplaced):
            if found.reason != "unknown_id" and number is not None:
                self._unplaced.append((number, row, found))
            return found.reason != "unknown_id"
        if interpreter.there(row.head, row.row):
            self._meeting.take(row, found)
            if number is not None:
                self._cells.update((Cell(each.entity, each.time, each.key), number) for each in found)
        return True

    def _misfit(self, row: SourceRow, position: Lsn, origin: str, reason: str, detail: str) -> QuarantineEntry:
        table = self._mapping.table
        wide = dict(zip(table.wide, row.head, strict=True))
        stamp = Stamp(self._mapping.connector, 0, 0, position, 0, 0)
        changes = Changes(stamp, row.table, wide, list(table.carried), [["i", *row.row]])
        return quarantine_entry(changes, 0, "", reason, detail)._replace(origin=origin)
