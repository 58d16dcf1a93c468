"""What a plan takes: wide rows, bytes on disk, seconds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from sink.mapping.mapping import Mapping as Connector
from sink.mapping.wide import Entity
from sink.mapping.width import PAGE_BYTES, cell_bytes, rows_a_page
from widebeam.plan.evidence import Evidence

_ROW_HEADER: Final = 24
_LSN: Final = 8
_INDEX_ENTRY: Final = 12
_INDEX_FULL: Final = 0.9
_EMPTY_TABLE: Final = 5 * PAGE_BYTES
"""Its first page, its index's two, and its maps; a TOAST table's index."""

_NARROW_ROW: Final = 1.6e-6
"""Seconds that one backfill worker takes, as measured on a machine of two cores: to read and fold a narrow row, ..."""
_WIDE_ROW: Final = 7e-6
"""... to merge a row of a wide table, ..."""
_CHUNK: Final = 0.03
"""... for a chunk in any case, ..."""
_TABLE_OF_CHUNK: Final = 0.0005
"""... and for each wide table that it meets; ..."""
_SCANNED_ROW: Final = 0.1e-6
"""... and to look at a row in vain, where no index leads to those of a chunk."""
_START: Final = 5.0
"""Of a run in any case: until the first chunk is read, and from the last until it is known."""


class Work(NamedTuple):
    """What is to be read: narrow rows, chunks, and rows that are looked at in all of them together."""

    rows: int
    chunks: int
    scanned: float


class Cost(NamedTuple):
    """Wide rows, bytes and seconds."""

    wide_rows: int
    disk_bytes: int
    seconds: float


def cost(
    mapping: Connector, evidence: Evidence, entities: Mapping[str, Entity], works: Sequence[Work], workers: int
) -> Cost:
    """What it takes, if all readings are like those that were looked at."""
    rows = sum(work.rows for work in works)
    chunks = sum(work.chunks for work in works)
    if not entities or not evidence.readings:
        return Cost(0, 0, 0.0)
    wide = max(1, round(rows * evidence.readings_a_row / evidence.cells_a_row))
    lines, disk = _tables(mapping, evidence, entities, wide)
    tables = sum(len(entity.parts) for entity in entities.values())
    busy = (
        rows * _NARROW_ROW
        + lines * _WIDE_ROW
        + chunks * (_CHUNK + tables * _TABLE_OF_CHUNK)
        + sum(work.scanned for work in works) * _SCANNED_ROW
    )
    return Cost(wide, disk, round(_START + busy / max(min(workers, chunks), 1), 1))


def _tables(mapping: Connector, evidence: Evidence, entities: Mapping[str, Entity], wide: int) -> tuple[float, int]:
    """Rows of all part tables together, and their bytes: an entity has as many wide rows as any other."""
    columns = sum(len(entity.columns) for entity in entities.values()) / len(entities)
    filled = min(1.0, evidence.cells_a_row / max(columns, 1))
    key = sum(cell_bytes(each) for each in mapping.key_types.values())
    lines, size = 0.0, 0.0
    for entity in entities.values():
        for number in entity.parts:
            types = [column.type for column in entity.of_part(number)]
            some = wide / len(entities) * (1 - (1 - filled) ** len(types))
            cells = filled * sum(cell_bytes(each, evidence.characters(each)) for each in types)
            row = _ROW_HEADER + len(types) / 8 + key + _LSN + cells
            pages = some / rows_a_page(row, mapping.full(types))
            size += _EMPTY_TABLE + pages * PAGE_BYTES + some * (_INDEX_ENTRY + key) / _INDEX_FULL
            lines += some
    return lines, round(size)
