"""A wide table as it is in the target at present, whose rows are locked: others may have added to it since it was read.

Whoever takes cells away asks: a row may go only when it has none left, and when no other part has a row for which it is
there (`Entity.bases`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from sink.mapping.mapping import Mapping
from sink.mapping.names import BARE, LSN_COLUMN
from sink.mapping.wide import Part
from sink.merge.stage import Connection
from sink.merge.staging_slot import StagingSlot
from sink.wide import cell, tables

_NO_MORE: Final = sql.SQL("")
_PRESENT: Final = """
SELECT ARRAY(
    SELECT column_name FROM widebeam.columns WHERE (connector, entity, part) = (own.connector, own.entity, own.part)
), ARRAY(
    SELECT ARRAY[other.schema_name, other.table_name] FROM widebeam.tables AS other
    WHERE (other.connector, other.entity) = (own.connector, own.entity) AND other.part > own.part AND EXISTS (
        SELECT FROM unnest(ARRAY[own.view_name, own.group_view]) AS shown (view)
        WHERE view IN (other.view_name, other.group_view) AND NOT EXISTS (
            SELECT FROM widebeam.tables AS first
            WHERE (first.connector, first.entity) = (own.connector, own.entity) AND first.part < own.part
            AND view IN (first.view_name, first.group_view)
        )
    ) ORDER BY other.part
) FROM widebeam.tables AS own WHERE (own.connector, own.entity, own.part) = (%s, %s, %s)
"""


@dataclass(frozen=True, slots=True)
class Present:
    """The names of the `part`'s `columns`, and the tables that are `led` by it: whose rows need one here."""

    part: Part
    key: Sequence[str]
    columns: list[str]
    led: list[sql.Identifier]

    def empty(self) -> sql.Composed:
        """The row, which is called `wide`, has no cell."""
        return sql.SQL(" AND ").join(cell.empty(sql.Identifier("wide", column)) for column in self.columns)

    def needed(self, more: sql.Composable = _NO_MORE) -> sql.Composed:
        """A part that is led has a row for which `wide` is there; `more`: a test for it, where it is called `other`."""
        same = sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier("other", column), sql.Identifier("wide", column))
            for column in self.key
        )
        form = sql.SQL("EXISTS (SELECT FROM {} AS other WHERE {}{})")
        tests = [form.format(each, same, more) for each in self.led]
        return sql.SQL(" OR ").join(tests) if tests else sql.Composed([sql.SQL("false")])

    def settle(self, slot: StagingSlot, staged: str, which: sql.Composable) -> None:
        """Of the rows of the wide table that those in a slot are for, the ones without a cell go, or, where a part that
        is led has one, are bare. `which`: those of the slot, which is called `staged`, that matter."""
        names: dict[str, sql.Composable] = {
            "wide": tables.relation(self.part),
            "staged": sql.SQL("{} AS {}").format(slot.stage.table, sql.Identifier(staged)),
            "here": sql.SQL("{} AND {} AND {}").format(slot.here(staged), which, self.empty()),
            "needed": self.needed(),
            "lsn": sql.Identifier(LSN_COLUMN),
            "bare": sql.Literal(BARE),
        }
        statements = ["DELETE FROM {wide} AS wide USING {staged} WHERE {here} AND NOT ({needed})"]
        if self.led:
            statements.append(
                "UPDATE {wide} AS wide SET {lsn} = {bare} FROM {staged} WHERE {here} AND wide.{lsn} <> {bare}"
            )
        for statement in statements:
            slot.stage.connection.execute(sql.SQL(statement).format(**names))


def present(connection: Connection, mapping: Mapping, part: Part) -> Present:
    """What there is of a part."""
    row = connection.execute(_PRESENT, [mapping.connector, part.entity, part.number]).fetchone()
    columns, led = ([], []) if row is None else row
    return Present(part, mapping.key_columns, columns, [sql.Identifier(*name) for name in led])
