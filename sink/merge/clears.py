"""Clearing cells of wide tables: rows that end without a cell go, the others keep what was not cleared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from psycopg import sql

from sink.mapping.layout import LSN_COLUMN
from sink.mapping.mapping import Mapping
from sink.mapping.wide import Column, Part
from sink.merge.stage import Connection, Shape
from sink.merge.staging_slot import StagingSlot
from sink.wide import cell, tables

SHAPE: Final[Shape] = ("bit varying",)
"""What a staging table for clears has: a bit for each column that a batch clears somewhere in the wide table, 1 where
it is to be cleared."""


class Clears:
    """What a batch clears in one wide table, by rows in a staging slot: of these columns, in the order of the bits."""

    def __init__(self, part: Part, slot: StagingSlot, columns: Sequence[Column]) -> None:
        self._part, self.slot, self.columns = part, slot, list(columns)
        self._connection, self._mapping = slot.stage.connection, slot.stage.mapping
        self._bits = slot.stage.column(0, "gone")

    def merge(self) -> None:
        """Delete the rows that end without a cell; clear the cells of the others."""
        parts: dict[str, sql.Composable] = {
            "wide": tables.relation(self._part),
            "gone": self.slot.stage.table,
            "here": self.slot.here("gone"),
            "key": sql.SQL(", ").join(sql.Identifier("wide", column) for column in self._mapping.key_columns),
            "lsn": sql.Identifier(LSN_COLUMN),
        }
        # The lock keeps new columns out, so that a row is not taken for empty that has a cell in one.
        lock = (
            "SELECT count(*) FROM ("
            "SELECT FROM {wide} AS wide JOIN {gone} AS gone ON {here} ORDER BY {key} FOR UPDATE OF wide) AS locked"
        )
        self._connection.execute(sql.SQL(lock).format(**parts))
        indexes = {column.name: index for index, column in enumerate(self.columns)}
        columns = columns_now(self._connection, self._mapping, self._part)
        empty = sql.SQL(" AND ").join(self._is_gone(column, indexes.get(column)) for column in columns)
        self._connection.execute(
            sql.SQL("DELETE FROM {wide} AS wide USING {gone} AS gone WHERE {here} AND {empty}").format(
                empty=empty, **parts
            )
        )
        changes = sql.SQL(", ").join(
            sql.SQL("{0} = CASE WHEN {1} THEN NULL ELSE wide.{0} END").format(
                sql.Identifier(column), self._marked(index)
            )
            for column, index in indexes.items()
        )
        self._connection.execute(
            sql.SQL("UPDATE {wide} AS wide SET {lsn} = gone.{lsn}, {changes} FROM {gone} AS gone WHERE {here}").format(
                changes=changes, **parts
            )
        )

    def _marked(self, index: int) -> sql.Composed:
        return sql.SQL("get_bit({}, {}) = 1").format(self._bits, sql.Literal(index))

    def _is_gone(self, column: str, index: int | None) -> sql.Composed:
        """A cell that is NULL, or will be."""
        empty = cell.empty(sql.Identifier("wide", column))
        return empty if index is None else sql.SQL("({} OR {})").format(empty, self._marked(index))


def columns_now(connection: Connection, mapping: Mapping, part: Part) -> list[str]:
    """The part's columns as they are now: another process may have added some since ours were read."""
    found = connection.execute(
        "SELECT column_name FROM widebeam.columns WHERE (connector, entity, part) = (%s, %s, %s)",
        [mapping.connector, part.entity, part.number],
    )
    return [name for (name,) in found]
