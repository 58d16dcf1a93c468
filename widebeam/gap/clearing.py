"""Clearings: cells that going over a gap would clear, since the source has no value for them.

A row that was deleted while nothing was captured looks just like one whose table was renamed away, or truncated and
loaded anew. So nothing is cleared before somebody who knows has said so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from cdc.source.described import describe
from sink.mapping.family import Source
from sink.mapping.mapping import Mapping
from sink.mapping.wide import ALL, identity
from snapshot.chunks.plan import Chunk
from widebeam.config.connector import Connector
from widebeam.counted import counted
from widebeam.gap.repair import RangeRepair
from widebeam.verify.range_reader import PIECE_ROWS, ranges

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOG: Final = logging.getLogger(__name__)

_SAYS: Final = 5.0
"""Seconds between two lines on how far it is."""

_NAMED: Final = 20


class Clearing(NamedTuple):
    """Cells of a wide table (its view), and the first and the last time of them; None where there is no time."""

    view: str
    cells: int
    first: str | None = None
    last: str | None = None

    def __str__(self) -> str:
        times = "" if self.first is None else f", from {self.first} to {self.last}"
        return f"{self.view}: {counted(self.cells, 'cell')}{times}"


class WouldClear(Exception):
    """Nobody has said that these cells may be cleared: `what` would be, and `ways` to go on."""

    def __init__(self, what: str, ways: str) -> None:
        super().__init__(what, ways)
        self.what, self.ways = what, ways

    def __str__(self) -> str:
        return f"{self.what}\n{self.ways}"


def would_clear(connector: str, tables: Iterable[str], clearings: list[Clearing]) -> WouldClear:
    """What would be cleared, on a line for each wide table, the first of them, and what to do."""
    cells = counted(sum(each.cells for each in clearings), "cell")
    lines = [f"  {each}" for each in clearings[:_NAMED]]
    if len(clearings) > _NAMED:
        lines.append(f"  and {counted(len(clearings) - _NAMED, 'wide table')} more")
    return WouldClear(
        "\n".join([f"going over the gap would clear {cells}, for which {', '.join(tables)} has no value now:", *lines]),
        f"Nothing is changed yet. If rows were deleted, `widebeam resume {connector} --backfill-gap --clear` clears "
        "their cells. If a table was renamed away, or truncated and loaded anew, bring its rows back first, or set "
        'on_delete = "ignore" in [sink], so that what is deleted from there stays in the wide tables, now and later: '
        f"then `widebeam resume {connector} --backfill-gap` once more.",
    )


def compared(source: Session, connector: Connector, mapping: Mapping) -> list[Chunk]:
    """The ranges of all narrow tables that are compared where a gap is gone over."""
    return ranges(source, mapping, min(connector.options.backfill.chunk_rows, PIECE_ROWS), connector.chunk_hours)


def foreseen(source: Session, target: Session, connector: Connector, tables: Iterable[Source]) -> WouldClear | None:
    """What would be cleared, by a look at all ranges of these tables that differ; None where nothing would be.

    Raises Halt where a table or a column is gone.
    """
    mapping = connector.mapping(tables)
    for rule in mapping.rules:
        describe(source, rule.table)
    repair = RangeRepair(source, target, mapping)
    if repair.outlives:
        return None
    found: dict[str, Clearing] = {}
    for chunk in _said(compared(source, connector, mapping)):
        for lack in repair.lacking(chunk):
            name = ALL if mapping.layout == "single" else identity(lack.entity)
            view = f"{connector.options.target.wide_schema}.{repair.view(name)}"
            before = found.get(view, Clearing(view, 0, lack.first))
            found[view] = Clearing(view, before.cells + lack.cells, before.first, lack.last)
    clearings = [found[view] for view in sorted(found)]
    return would_clear(connector.name, sorted(mapping.tables), clearings) if clearings else None


def _said(chunks: list[Chunk]) -> Iterator[Chunk]:
    """The ranges, and now and then a line on how many of them are looked at."""
    said = monotonic()
    for number, chunk in enumerate(chunks):
        if monotonic() - said > _SAYS:
            said = monotonic()
            _LOG.info("what would be cleared: %d of %s looked at", number, counted(len(chunks), "range"))
        yield chunk
