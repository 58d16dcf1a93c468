"""The cells that a fold sets and clears, and what becomes of a reading that has no place in one. Pure."""

from __future__ import annotations

from typing import Final, TypeAlias

from cdc.event import UNCHANGED, Value
from cdc.lsn import Lsn
from sink.fold.column_route import Route
from sink.fold.copytext import escaped
from sink.fold.rows import WideKey, WideRow
from sink.mapping.mapping import Mapping
from sink.mapping.rule import NUMBER
from sink.mapping.wide import OVERFLOW, Column, Need, Refused, overlong

CONFLICT: Final = "type_conflict"
NOT_WIDENED: Final = "not_widened"
IN_OVERFLOW: Final = "in_overflow"
"""Reasons: a column that does not hold the reading; one that was not widened for it; no column, since the key's
readings are in the overflow."""

Refusal: TypeAlias = "tuple[str, str]"
"""Why a reading cannot be placed: reason, detail."""


_NO_NUMBER: Final = (
    ": it is no number that a double precision holds without losing a digit. Mend it in the source, or set "
    'type_conflict = "widen" in [sink], which makes the column a text; then `widebeam quarantine retry`'
)


class Cells:
    """Wide rows by entity and key, with what is set and cleared in them, by the mapping's policies.

    `needs` are keys without a column that were to be set: make their columns and fold again, or fold again with
    `refused`.
    """

    def __init__(self, mapping: Mapping, refused: Refused) -> None:
        self._refused = refused
        self._policy = mapping.type_conflict
        self._overflows = mapping.unknown_key == "overflow"
        self.tables: dict[str, dict[WideKey, WideRow]] = {}
        self.needs: dict[Need, None] = {}  # a set that keeps the order

    def row(self, entity: str, key: WideKey) -> WideRow:
        """The wide row of an entity, by its identity, with this key."""
        table = self.tables.get(entity)
        if table is None:
            table = self.tables[entity] = {}
        row = table.get(key)
        if row is None:
            row = table[key] = WideRow(Lsn(0))
        return row

    def set(self, route: Route, row: WideRow, need: Need, value: Value, *, fits: bool) -> Refusal | None:
        """Set or clear a cell; a reading that cannot be placed leaves it cleared, and is answered with the reason.

        `fits` tells whether the key's column holds it.
        """
        column = route.entity.columns.get(need.key)
        refusal = None
        if value is None:
            clear(row, route, need.key)
        elif column is None:
            if value is not UNCHANGED:
                refusal = self._without_column(route, row, need, value)
        elif not fits:
            refusal = self._conflict(route, row, need, column)
        elif value is not UNCHANGED:
            row.cells[column.ordinal] = escaped(value)
        if refusal is not None:
            clear(row, route, need.key)
        return refusal

    def _without_column(self, route: Route, row: WideRow, need: Need, value: str) -> Refusal | None:
        """A key without a column: it is to be made, or the reading goes into the overflow, or it cannot be placed."""
        refusal = overlong(need.values, (), need.key)
        if refusal is not None:
            return refusal
        refusal = self._refused.get((route.entity.identity, need.key))
        if self._overflows or (refusal is not None and refusal[0] == IN_OVERFLOW):
            refusal = self._refused.get((route.entity.identity, OVERFLOW))
            if route.entity.overflow is not None:
                row.put_over(need.key, value)
                return None
            need = Need(need.values, OVERFLOW, "", "jsonb")
        if refusal is None:
            self.needs[need] = None
        return refusal

    def _conflict(self, route: Route, row: WideRow, need: Need, column: Column) -> Refusal | None:
        """A reading that its key's column does not hold, by policy: quarantine, NULL, or a wider column."""
        detail = f"{need.key!r} is a {column.type} from {column.source}"
        if need.type != column.type:
            detail += f", and this is a {need.type} from {need.source}"
        no_number = column.type == NUMBER and (column.source == need.source or need.type == NUMBER)
        match self._policy:
            case "quarantine":
                return CONFLICT, detail + (_NO_NUMBER if no_number else "")
            case "null":
                clear(row, route, need.key)
                return None
            case "widen":
                refusal = self._refused.get((route.entity.identity, need.key))
                if refusal is None:
                    self.needs[need] = None
                return refusal


def clear(row: WideRow, route: Route, key: str) -> None:
    """Clear the cell of a key, whether it has a column or not."""
    column = route.entity.columns.get(key)
    if column is not None:
        row.cells[column.ordinal] = None
        row.clears = True
    else:
        row.clear_bare(key)
