"""Folding: many changes of narrow rows become one change of each wide row. Pure.

The order within a wide row is kept by keeping the last change of each cell; rows of different wide keys do not meet.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Final, NamedTuple, TypeAlias

from cdc.event import UNCHANGED, Value
from cdc.lsn import Lsn
from cdc.record.columnar import Columnar
from cdc.record.record import Changes, Op
from sink.fold.column_route import Route, Routes
from sink.fold.copytext import escaped
from sink.fold.quarantine_entry import QuarantineEntry, quarantine_entry
from sink.fold.record_cache import RecordCache
from sink.fold.rows import Moments, WideKey, WideRow
from sink.fold.set_or_clear import Cells, Refusal, clear
from sink.mapping.interpret import Interpreters, Reading, Unplaced, two_values
from sink.mapping.kinds import holds
from sink.mapping.mapping import Mapping
from sink.mapping.names import misplaced
from sink.mapping.origin import Origins, origin
from sink.mapping.rule import Rule
from sink.mapping.several import Cell, SourceRow, Touch
from sink.mapping.wide import Column, Need, Refused, overlong

Head: TypeAlias = "tuple[str | None, ...]"
"""The values of a record's wide columns."""

_DELETE: Final = Op.DELETE.value
_GONE: Final = frozenset((Op.DELETE.value, Op.MOVE.value))


