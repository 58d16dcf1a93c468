"""The staging tables of a session: one for each wide table, kept, with the statements that merge out of it.

The statements name all columns that were ever staged, whatever a batch sets, so that they stay the same from batch to
batch: the server then keeps their plans, which for hundreds of columns cost more than a small batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, Final, LiteralString, TypeAlias

import psycopg
from psycopg import sql

from sink import tables
from sink.layout import LSN_COLUMN
from sink.mapping import Mapping
from sink.wide import Column, Part

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

CLEAR_COLUMN: Final = "_clear"
"""In a staging table of clears: a bit for each column that the batch clears."""

_INLINE: Final = 8160
"""Bytes of a staged row from which its long values are compressed and moved out: as late as the server allows."""


class Stage:
    """The staging table of one wide table in this session, and beside it one for clears."""

    def __init__(self, connection: Connection, mapping: Mapping, part: Part, name: str) -> None:
        self.name = name
        self.clears_name = f"{name}_clears"
        self._connection = connection
        self._mapping = mapping
        self._part = part
        self._quoted: dict[int, sql.SQL] = {}
        self._has_clears = False
        self._upsert: bytes | None = None
        self._fill: bytes | None = None
        self._copy: tuple[list[int], bytes] | None = None  # of these columns

    def extend(self, columns: Iterable[Column]) -> None:
        """See that it has these columns."""
        missing = [column for column in columns if column.ordinal not in self._quoted]
        if not missing:
            return
        fields = [tables.definition(column.name, column.type) for column in missing]
        if not self._quoted:
            self._create(self.name, fields)
        else:
            additions = sql.SQL(", ").join(sql.SQL("ADD COLUMN {}").format(each) for each in fields)
            self._connection.execute(sql.SQL("ALTER TABLE {} {}").format(temporary(self.name), additions))
        for column in missing:
            # Quoted once, not with each batch: that would cost as much as the merge.
            self._quoted[column.ordinal] = sql.SQL(sql.Identifier(column.name).as_string(self._connection))
        self._upsert = self._fill = self._copy = None

    def drop(self) -> None:
        """Columns were widened or renamed. Outside a transaction there is nothing in it."""
        self._connection.execute(
            sql.SQL("DROP TABLE IF EXISTS {}, {}").format(temporary(self.name), temporary(self.clears_name))
        )

    def make_clears(self) -> None:
        """See that there is one for clears."""
        if not self._has_clears:
            self._create(self.clears_name, [tables.definition(CLEAR_COLUMN, "bit varying")])
            self._has_clears = True

    def copy(self, columns: Iterable[Column]) -> bytes:
        """COPY of lines of the key, `_lsn` and these columns. The last one is kept: the next is often the same."""
        ordinals = [column.ordinal for column in columns]
        if self._copy is None or self._copy[0] != ordinals:
            # The server compares each name of a list with every column: for hundreds, a sixth of all that it does.
            named = [self._head, *(self._quoted[ordinal] for ordinal in ordinals)]
            names = sql.SQL("({})").format(sql.SQL(", ").join(named)) if ordinals != [*self._quoted] else sql.SQL("")
            copy = sql.SQL("COPY {} {} FROM STDIN").format(temporary(self.name), names)
            self._copy = ordinals, copy.as_bytes(self._connection)
        return self._copy[1]

    @cached_property
    def copy_clears(self) -> bytes:
        """COPY of lines of the key, `_lsn` and the bits."""
        names = tables.names([*self._mapping.key_columns, LSN_COLUMN, CLEAR_COLUMN])
        copy = sql.SQL("COPY {} ({}) FROM STDIN").format(temporary(self.clears_name), names)
        return copy.as_bytes(self._connection)

    @property
    def upsert(self) -> bytes:
        """The stream wins: what is staged, and NULL stands for what is not set."""
        if self._upsert is None:
            lsn = sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(LSN_COLUMN))
            self._upsert = self._merge("{0} = COALESCE(EXCLUDED.{0}, wide.{0})", lsn)
        return self._upsert

    @property
    def fill(self) -> bytes:
        """A chunk fills: only where there is nothing."""
        if self._fill is None:
            self._fill = self._merge("{0} = COALESCE(wide.{0}, EXCLUDED.{0})")
        return self._fill

    def _merge(self, form: LiteralString, *more: sql.Composable) -> bytes:
        changes = [*more, *(sql.SQL(form).format(quoted) for quoted in self._quoted.values())]
        statement = sql.SQL(
            "INSERT INTO {wide} AS wide ({columns}) SELECT {columns} FROM {stage} ORDER BY {key}"
            " ON CONFLICT ({key}) DO UPDATE SET {changes}"
        ).format(
            wide=tables.relation(self._part),
            columns=sql.SQL(", ").join([self._head, *self._quoted.values()]),
            stage=temporary(self.name),
            key=tables.names(self._mapping.key_columns),
            changes=sql.SQL(", ").join(changes),
        )
        return statement.as_bytes(self._connection)

    @cached_property
    def _head(self) -> sql.Composed:
        return tables.names([*self._mapping.key_columns, LSN_COLUMN])

    def _create(self, name: str, fields: list[sql.Composed]) -> None:
        key = [tables.definition(*each) for each in self._mapping.key_types.items()]
        columns = sql.SQL(", ").join([*key, tables.definition(LSN_COLUMN, "pg_lsn"), *fields])
        self._connection.execute(
            sql.SQL("CREATE TEMPORARY TABLE {} ({}) WITH (toast_tuple_target = {}) ON COMMIT DELETE ROWS").format(
                temporary(name), columns, sql.Literal(_INLINE)
            )
        )


def temporary(name: str) -> sql.Identifier:
    """The name of a table of this session."""
    return sql.Identifier("pg_temp", name)
