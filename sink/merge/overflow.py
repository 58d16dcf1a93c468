"""The overflow: one jsonb column of a wide table, whose members are the cells of keys without a column of their own.

A member's value is the text that the source prints, as a JSON string: no digit is lost. What holds for a column holds
for a member: the stream wins, a chunk only fills, and a row without any cell is not there.
"""

from __future__ import annotations

from typing import Final, LiteralString

from psycopg import sql

from sink.mapping.names import LSN_COLUMN
from sink.mapping.wide import Column, Part
from sink.merge.present import Present
from sink.merge.stage import Shape
from sink.merge.staging_slot import StagingSlot
from sink.wide import cell, tables

SHAPE: Final[Shape] = ("jsonb", "jsonb")
"""What a staging table for overflows has: an object of what is set, and an array of keys that go."""


class Overflow:
    """One wide table's rows in its slot of the staging table for overflows.

    `column` is the wide table's jsonb column.
    """

    def __init__(self, part: Part, column: Column, slot: StagingSlot) -> None:
        self.part, self.slot = part, slot
        stage = slot.stage
        key = list(stage.mapping.key_columns)
        self._names: dict[str, sql.Composable] = {
            "wide": tables.relation(part),
            "stage": stage.table,
            "over": sql.Identifier(column.name),
            "lsn": sql.Identifier(LSN_COLUMN),
            "key": tables.names(key),
            "order": sql.SQL(", ").join(sql.Identifier("wide", each) for each in key),
            "here": slot.here("stage"),
            "mine": slot.mine(),
            "set": stage.column(0),
            "gone": stage.column(1),
            "is_set": cell.filled(stage.column(0)),
            "is_gone": cell.filled(stage.column(1, "stage")),
        }

    def set(self) -> None:
        """The stream's members go over what is there."""
        self._run(
            "INSERT INTO {wide} AS wide ({key}, {lsn}, {over})"
            " SELECT {key}, {lsn}, {set} FROM {stage} WHERE {mine} AND {is_set} ORDER BY {key}"
            " ON CONFLICT ({key}) DO UPDATE"
            " SET {lsn} = EXCLUDED.{lsn}, {over} = coalesce(wide.{over}, '{{}}') || EXCLUDED.{over}"
        )

    def fill(self) -> None:
        """A chunk's members go below what is there, and the `_lsn` of a row that exists stays."""
        self._run(
            "INSERT INTO {wide} AS wide ({key}, {lsn}, {over})"
            " SELECT {key}, {lsn}, {set} FROM {stage} WHERE {mine} AND {is_set} ORDER BY {key}"
            " ON CONFLICT ({key}) DO UPDATE"
            " SET {over} = EXCLUDED.{over} || coalesce(wide.{over}, '{{}}'), {position}",
            position=tables.FILL_POSITION,
        )

    def lock(self) -> None:
        """Lock the rows that members are taken out of."""
        self._run(
            "SELECT count(*) FROM (SELECT FROM {wide} AS wide JOIN {stage} AS stage ON {here}"
            " WHERE {is_gone} ORDER BY {order} FOR UPDATE OF wide) AS locked"
        )

    def take(self, now: Present) -> None:
        """Take members out; rows that end without a cell go. (By `settle`, where the part leads others.)"""
        self._run(
            "UPDATE {wide} AS wide SET {lsn} = stage.{lsn}, {over} = nullif(wide.{over}"
            " - ARRAY(SELECT jsonb_array_elements_text(stage.{gone})), '{{}}')"
            " FROM {stage} AS stage WHERE {here} AND {is_gone}"
        )
        if not now.led:
            self.settle(now)

    def settle(self, now: Present) -> None:
        """Rows that have no cell left go, or are bare where another part has one."""
        now.settle(self.slot, "stage", self._names["is_gone"])

    def _run(self, statement: LiteralString, **more: sql.Composable) -> None:
        self.slot.stage.connection.execute(sql.SQL(statement).format(**self._names, **more))