class Fold:
    """Changes folded by wide key.

    `tables` has for each entity of the registry the wide rows that were touched. `needs` are keys without a column
    that were to be set: make their columns and fold again, or fold again with `refused` to put them in quarantine:
    (entity identity, key) -> reason, detail.

    Where the mapping is not plain, `moments` says where the source rows are from; and where several of them can meet
    in a cell, nothing is set: `touched` has the cells, to be read again from the source and then `put`. Where none are
    to meet, and `origins` are known, that goes for columns with several. `crowded` says of cells in which rows met
    all the same which those are.
    """

    def __init__(
        self,
        mapping: Mapping,
        routes: Routes,
        refused: Refused | None = None,
        interpreters: Interpreters | None = None,
        record_cache: RecordCache | None = None,
        origins: Origins | None = None,
    ) -> None:
        self._mapping = mapping
        self._origins = origins
        self._routes = routes
        self._one_text = mapping.one_text
        self._cells = Cells(mapping, refused or {})
        self.tables, self.needs = self._cells.tables, self._cells.needs
        self._interpreters = interpreters if interpreters is not None else Interpreters(mapping)
        table = mapping.table
        self._plain, self._tables = mapping.plain, mapping.tables
        self._record_cache = record_cache if record_cache is not None else RecordCache(routes)
        self._wide_names = table.wide
        self._entity_width = len(table.entity)
        self._key_from = 0 if mapping.layout == "single" else self._entity_width
        self._carried = list(table.carried)
        self._ignore_deletes = mapping.on_delete == "ignore"
        self._widens = mapping.type_conflict == "widen"
        self.quarantine_entries: list[QuarantineEntry] = []
        self.moments: Moments = {}
        self.touched: dict[Cell, Touch] = {}
        self.crowded: dict[Cell, str] = {}
        self.rows = 0
        self._places: dict[WideKey, tuple[Route, WideRow]] = {}  # by the values of a plain record's wide columns

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
        elif changes.table not in self._tables:
            self.reject(changes, origin, "foreign_record", f"a record of {changes.table}")
        elif not self._plain:
            self._interpret(changes, rows, wide, origin)
        elif None in wide:
            self.reject(changes, origin, "null_wide_key", "the entity or the time is NULL")
        else:
            try:
                self._fold(changes, rows, wide, origin, escape)  # type: ignore[arg-type]
            except _Overlong as error:
                self._turn_away(changes, origin, *error.args)

    def _fold(self, changes: Changes, rows: Sequence[list[Value]], wide: WideKey, origin: str, escape: bool) -> None:
        """The hot loop: what is an ordinary reading with a column is set here, all else by `_place`."""
        route, row = self._places.get(wide) or self._placed(wide)
        row.position = changes.stamp.position
        self.rows += len(rows)
        if isinstance(rows, Columnar) and self._record_cache.fold(rows.cells, route, row, escape=escape):
            return
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
            self._place(_Odd(changes, n, narrow, origin), route, row)

    def _placed(self, wide: WideKey) -> tuple[Route, WideRow]:
        why = overlong(wide[: self._entity_width], wide[self._entity_width :])
        if why is not None:
            raise _Overlong(*why)
        route = self._routes.of(wide[: self._entity_width])
        key = wide[self._key_from :]
        if self._one_text is not None:
            entity, time = self._one_text(wide[: self._entity_width], wide[self._entity_width :])
            key = (*entity, *time)[self._key_from :]
        place = self._places[wide] = route, self._cells.row(route.entity.identity, key)
        return place

    def _place(self, odd: _Odd, route: Route, row: WideRow) -> None:
        """One narrow row that is not just a value for its column."""
        key = odd.narrow[self._routes.key]
        misplacement = misplaced(key if isinstance(key, str) else None)
        if odd.narrow[0] in _GONE:
            kept = self._ignore_deletes and odd.narrow[0] == _DELETE
            if not kept and isinstance(key, str):
                clear(row, route, key)
        elif misplacement is not None or not isinstance(key, str):
            self._misfit(odd, *(misplacement or ("null_key", "the key is unknown")))
        else:
            self._read(odd, route, row, key)

    def _read(self, odd: _Odd, route: Route, row: WideRow, key: str) -> None:
        """The reading of an inserted or updated row: set, cleared, kept, or in quarantine."""
        filled = [index for index, _ in route.values if odd.narrow[index] is not None]
        if len(filled) > 1 and self._routes.discriminator is None:
            self._misfit(odd, *two_values(route.sources[index] for index in filled))
            clear(row, route, key)
            return
        index = self._chosen(odd, route)
        value = None if index is None else odd.narrow[index]
        if index is None and filled:
            self._misfit(odd, "unknown_discriminator", f"{odd.narrow[self._routes.discriminator or 0]!r} is no choice")
        column = route.entity.columns.get(key)
        source = "" if index is None else route.sources[index]
        need = Need(self._entity_values(odd), key, source, self._mapping.types.get(source, ""))
        fits = column is not None and self._routes.takes(column, source)
        refusal = self._cells.set(route, row, need, value, fits=fits)
        if refusal is not None:
            self._misfit(odd, *refusal)

    def _chosen(self, odd: _Odd, route: Route) -> int | None:
        """Where in the row the reading stands; None when there is none."""
        if self._routes.discriminator is None:
            return next((index for index, _ in route.values if odd.narrow[index] is not None), None)
        choice = route.choices.get(odd.narrow[self._routes.discriminator])  # type: ignore[arg-type]
        return None if choice is None else choice[0]

    def _entity_values(self, odd: _Odd) -> tuple[str | None, ...]:
        return tuple([odd.changes.wide[name] for name in self._mapping.table.entity])

    def _interpret(
        self, changes: Changes, rows: Sequence[list[Value]], head: tuple[str | None, ...], origin: str
    ) -> None:
        """The general path: row by row, by the rule of the table."""
        interpreter = self._interpreters.of(changes.table)
        several = interpreter.rule.several != "refuse"
        self.rows += len(rows)
        for n, narrow in enumerate(rows):
            gone = narrow[0] in _GONE
            if self._ignore_deletes and narrow[0] == _DELETE:
                continue
            odd = _Odd(changes, n, narrow, origin)
            found = interpreter.read(head, narrow[1:], gone=gone)
            if isinstance(found, Unplaced):
                if not gone or found.reason == "unknown_id":  # else it never had a place
                    self._misfit(odd, *found)
                continue
            for reading in found:
                if several or self._shared(reading, interpreter.rule, odd):
                    self._touch(reading, odd, head, there=not gone and interpreter.there(head, narrow[1:]))
                else:
                    self._put(reading, odd, interpreter.axis(head, narrow[1:]))

    def _shared(self, reading: Reading, rule: Rule, odd: _Odd) -> bool:
        """Has the reading's column several origins, so that rows can meet in its cells? One without a column has none:
        nothing can be in its cells."""
        if self._origins is None:
            return False
        entity = self._routes.of(reading.entity).entity
        if reading.key not in entity.columns and entity.overflow is None:
            return False
        return not self._origins.alone((entity.identity, reading.key), origin(rule, tuple(odd.narrow[1:])))

    def _touch(self, reading: Reading, odd: _Odd, head: tuple[str | None, ...], *, there: bool) -> None:
        stamp = odd.changes.stamp
        cell = Cell(reading.entity, reading.time, reading.key)
        row = SourceRow(odd.changes.table, head, tuple(odd.narrow[1:]))
        self.touched[cell] = Touch(row, reading, there, stamp.xid, stamp.position, f"{odd.origin}:{odd.n}")

    def _put(self, reading: Reading, odd: _Odd, axis: str) -> None:
        refusal = self.put(reading, odd.changes.stamp.position, [(odd.changes.table, axis)])
        if refusal is not None:
            self._misfit(odd, *refusal)

    def put(self, reading: Reading, position: Lsn, moments: list[tuple[str, str]]) -> Refusal | None:
        """Set or clear one cell, or need its column; answers why it cannot be placed (it is cleared then).

        `moments` are the tables and places on the chunks' axis where source rows of the cell can lie.
        """
        why = overlong(reading.entity, reading.time)
        if why is not None:
            return None if reading.value is None else why
        route = self._routes.of(reading.entity)
        wide = reading.time if self._mapping.layout == "per_entity" else reading.entity + reading.time
        identity = route.entity.identity
        row = self._cells.row(identity, wide)
        row.position = position
        self.moments.setdefault((identity, wide), set()).update(moments)
        column = route.entity.columns.get(reading.key)
        fits = reading.value is UNCHANGED or (column is not None and self._fits(reading, column))
        need = Need(reading.entity, reading.key, reading.source, reading.type)
        return self._cells.set(route, row, need, reading.value, fits=fits)

    def _fits(self, reading: Reading, column: Column) -> bool:
        return reading.fits(column.type) or (self._widens and holds(column.type, reading.type))

    def _reordered(self, changes: Changes) -> Sequence[list[Value]]:
        """The rows with their values in the order of `table.carried`; KeyError if one is not there."""
        place = {name: n for n, name in enumerate(changes.columns, 1)}
        picks = [0, *(place[name] for name in self._carried)]
        return [[narrow[pick] for pick in picks] for narrow in changes.rows]

    def _misfit(self, odd: _Odd, reason: str, detail: str) -> None:
        self.quarantine_entries.append(quarantine_entry(odd.changes, odd.n, odd.origin, reason, detail))

    def withhold(self, changes: Changes, origin: str, rows: Container[int], reason: str, detail: str) -> None:
        """Take a record in without what these of its rows set: that goes into quarantine, and the cells are cleared."""
        withheld = [n for n in setting(changes) if n in rows]
        self.quarantine_entries += [quarantine_entry(changes, n, origin, reason, detail) for n in withheld]
        left = list(changes.rows)
        for n in withheld:
            left[n] = [Op.MOVE.value, *left[n][1:]]
        self.add(changes._replace(rows=left), origin, escape=True)

    def _turn_away(self, changes: Changes, origin: str, reason: str, detail: str) -> None:
        """Put what a record sets into quarantine: what it clears is nowhere."""
        self.quarantine_entries += [quarantine_entry(changes, n, origin, reason, detail) for n in setting(changes)]

    def reject(self, changes: Changes, origin: str, reason: str, detail: str) -> None:
        """Put every row of a record into quarantine."""
        self.rows += len(changes.rows)
        self.quarantine_entries += [
            quarantine_entry(changes, n, origin, reason, detail) for n in range(len(changes.rows))
        ]


def setting(changes: Changes) -> list[int]:
    """The rows of a record that may set a cell, by their numbers."""
    return [n for n, row in enumerate(changes.rows) if row[0] not in _GONE]


class _Overlong(Exception):
    """A wide key that no index takes: reason and detail."""


class _Odd(NamedTuple):
    """A narrow row that the hot loop did not place. `narrow` has its values in the order of `table.carried`."""

    changes: Changes
    n: int
    narrow: list[Value]
    origin: str
