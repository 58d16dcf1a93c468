"""Where the rows of one wide table lie in a staging table, and the statements that bring them out of it.

The statements name all columns of the wide table, whatever a batch sets, so that they stay the same from batch to
batch: the server then keeps their plans, which for hundreds of columns cost more than a small batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import LiteralString

from psycopg import sql

from sink.fold.rows import by_type
from sink.mapping.mapping import Mapping
from sink.mapping.wide import Column, Part
from sink.merge.stage import Connection, Shape, Stage
from sink.wide import tables


def shape_of(columns: Iterable[Column]) -> Shape:
    """The shape that a staging table for these columns has."""
    return tuple(sorted(column.type for column in columns))


class StagingSlot:
    """The rows with this `number` in a staging table are those of this wide table, which has these columns."""

    def __init__(
        self, connection: Connection, mapping: Mapping, part: Part, columns: Sequence[Column], stage: Stage, number: int
    ) -> None:
        self.part, self.columns, self.stage, self.number = part, list(columns), stage, number
        self._connection, self._mapping = connection, mapping
        ordered = sorted(columns, key=by_type)
        places = stage.places(column.type for column in ordered)
        self.planned = 0  # what the plans that the server keeps of it take
        self._slots = {column.ordinal: place for column, place in zip(ordered, places, strict=True)}

    def copy(self, columns: Iterable[Column]) -> bytes:
        """COPY of lines of the mark, the key, `_lsn` and these columns."""
        return self.stage.copy([self._slots[column.ordinal] for column in columns])

    @cached_property
    def upsert(self) -> bytes:
        """The stream wins: what is staged, and NULL stands for what is not set. $1 and $2: where the rows lie."""
        return self._merge(tables.STREAM_WINS, tables.STREAM_POSITION)

    @cached_property
    def fill(self) -> bytes:
        """A chunk fills: only where there is nothing. $1 and $2 as above."""
        return self._merge("{0} = COALESCE(wide.{0}, EXCLUDED.{0})")

    def _merge(self, form: LiteralString, *more: sql.Composable) -> bytes:
        # Quoted once, and put together as text: with hundreds of parts, that costs as much as the first merge.
        quoted = [sql.Identifier(column.name).as_string(self._connection) for column in self.columns]
        slots = [self.stage.slot(self._slots[column.ordinal]).as_string(self._connection) for column in self.columns]
        changes = sql.SQL(", ".join([form.format(each) for each in quoted]))
        statement = sql.SQL(
            "INSERT INTO {wide} AS wide ({head}, {columns}) SELECT {head}, {slots} FROM {stage}"
            " WHERE ctid >= $1::tid AND ctid <= $2::tid AND {mine}"
            " ORDER BY {key} ON CONFLICT ({key}) DO UPDATE SET {changes}"
        ).format(
            wide=tables.relation(self.part),
            head=self.stage.head,
            columns=sql.SQL(", ".join(quoted)),
            slots=sql.SQL(", ".join(slots)),
            stage=self.stage.table,
            mine=self.stage.mine(self.number),
            key=tables.names(self._mapping.key_columns),
            changes=sql.SQL(", ").join([*more, changes]),
        )
        return statement.as_bytes(self._connection)
