"""Source rows of which the quarantine has entries, and what became of these. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from sink.mapping.mapping import Mapping
from widebeam.quarantine.entry import Cell, Entry, Narrow, narrow_rows, why_unread


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

    def add(self, more: Retried) -> None:
        """And what became of others."""
        self.placed += more.placed
        self.gone += more.gone
        self.unfit |= more.unfit
        self.unread |= more.unread
        self.undecided += more.undecided


@dataclass(slots=True)
class QuarantinedRow:
    """One source row, and the entries that speak of it. `row` is as the newest of them has it."""

    row: Narrow
    entries: list[Entry] = field(default_factory=list)

    @property
    def ids(self) -> list[int]:
        """The numbers of its entries."""
        return [entry.id for entry in self.entries]


QuarantinedRows: TypeAlias = "dict[Cell, QuarantinedRow]"


def gathered(entries: Iterable[Entry], mapping: Mapping) -> tuple[QuarantinedRows, Retried]:
    """The rows of entries, which come in the order of their positions; and those that say no single source row."""
    found: QuarantinedRows = {}
    rest = Retried()
    for entry in entries:
        rows = [(row.cell(mapping), row) for row in narrow_rows(entry, mapping)]
        cells = [(cell, row) for cell, row in rows if cell is not None]
        if len(cells) != 1:  # none; or a whole record, which goes row by row when its sink reads it again
            rest.unread[entry.id] = why_unread(entry, mapping)
            continue
        ((cell, row),) = cells
        quarantined = found.setdefault(cell, QuarantinedRow(row))
        quarantined.row = row
        quarantined.entries.append(entry)
    return found, rest
