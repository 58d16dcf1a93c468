"""Clearing cells of wide tables: rows that end without a cell go, the others keep what was not cleared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, LiteralString

from psycopg import sql

from sink.mapping.names import LSN_COLUMN
from sink.mapping.wide import Column, Part
from sink.merge.present import Present
from sink.merge.stage import Shape
from sink.merge.staging_slot import StagingSlot
from sink.wide import cell, tables

SHAPE: Final[Shape] = ("bit varying",)
"""What a staging table for clears has: a bit for each column that a batch clears somewhere in the wide table, 1 where
it is to be cleared."""


class Clears:
    """What a batch clears in one wide table, by rows in a staging slot: of these columns, in the order of the bits."""

    def __init__(self, part: Part, slot: StagingSlot, columns: Sequence[Column]) -> None:
        self.slot, self.columns = slot, list(columns)
        self._connection = slot.stage.connection
        self._bits = slot.stage.column(0, "gone")
        self._names: dict[str, sql.Composable] = {
            "wide": tables.relation(part),
            "gone": slot.stage.table,
            "here": slot.here("gone"),
            "key": sql.SQL(", ").join(sql.Identifier("wide", column) for column in slot.stage.mapping.key_columns),
            "lsn": sql.Identifier(LSN_COLUMN),
            "bits": self._bits,
        }

    def lock(self) -> None:
        """Lock the rows: that keeps new cells out, so that none is taken for empty that has one in a new column."""
        self._run(
            "SELECT count(*) FROM ("
            "SELECT FROM {wide} AS wide JOIN {gone} AS gone ON {here} ORDER BY {key} FOR UPDATE OF wide) AS locked"
        )

    def take(self, now: Present) -> None:
        """Delete the rows that end without a cell; clear the cells of the others.

        Where other parts are led by this one, its rows go by `settle`, once theirs are gone.
        """
        indexes = {column.name: index for index, column in enumerate(self.columns)}
        if not now.led:
            empty = sql.SQL(" AND ").join(self._is_gone(column, indexes.get(column)) for column in now.columns)
            self._run("DELETE FROM {wide} AS wide USING {gone} AS gone WHERE {here} AND {empty}", empty=empty)
        if indexes:
            changes = sql.SQL(", ").join(
                sql.SQL("{0} = CASE WHEN {1} THEN NULL ELSE wide.{0} END").format(
                    sql.Identifier(column), self._marked(index)
                )
                for column, index in indexes.items()
            )
            self._run(
                "UPDATE {wide} AS wide SET {lsn} = gone.{lsn}, {changes} FROM {gone} AS gone"
                " WHERE {here} AND position(B'1' IN {bits}) > 0",
                changes=changes,
            )

    def settle(self, now: Present) -> None:
        """Of a part that leads others: rows that have no cell left go, or are bare where another part has one."""
        now.settle(self.slot, "gone", sql.SQL("true"))

    def _run(self, statement: LiteralString, **more: sql.Composable) -> None:
        self._connection.execute(sql.SQL(statement).format(**self._names, **more))

    def _marked(self, index: int) -> sql.Composed:
        return sql.SQL("get_bit({}, {}) = 1").format(self._bits, sql.Literal(index))

    def _is_gone(self, column: str, index: int | None) -> sql.Composed:
        """A cell that is NULL, or will be."""
        empty = cell.empty(sql.Identifier("wide", column))
        return empty if index is None else sql.SQL("({} OR {})").format(empty, self._marked(index))
