"""Folding: many changes of narrow rows become one change of each wide row. Pure.

The order within a wide row is kept by keeping the last change of each cell; rows of different wide keys do not meet.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Final, NamedTuple

import orjson

from cdc.event import UNCHANGED, Value
from cdc.lsn import Lsn
from cdc.record import Changes, Op
from sink.copytext import escaped
from sink.layout import misplaced
from sink.mapping import Mapping
from sink.route import Route, Routes
from sink.rows import WideKey, WideRow
from sink.wide import Need

_DELETE: Final = Op.DELETE.value
_GONE: Final = frozenset((Op.DELETE.value, Op.MOVE.value))


class Misfit(NamedTuple):
    """A reading (or a record) that cannot be placed. `raw` is JSON, or base64 of bytes that are not."""

    origin: str
    position: Lsn | None
    reason: str
    detail: str
    raw: str


def undecodable(origin: str, value: bytes, reason: str, detail: str) -> Misfit:
    """A record of the log that is none of ours, as bytes."""
    return Misfit(origin, None, reason, detail, b64encode(value).decode())


class Fold:
    """Changes folded by wide key.

    `tables` has for each entity of the registry the wide rows that were touched. `needs` are keys without a column
    that were to be set: make their columns and fold again, or fold again with `refused` to put them in quarantine:
    (entity identity, key) -> reason, detail.
    """

    def __init__(
        self, mapping: Mapping, routes: Routes, refused: dict[tuple[str, str], tuple[str, str]] | None = None
    ) -> None:
        self._mapping = mapping
        self._routes = routes
        self._refused = refused or {}
        table = mapping.table
        self._wide_names = table.wide
        self._entity_width = len(table.entity)
        self._key_from = 0 if mapping.layout == "single" else self._entity_width
        self._carried = list(table.carried)
        self._ignore_deletes = mapping.on_delete == "ignore"
        self.tables: dict[str, dict[WideKey, WideRow]] = {}
        self.needs: dict[Need, None] = {}  # a set that keeps the order
        self.misfits: list[Misfit] = []
        self.rows = 0

    def add(self, changes: Changes, origin: str, *, escape: bool) -> None:
        """Take a record in. `origin` is `partition:offset`; `escape` tells that values may need it for COPY."""
        try:
            wide = tuple([changes.wide[name] for name in self._wide_names])
            rows = changes.rows if changes.columns == self._carried else self._reordered(changes)
        except KeyError as missing:
            self.reject(changes, origin, "foreign_record", f"the record has no column {missing}")
            return
        if len(changes.wide) != len(wide):
            self.reject(changes, origin, "foreign_record", f"a wide key of {', '.join(changes.wide)}")
        elif changes.table != self._mapping.table.qualified:
            self.reject(changes, origin, "foreign_record", f"a record of {changes.table}")
        elif None in wide:
            self.reject(changes, origin, "null_wide_key", "the entity or the time is NULL")
        else:
            self._fold(changes, rows, wide, origin, escape)  # type: ignore[arg-type]

    def _fold(self, changes: Changes, rows: list[list[Value]], wide: WideKey, origin: str, escape: bool) -> None:
        """The hot loop: what is an ordinary reading with a column is set here, all else by `_place`."""
        route = self._routes.of(wide[: self._entity_width])
        row = self._row(route.entity.identity, wide[self._key_from :])
        row.position = changes.stamp.position
        self.rows += len(rows)
        cells, choices, key, discriminator = row.cells, route.choices, self._routes.key, self._routes.discriminator
        for n, narrow in enumerate(rows):
            if discriminator is not None:
                try:
                    index, slots = choices[narrow[discriminator]]  # type: ignore[index]
                    value = narrow[index]
                    if value.__class__ is str and narrow[0] not in _GONE:
                        cells[slots[narrow[key]]] = escaped(value) if escape else value  # type: ignore[index]
                        continue
                except KeyError:
                    pass
            self._place(_Odd(changes, n, narrow, f"{origin}:{n}"), route, row)

    def _place(self, odd: _Odd, route: Route, row: WideRow) -> None:
        """One narrow row that is not just a value for its column."""
        key = odd.narrow[self._routes.key]
        misplacement = misplaced(key if isinstance(key, str) else None)
        if odd.narrow[0] in _GONE:
            kept = self._ignore_deletes and odd.narrow[0] == _DELETE
            if not kept and isinstance(key, str):
                _clear(row, route, key)
        elif misplacement is not None or not isinstance(key, str):
            self._misfit(odd, *(misplacement or ("null_key", "the key is unknown")))
        else:
            self._read(odd, route, row, key)

    def _read(self, odd: _Odd, route: Route, row: WideRow, key: str) -> None:
        """The reading of an inserted or updated row: set, cleared, kept, or in quarantine."""
        index = self._chosen(odd, route)
        value = None if index is None else odd.narrow[index]
        if index is None and self._filled(odd, route):
            self._misfit(odd, "unknown_discriminator", f"{odd.narrow[self._routes.discriminator or 0]!r} is no choice")
        column = route.entity.columns.get(key)
        source = "" if index is None else route.sources[index]
        if value is None:
            _clear(row, route, key)
        elif column is None:
            if value is not UNCHANGED:
                self._need(odd, route, row, Need(self._entity_values(odd), key, source))
        elif column.source != source:
            self._misfit(odd, "type_conflict", f"{key!r} is filled from {column.source}, and this is a {source}")
            _clear(row, route, key)
        elif value is not UNCHANGED:
            row.cells[column.ordinal] = escaped(value)

    def _need(self, odd: _Odd, route: Route, row: WideRow, need: Need) -> None:
        """A key without a column: it is to be made, or cannot be."""
        refusal = self._refused.get((route.entity.identity, need.key))
        if refusal is None:
            self.needs[need] = None
        else:
            self._misfit(odd, *refusal)
            _clear(row, route, need.key)

    def _chosen(self, odd: _Odd, route: Route) -> int | None:
        """Where in the row the reading stands; None when there is none."""
        if self._routes.discriminator is None:
            return next((index for index, _ in route.values if odd.narrow[index] is not None), None)
        choice = route.choices.get(odd.narrow[self._routes.discriminator])  # type: ignore[arg-type]
        return None if choice is None else choice[0]

    @staticmethod
    def _filled(odd: _Odd, route: Route) -> bool:
        return any(odd.narrow[index] is not None for index, _ in route.values)

    def _entity_values(self, odd: _Odd) -> tuple[str | None, ...]:
        return tuple([odd.changes.wide[name] for name in self._mapping.table.entity])

    def _row(self, entity: str, key: WideKey) -> WideRow:
        table = self.tables.get(entity)
        if table is None:
            table = self.tables[entity] = {}
        row = table.get(key)
        if row is None:
            row = table[key] = WideRow(Lsn(0))
        return row

    def _reordered(self, changes: Changes) -> list[list[Value]]:
        """The rows with their values in the order of `table.carried`; KeyError if one is not there."""
        place = {name: n for n, name in enumerate(changes.columns, 1)}
        picks = [0, *(place[name] for name in self._carried)]
        return [[narrow[pick] for pick in picks] for narrow in changes.rows]

    def _misfit(self, odd: _Odd, reason: str, detail: str) -> None:
        self.misfits.append(Misfit(odd.origin, odd.changes.stamp.position, reason, detail, _raw(odd.changes, odd.n)))

    def reject(self, changes: Changes, origin: str, reason: str, detail: str) -> None:
        """Put every row of a record into quarantine."""
        self.rows += len(changes.rows)
        for n, narrow in enumerate(changes.rows):
            self._misfit(_Odd(changes, n, narrow, f"{origin}:{n}"), reason, detail)


class _Odd(NamedTuple):
    """A narrow row that the hot loop did not place. `narrow` has its values in the order of `table.carried`."""

    changes: Changes
    n: int
    narrow: list[Value]
    origin: str


def _clear(row: WideRow, route: Route, key: str) -> None:
    column = route.entity.columns.get(key)
    if column is not None:
        row.cells[column.ordinal] = None
        row.clears = True
    elif row.bare is None:
        row.bare = {key}
    else:
        row.bare.add(key)


def _raw(changes: Changes, n: int) -> str:
    """One row of a record, whole, as JSON."""
    fields: dict[str, Any] = {
        "table": changes.table,
        "wide": changes.wide,
        "columns": changes.columns,
        "row": changes.rows[n],
    }
    return orjson.dumps(fields).decode()
