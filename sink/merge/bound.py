"""Few rows for a wide table: bound to a statement's parameters, instead of staged.

A transaction that has touched a temporary table empties all of the session's when it commits, and cuts three files for
each of them: the table, its long values, their index. For a batch of a few rows that costs ten times the merge, more
with each wide table of the session, and it waits for the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final, TypeAlias

from psycopg import sql

from sink.fold.copytext import unescaped
from sink.fold.rows import PartRows
from sink.mapping.mapping import Mapping
from sink.mapping.names import LSN_COLUMN
from sink.mapping.wide import Column, Part
from sink.merge.locked import Locked
from sink.merge.plans import Plans
from sink.merge.stage import Connection
from sink.wide import tables
from sink.wide.registry import Registry

Row: TypeAlias = "list[str | None]"
"""The parameters of one wide row: its key, `_lsn`, and each column of the statement, None where it sets nothing."""

FEW: Final = 8
"""So many rows of one wide table are bound at most."""

_AT_ONCE: Final = 8_192 - 256
"""Bytes of a bound row at most, so that libpq sends the statement whole, and at once.

It is sent when locks are held, and a process that is stopped between two sendings stays there: no time limit of the
server's sees that."""

_MOST: Final = 2_100
"""Parameters of a batch whose rows are bound: eight rows of 250 columns cost as much as when they are staged."""

_A_PARAMETER: Final = 6
"""Bytes of a parameter beside its value: two for its format, four for its length."""


class Bound:
    """The statement that merges a row into one wide table. It names all columns, whatever a row sets, so that it stays
    the same, and the server keeps its plan."""

    def __init__(
        self, connection: Connection, mapping: Mapping, part: Part, columns: Sequence[Column], *, leads: bool
    ) -> None:
        self._connection, self._mapping, self.part, self.leads = connection, mapping, part, leads
        self._width = len(mapping.key_columns) + 1
        self._places = {column.ordinal: self._width + n for n, column in enumerate(columns)}
        self._room = _AT_ONCE - _A_PARAMETER * (self._width + len(columns))
        self.columns = list(columns)

    def rows(self, batch: PartRows) -> list[Row] | None:
        """The rows of a batch in the order of their keys; None where they are to be staged."""
        if batch.clear_lines or batch.over_lines or sum(len(lines) for _, lines in batch.copies) > FEW:
            return None
        if any(len(line.encode()) > self._room for _, lines in batch.copies for line in lines):
            return None
        return self._sorted([self._row(columns, line) for columns, lines in batch.copies for line in lines])

    def _row(self, columns: list[Column], line: str) -> Row:
        """A line of COPY, taken apart."""
        fields: Row = list(line[:-1].split("\t"))
        if "\\" in line:
            fields = [None if field is None else unescaped(field) for field in fields]
        row = fields[: self._width] + [None] * len(self._places)
        for column, field in zip(columns, fields[self._width :], strict=True):
            row[self._places[column.ordinal]] = field
        return row

    def _sorted(self, rows: list[Row]) -> list[Row]:
        """In the order in which all lock rows of a wide table: the server's, since it goes by its types."""
        if len(rows) < 2:
            return rows
        key = range(len(self._mapping.key_columns))
        found = self._connection.execute(_order(self._mapping), [[row[n] for row in rows] for n in key])
        return [rows[number - 1] for (number,) in found]

    @cached_property
    def upsert(self) -> bytes:
        """The stream wins, and a parameter that is NULL stands for what is not set."""
        names = [*self._mapping.key_columns, LSN_COLUMN, *(column.name for column in self.columns)]
        quoted = [sql.Identifier(column.name) for column in self.columns]
        changes = [tables.STREAM_POSITION, *(sql.SQL(tables.STREAM_WINS).format(each) for each in quoted)]
        statement = sql.SQL(
            "INSERT INTO {wide} AS wide ({names}) VALUES ({values})"
            " ON CONFLICT ({key}) DO UPDATE SET {changes}{where} /* {widened} */"
        ).format(
            wide=tables.relation(self.part),
            names=tables.names(names),
            values=sql.SQL(", ").join([sql.SQL(f"${n}") for n in range(1, len(names) + 1)]),
            key=tables.names(self._mapping.key_columns),
            changes=sql.SQL(", ").join(changes),
            where=tables.UNLESS_BARE if self.leads else sql.SQL(""),
            # What the server has prepared knows its parameters' types: with other ones it is another statement.
            widened=sql.Literal(sum(column.widened for column in self.columns)),
        )
        return statement.as_bytes(self._connection)


class Few:
    """The rows of a batch with the statements to which they are bound: nothing is to be staged, but locked at once."""

    def __init__(self, registry: Registry, plans: Plans, rows: list[tuple[Bound, list[Row]]]) -> None:
        self._registry, self._plans, self._rows = registry, plans, rows

    def lock(self) -> LockedFew:
        """From here on columns stay as they are. Raises Retyped where they have not since they were read."""
        self._registry.hold(self._plans.connection)
        return LockedFew(self._plans, self._registry.mapping, self._rows)


class LockedFew(Locked):
    """Bound rows that can be merged."""

    def __init__(self, plans: Plans, mapping: Mapping, rows: list[tuple[Bound, list[Row]]]) -> None:
        super().__init__(plans.connection, mapping)
        self._plans = plans
        self._rows = sorted(rows, key=lambda each: each[0].part.table)

    def upsert(self) -> None:
        """As for all, one row after the other: see `_AT_ONCE`."""
        for bound, rows in self._rows:
            for row in rows:
                self._plans.run(bound, bound.upsert, row)


class Bounds:
    """The statements of all wide tables that a session has come by, until `forget`."""

    def __init__(self, mapping: Mapping, plans: Plans) -> None:
        self._mapping, self._plans = mapping, plans
        self._tables: dict[str, Bound] = {}

    def forget(self) -> None:
        """Columns have other types or names."""
        self._tables.clear()

    def rows(self, batch: Iterable[PartRows]) -> list[tuple[Bound, list[Row]]] | None:
        """The rows of a batch, in which no table comes twice; None if they are so many that they are to be staged."""
        few: list[tuple[Bound, list[Row]]] = []
        parameters = 0
        for rows in batch:
            bound = self._of(rows)
            found = bound.rows(rows)
            parameters += 0 if found is None else len(found) * len(rows.columns)
            if found is None or parameters > _MOST:
                return None
            few.append((bound, found))
        return few

    def _of(self, rows: PartRows) -> Bound:
        table = rows.part.table
        bound = self._tables.get(table)
        if bound is None or bound.columns != rows.columns or bound.leads != rows.leads:
            if bound is not None:
                self._plans.forget(bound)
            bound = self._tables[table] = Bound(
                self._plans.connection, self._mapping, rows.part, rows.columns, leads=rows.leads
            )
        return bound


def _order(mapping: Mapping) -> sql.Composed:
    """Numbers of keys, which come as an array for each column, in the order of the wide key."""
    names = [sql.Identifier(f"k{n}") for n in range(len(mapping.key_types))]
    typed = (
        sql.SQL("{}::{}").format(name, tables.type_name(text))
        for name, text in zip(names, mapping.key_types.values(), strict=True)
    )
    return sql.SQL("SELECT n FROM unnest({}) WITH ORDINALITY AS keys ({}, n) ORDER BY {}").format(
        sql.SQL(", ").join([sql.SQL("%s::text[]")] * len(names)), sql.SQL(", ").join(names), sql.SQL(", ").join(typed)
    )
