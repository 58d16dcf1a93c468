"""The staging tables of a session, which wide tables of one shape share.

A server empties every one of them at each commit, whether it was used or not, and holds locks on it for that: with one
for each wide table, a fleet of thousands would pay for all of them in each batch. So there are few. A row in one says
by a number which wide table it is for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import count
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from sink.mapping.mapping import Mapping
from sink.mapping.names import LSN_COLUMN
from sink.mapping.width import ROW_BYTES, VIEW_COLUMNS, Width, width
from sink.wide import tables

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

Shape: TypeAlias = "tuple[str, ...]"
"""The types of a table's columns, sorted."""

Range: TypeAlias = "tuple[str, str]"
"""The places (ctid) of the first and the last row of some."""

EVERYWHERE: Final[Range] = ("(0,0)", "(4294967295,65535)")

_INLINE: Final = 8160
"""Bytes of a staged row from which its long values are compressed and moved out: as late as the server allows."""

_MOST: Final = 16
"""Staging tables for as many shapes. Beyond them shapes share one that has room for all."""

_COPIES: Final = 64
"""Statements of a staging table that are kept."""

_numbers: Final = count(1)


def takes(mapping: Mapping, room: Shape, shape: Shape) -> bool:
    """Does every row of this shape fit a page of a staging table that has room for that one?

    It has the number beside what the wide table's row has, the columns in another order, and a bit for each of the
    columns: a row that fits its wide table may be longer than a page here.
    """
    row = width(["integer", *mapping.key_types.values(), "pg_lsn", *shape])
    return Width(row.columns - len(shape) + len(room), row.end).row_bytes <= ROW_BYTES


class Stage:
    """One staging table: which wide table a row is for, the key, `_lsn`, and a column for each type of the shape."""

    def __init__(self, connection: Connection, mapping: Mapping, shape: Shape) -> None:
        self.connection, self.mapping, self.shape = connection, mapping, shape
        # Names that no key column has.
        self._mark = "_" * (1 + max(len(name) - len(name.lstrip("_")) for name in mapping.key_columns))
        self.table = sql.Identifier("pg_temp", f"widebeam_stage_{next(_numbers)}")
        self.part = f"{self._mark}part"
        self._copies: dict[tuple[int, ...], bytes] = {}
        self._create()

    def column(self, index: int, *alias: str) -> sql.Identifier:
        """The name of one of those."""
        return sql.Identifier(*alias, f"{self._mark}{index}")

    @cached_property
    def head(self) -> sql.Composed:
        """The key's columns and `_lsn`."""
        return tables.names([*self.mapping.key_columns, LSN_COLUMN])

    def places(self, shape: Iterable[str]) -> list[int]:
        """The columns for values of these types, which are sorted. They fit."""
        free: dict[str, list[int]] = {}
        for index in reversed(range(len(self.shape))):
            free.setdefault(self.shape[index], []).append(index)
        return [free[each].pop() for each in shape]

    def copy(self, columns: Sequence[int]) -> bytes:
        """COPY of lines of the wide table's number, the key, `_lsn` and these columns."""
        wanted = tuple(columns)
        found = self._copies.get(wanted)
        if found is None:
            if len(self._copies) >= _COPIES:
                self._copies.clear()
            found = self._copies[wanted] = self._copy(wanted).as_bytes(self.connection)
        return found

    @property
    def copy_all(self) -> bytes:
        """COPY of lines with all columns."""
        return self.copy(range(len(self.shape)))

    def _copy(self, columns: tuple[int, ...]) -> sql.Composed:
        # The server compares each name of a list with every column: for hundreds, a sixth of all that it does.
        if columns == tuple(range(len(self.shape))):
            return sql.SQL("COPY {} FROM STDIN").format(self.table)
        names = sql.SQL(", ").join([sql.Identifier(self.part), self.head, *map(self.column, columns)])
        return sql.SQL("COPY {} ({}) FROM STDIN").format(self.table, names)

    def ranges(self) -> dict[int, Range]:
        """Where the rows of each wide table lie: about together, since they came together.

        (An index would cost more: it is made anew at each commit, and with it the plans of all statements.)
        """
        query = "SELECT {part}, min(ctid)::text, max(ctid)::text FROM {table} GROUP BY 1"
        found = self.connection.execute(sql.SQL(query).format(part=sql.Identifier(self.part), table=self.table))
        return {number: (first, last) for number, first, last in found}

    def drop(self) -> None:
        """Outside a transaction: there is nothing in it."""
        self.connection.execute(sql.SQL("DROP TABLE {}").format(self.table))

    def _create(self) -> None:
        fields = [
            sql.SQL("{} integer NOT NULL").format(sql.Identifier(self.part)),
            *(tables.definition(*each) for each in self.mapping.key_types.items()),
            tables.definition(LSN_COLUMN, "pg_lsn"),
            *(
                sql.SQL("{} {}").format(self.column(index), tables.type_name(type_text))
                for index, type_text in enumerate(self.shape)
            ),
        ]
        create = "CREATE TEMPORARY TABLE {} ({}) WITH (toast_tuple_target = {}) ON COMMIT DELETE ROWS"
        self.connection.execute(sql.SQL(create).format(self.table, sql.SQL(", ").join(fields), sql.Literal(_INLINE)))


class Stages:
    """The staging tables that there are in a session, by their shapes. They are kept: their number has a bound."""

    def __init__(self, connection: Connection, mapping: Mapping) -> None:
        self._connection, self._mapping = connection, mapping
        self._by_shape: dict[Shape, Stage] = {}  # the one that was used last stands last
        self._in_use: set[Shape] = set()

    def begin(self) -> None:
        """A transaction is over: none of them is in use."""
        self._in_use.clear()

    def of(self, shape: Shape) -> Stage:
        """One for rows of this shape. Outside a transaction: it may have to be made, and another one dropped."""
        stage = self._by_shape.pop(self._fitting(shape), None)
        if stage is None:
            stage = Stage(self._connection, self._mapping, self._with_room(shape))
        self._by_shape[stage.shape] = stage
        self._in_use.add(stage.shape)
        return stage

    def _fitting(self, shape: Shape) -> Shape:
        """The shape of the one to take, if it is there: its own; where there are many, any that has room."""
        if shape in self._by_shape or len(self._by_shape) < _MOST:
            return shape
        wanted = Counter(shape)
        fitting = (each for each in self._by_shape if wanted <= Counter(each) and takes(self._mapping, each, shape))
        return next(fitting, shape)

    def _with_room(self, shape: Shape) -> Shape:
        """What a new one is to look like. Where there are many, it has room for all, and those not in use go."""
        if len(self._by_shape) < _MOST:
            return shape
        room = Counter(shape)
        for each in self._by_shape:
            room |= Counter(each)
        for each in [each for each in self._by_shape if each not in self._in_use]:
            self._by_shape.pop(each).drop()
        wide = tuple(sorted(room.elements()))
        return wide if len(wide) < VIEW_COLUMNS and takes(self._mapping, wide, shape) else shape
