"""The values of one wide table as they lie in a staging table, and the statements that bring them out of it.

The statements name all columns of the wide table, whatever a batch sets, so that they stay the same from batch to
batch: the server then keeps their plans, which for hundreds of columns cost more than a small batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import LiteralString

from psycopg import sql

from sink.fold.copytext import NULL
from sink.fold.rows import Lines, by_type
from sink.mapping.mapping import Mapping
from sink.mapping.wide import Column, Part
from sink.merge.stage import Shape, takes
from sink.merge.staging_slot import StagingSlot
from sink.wide import tables


def shape_of(columns: Iterable[Column]) -> Shape:
    """The shape that a staging table for these columns has."""
    return tuple(sorted(column.type for column in columns))


def pieces(mapping: Mapping, columns: Sequence[Column]) -> list[Sequence[Column]]:
    """The columns of a wide table as they are staged: together, or in halves where a row would not fit a page so."""
    shape = shape_of(columns)
    if takes(mapping, shape, shape):
        return [columns]
    middle = len(columns) // 2
    return [columns[:middle], columns[middle:]]


class Values:
    """The values of these columns of a wide table, in its slot.

    (Half of its columns, where its rows fill a page: see `pieces`.)
    """

    def __init__(self, part: Part, columns: Sequence[Column], slot: StagingSlot, *, leads: bool = False) -> None:
        self.part, self.columns, self.slot, self.leads = part, list(columns), slot, leads
        self.shape = shape_of(columns)
        ordered = sorted(columns, key=by_type)
        places = slot.stage.places(column.type for column in ordered)
        self._places = {column.ordinal: place for column, place in zip(ordered, places, strict=True)}

    def cut(self, lines: Lines) -> Lines:
        """What of lines of the key, `_lsn` and columns of the wide table belongs here."""
        own = [n for n, column in enumerate(lines.columns) if column.ordinal in self._places]
        if len(own) == len(lines.columns):
            return lines
        head = len(self.slot.stage.mapping.key_columns) + 1
        found = []
        for line in lines.lines if own else ():
            fields = line[:-1].split("\t")
            values = [fields[head + n] for n in own]
            if any(value != NULL for value in values):
                found.append("\t".join([*fields[:head], *values]) + "\n")
        return Lines([lines.columns[n] for n in own], found)

    def copy(self, columns: Iterable[Column]) -> bytes:
        """COPY of lines of the wide table's number, the key, `_lsn` and these columns."""
        return self.slot.stage.copy([self._places[column.ordinal] for column in columns])

    @cached_property
    def upsert(self) -> bytes:
        """The stream wins: what is staged, and NULL stands for what is not set. $1 and $2: where the rows lie."""
        return self._merge(tables.STREAM_WINS, tables.STREAM_POSITION)

    @cached_property
    def fill(self) -> bytes:
        """A chunk fills: only where there is nothing. $1 and $2 as above."""
        return self._merge("{0} = COALESCE(wide.{0}, EXCLUDED.{0})", *([tables.FILL_POSITION] if self.leads else []))

    def _merge(self, form: LiteralString, *more: sql.Composable) -> bytes:
        stage = self.slot.stage
        # Quoted once, and put together as text: with hundreds of parts, that costs as much as the first merge.
        quoted = [sql.Identifier(column.name).as_string(stage.connection) for column in self.columns]
        staged = [stage.column(self._places[column.ordinal]).as_string(stage.connection) for column in self.columns]
        changes = sql.SQL(", ".join([form.format(each) for each in quoted]))
        statement = sql.SQL(
            "INSERT INTO {wide} AS wide ({head}, {columns}) SELECT {head}, {staged} FROM {stage}"
            " WHERE ctid >= $1::tid AND ctid <= $2::tid AND {mine}"
            " ORDER BY {key} ON CONFLICT ({key}) DO UPDATE SET {changes}{where}"
        ).format(
            wide=tables.relation(self.part),
            head=stage.head,
            columns=sql.SQL(", ".join(quoted)),
            staged=sql.SQL(", ".join(staged)),
            stage=stage.table,
            mine=self.slot.mine(),
            key=tables.names(stage.mapping.key_columns),
            changes=sql.SQL(", ").join([*more, changes]),
            where=tables.UNLESS_BARE if self.leads else sql.SQL(""),
        )
        return statement.as_bytes(stage.connection)
