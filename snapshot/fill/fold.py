"""Folding a chunk: lines of COPY become wide rows. Pure.

Values stay as COPY wrote them, escapes and all, and go out like that again. Keys and discriminators are compared in
that form too (it is one to one), so a line is split and nothing in it is looked at twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

from cdc.lsn import Lsn
from cdc.record.record import Changes, Stamp
from sink.fold.column_route import Routes
from sink.fold.copytext import NULL, unescaped
from sink.fold.pivot import Fold
from sink.fold.quarantine_entry import QuarantineEntry
from sink.fold.rows import WideKey, WideRow
from sink.mapping.interpret import Interpreters
from sink.mapping.mapping import Mapping
from sink.mapping.origin import Origins
from sink.mapping.wide import Need, overlong
from snapshot.chunks.plan import Chunk
from snapshot.fill.chunk_route import ChunkRoute
from snapshot.fill.crowd import Crowd

Refused: TypeAlias = "dict[tuple[str, str], tuple[str, str]]"
Cells: TypeAlias = "dict[int, str | None]"

_WIDE_ROW_BYTES: Final = 700  # a row with its dictionary and its keys
_CELL_BYTES: Final = 60  # and the value itself


class Others(Protocol):
    """What is to be known of rows of other origins (snapshot/fill/others.py)."""

    @property
    def origins(self) -> Origins | None:
        """Those of the columns, for a fold."""

    def settled(self, fold: Fold, again: Callable[[], Fold]) -> Fold:
        """The fold, with the origins of its columns written down; made again as long as one is news as shared."""

    def fill(self, fold: Fold) -> None:
        """Set the cells of shared columns, and tell of those that other rows fill, too."""


_NO_ROUTE: Final = ChunkRoute()


class ChunkFold(dict[str, tuple[ChunkRoute, Cells]]):
    """The lines of a chunk, folded by wide key. Itself a dictionary: a line's head -> where its cells go.

    `tables` is as in sink.fold.pivot.Fold: entity identity -> wide key -> row, all of them at position `cutoff`.
    After `add`, as long as `open` is true, `place` what could not be placed at once. `line` is the number of the
    first line: a chunk may be folded in pieces.

    Where the mapping is not plain, every line is placed by `place`, row by row. `look_up` reads the dictionary again
    when it lacks an id, and tells whether that may have helped. `others` knows of rows that are not to be met.

    A chunk that only fills has no use for NULLs; one that is written over what is there clears cells by them.
    """

    def __init__(
        self,
        mapping: Mapping,
        routes: Routes,
        cutoff: Lsn,
        chunk: Chunk,
        *,
        line: int = 0,
        interpreters: Interpreters | None = None,
        look_up: Callable[[], bool] | None = None,
        others: Others | None = None,
    ) -> None:
        super().__init__()
        self._interpreters = interpreters if interpreters is not None else Interpreters(mapping)
        self._look_up = look_up or (lambda: False)
        self._others = others
        self.tables: dict[str, dict[WideKey, WideRow]] = {}
        self.quarantine_entries: list[QuarantineEntry] = []
        self.rows = 0
        self._first_line, self._bytes = line, 0
        self._mapping, self._routes, self._cutoff, self._chunk = mapping, routes, cutoff, chunk
        self._one_text = mapping.one_text
        self._clears = chunk.reads != ""
        self._entity_width = len(mapping.table.entity)
        self._key_from = 0 if mapping.layout == "single" else self._entity_width
        self._chunk_routes: dict[tuple[str | None, ...], ChunkRoute] = {}
        self._odd: list[tuple[int, list[str]]] = []
        self._crowd = None if mapping.rule.several == "refuse" else Crowd(mapping, self._interpreters)

    @property
    def open(self) -> bool:
        """Are there lines that are not placed yet?"""
        return bool(self._odd) or (self._crowd is not None and self._crowd.open)

    @property
    def cells(self) -> int:
        """How many cells are set."""
        every = [row for rows in self.tables.values() for row in rows.values()]
        cleared = sum(list(row.cells.values()).count(None) for row in every if row.clears)
        return sum(len(row.cells) + len(row.over or ()) for row in every) - cleared

    @property
    def next_line(self) -> int:
        """The number of the line after the last one."""
        return self._first_line + self.rows

    @property
    def weight(self) -> int:
        """About how many bytes of memory this takes."""
        return _WIDE_ROW_BYTES * len(self) + _CELL_BYTES * self.rows + self._bytes

    def add(self, lines: Sequence[str], size: int = 0) -> None:
        """Take lines in, without their line ends. `size` is their length in bytes, for `weight`."""
        if self._crowd is not None:
            self._crowd.add(
                self._chunk.source or self._mapping.table.qualified,
                self.next_line,
                [self._fields(line) for line in lines],
            )
        elif self._clears or not self._mapping.plain:
            self._odd += [(number, self._fields(line)) for number, line in enumerate(lines, self.next_line)]
        elif self._routes.discriminator is None:
            self._add_first_set(lines)
        else:
            self._add_chosen(lines, self._routes.discriminator)
        self.rows += len(lines)
        self._bytes += size

    def add_other(self, source: str, lines: Sequence[str]) -> None:
        """Take lines of another table in, before the chunk's own ones: rows that may meet with its rows in a cell."""
        if self._crowd is not None:
            self._crowd.add(source, None, map(self._fields, lines))

    def _add_chosen(self, lines: Sequence[str], discriminator: int) -> None:
        """The hot loop where a discriminator chooses the value."""
        key, width = self._routes.key, len(self._mapping.table.carried)
        last, chunk_route, cells = None, _NO_ROUTE, dict[int, str | None]()
        for number, line in enumerate(lines, self.next_line):
            fields = line.rsplit("\t", width)
            if fields[0] != last:
                last = fields[0]
                chunk_route, cells = self[last]
            try:
                index, slots = chunk_route.choices[fields[discriminator]]
                value = fields[index]
                if value != NULL:
                    cells[slots[fields[key]]] = value
            except KeyError:
                self._odd.append((number, fields))

    def _add_first_set(self, lines: Sequence[str]) -> None:
        """The hot loop where the one value that is not NULL is the reading."""
        table = self._mapping.table
        key, width, first = self._routes.key, len(table.carried), 1 + len(table.key)
        last, one = first + len(table.values), len(table.values) - 1
        for number, line in enumerate(lines, self.next_line):
            fields = line.rsplit("\t", width)
            chunk_route, cells = self[fields[0]]
            if fields[first:last].count(NULL) < one:
                self._odd.append((number, fields))
                continue
            try:
                for index, slots in chunk_route.values:
                    if fields[index] != NULL:
                        cells[slots[fields[key]]] = fields[index]
                        break
                else:
                    if chunk_route is _NO_ROUTE:
                        self._odd.append((number, fields))
            except KeyError:
                self._odd.append((number, fields))

    def __missing__(self, head: str) -> tuple[ChunkRoute, Cells]:
        """A head that was not there yet: its wide row, or none when a part of it is NULL."""
        wide = [unescaped(each) for each in head.split("\t")]
        width = self._entity_width
        if None in wide or overlong(wide[:width], wide[width:]) is not None:  # `place` says why
            place = self[head] = (_NO_ROUTE, {})
        else:
            place = self[head] = self._new_row(tuple(wide))  # type: ignore[arg-type]
        return place

    def _new_row(self, wide: WideKey) -> tuple[ChunkRoute, Cells]:
        entity = wide[: self._entity_width]
        route = self._routes.of(entity)
        chunk_route = self._chunk_routes.get(entity)
        if chunk_route is None:
            chunk_route = self._chunk_routes[entity] = ChunkRoute.of(route)
        rows = self.tables.setdefault(route.entity.identity, {})
        key = wide[self._key_from :]
        if self._one_text is not None:
            of, time = self._one_text(entity, wide[self._entity_width :])
            key = (*of, *time)[self._key_from :]
        row = rows.get(key)
        if row is None:
            row = rows[key] = WideRow(self._cutoff)
        return chunk_route, row.cells

    def place(self, refused: Refused) -> list[Need]:
        """Place the lines that could not be placed at once; or answer which columns they need, and place none.

        `refused` are the keys that cannot have a column: their readings become quarantine_entries.
        """
        for entity, chunk_route in self._chunk_routes.items():
            chunk_route.follow(self._routes.of(entity))
        slow = self._slow(refused)
        if self._interpreters.dictionary.missing and self._look_up():
            slow = self._slow(refused)
        if self._others is not None:
            slow = self._others.settled(slow, lambda: self._slow(refused))
            self._others.fill(slow)
        if not slow.needs:
            self._take(slow)
            self._odd.clear()
            if self._crowd is not None:
                self._crowd.settled()
        return list(slow.needs)

    def _slow(self, refused: Refused) -> Fold:
        origins = None if self._others is None else self._others.origins
        slow = Fold(self._mapping, self._routes, refused, self._interpreters, origins=origins)
        if self._crowd is not None:
            self._crowd.put(slow, self._cutoff, f"chunk:{self._chunk.number}")
        for number, fields in self._odd:
            slow.add(self._changes(fields), f"chunk:{self._chunk.number}:{number}", escape=True)
        return slow

    def _take(self, slow: Fold) -> None:
        """Take over what was placed. A row without a value may come after one with one."""
        self.quarantine_entries += slow.quarantine_entries
        for identity, rows in slow.tables.items():
            mine = self.tables.setdefault(identity, {})
            for key, row in rows.items():
                taken = mine.setdefault(key, WideRow(self._cutoff))
                taken.cells.update(row.cells)
                for bare in row.bare or ():
                    taken.clear_bare(bare)
                for over in (row.over or {}).items():
                    taken.put_over(*over)
                if self._clears:
                    taken.clears |= row.clears
                elif row.clears or row.bare:
                    taken.drop_clears()

    def _changes(self, fields: list[str]) -> Changes:
        """One line as a record of one insert, which is what the stream would have made of it."""
        table = self._mapping.table
        head = fields[0].split("\t") if table.wide else []
        wide = dict(zip(table.wide, map(unescaped, head), strict=True))
        stamp = Stamp(self._mapping.connector, 0, 0, self._cutoff, 0, 0)
        source = self._chunk.source or table.qualified
        return Changes(stamp, source, wide, list(table.carried), [["i", *map(unescaped, fields[1:])]])

    def _fields(self, line: str) -> list[str]:
        """A line's head, and its carried values."""
        table = self._mapping.table
        return line.rsplit("\t", len(table.carried)) if table.wide else ["", *line.split("\t")]
