"""Merging folded rows into wide tables: COPY into a staging table, one sorted statement out of it.

A staging table belongs to a session and a wide table, and is kept: making and dropping one for each batch would
bloat the catalog. Rows are merged in the order of the wide key, so that sinks and chunks do not deadlock.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from cdc.lsn import Lsn
from sink import tables
from sink.layout import LSN_COLUMN
from sink.mapping import Mapping
from sink.rows import PartRows
from sink.wide import Column, Part

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_CLEAR: Final = "_clear"
_WRITE_AT_ONCE: Final = 256  # lines of COPY handed over together: some 100 kB of whole rows

_names: Final = count(1)


class Merger:
    """Merges into the wide tables over one connection, which is in autocommit.

    Call `prepare` outside a transaction, and then inside one `upsert` or `fill`, table by table in name order.
    """

    def __init__(self, connection: Connection, mapping: Mapping) -> None:
        self._connection = connection
        self._mapping = mapping
        self._stages: dict[str, _Stage] = {}
        self._used: set[str] = set()

    def prepare(self, batch: Iterable[PartRows]) -> None:
        """Make the staging tables that these rows need, or bring them up to date, in a transaction of its own."""
        self._used.clear()
        for rows in batch:
            stage = self._stages.get(rows.part.table)
            if stage is None:
                stage = self._stages[rows.part.table] = _Stage(f"widebeam_stage_{next(_names)}")
            missing = [column for column in rows.sets if column.ordinal not in stage.ordinals]
            if missing:
                self._connection.execute(stage.extend(self._mapping, missing))
                stage.ordinals.update(column.ordinal for column in missing)
            if rows.clears and not stage.clears:
                self._connection.execute(stage.create_clears(self._mapping))
                stage.clears = True

    def upsert(self, rows: PartRows) -> None:
        """The stream's rows: what is set wins, what is cleared goes, `_lsn` is the change's. Empty rows are deleted."""
        if rows.lines:
            stage = self._copy(rows)
            self._connection.execute(self._merge(stage, rows, _stream_wins(rows)))
        if rows.clear_lines:
            self._clear(rows)

    def fill(self, rows: PartRows) -> None:
        """A chunk's rows (rule M): only cells that are NULL are filled, and the `_lsn` of a row that exists stays."""
        if rows.lines:
            stage = self._copy(rows)
            self._connection.execute(self._merge(stage, rows, _chunk_fills(rows)))

    def truncate(self, parts: Iterable[Part], position: Lsn) -> None:
        """The narrow table was truncated at `position`: rows that were last touched before it go."""
        for part in sorted(parts, key=lambda part: part.table):
            statement = sql.SQL("DELETE FROM {} WHERE {} < %s::pg_lsn")
            self._connection.execute(
                statement.format(tables.relation(part), sql.Identifier(LSN_COLUMN)), [str(position)]
            )

    def _copy(self, rows: PartRows) -> _Stage:
        stage = self._stages[rows.part.table]
        columns = [*self._mapping.key_columns, LSN_COLUMN, *(column.name for column in rows.sets)]
        self._write(stage.name, columns, rows.lines)
        return stage

    def _write(self, name: str, columns: list[str], lines: list[str]) -> None:
        """Fill a staging table. It is empty at the start of a transaction, not when it is used again in one."""
        if name in self._used:
            self._connection.execute(sql.SQL("DELETE FROM {}").format(_temporary(name)))
        self._used.add(name)
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(_temporary(name), tables.names(columns))
        with self._connection.cursor().copy(statement) as copy:
            for start in range(0, len(lines), _WRITE_AT_ONCE):
                copy.write("".join(lines[start : start + _WRITE_AT_ONCE]))

    def _merge(self, stage: _Stage, rows: PartRows, changes: list[sql.Composed]) -> sql.Composed:
        key = tables.names(self._mapping.key_columns)
        columns = tables.names([*self._mapping.key_columns, LSN_COLUMN, *(column.name for column in rows.sets)])
        return sql.SQL(
            "INSERT INTO {wide} AS wide ({columns}) SELECT {columns} FROM {stage} ORDER BY {key}"
            " ON CONFLICT ({key}) DO UPDATE SET {changes}"
        ).format(
            wide=tables.relation(rows.part),
            columns=columns,
            stage=_temporary(stage.name),
            key=key,
            changes=sql.SQL(", ").join(changes),
        )

    def _clear(self, rows: PartRows) -> None:
        """Delete the rows that end without a cell; clear the cells of the others."""
        stage = self._stages[rows.part.table]
        name = f"{stage.name}_clears"
        self._write(name, [*self._mapping.key_columns, LSN_COLUMN, _CLEAR], rows.clear_lines)
        here = [sql.SQL("wide.{0} = gone.{0}").format(sql.Identifier(column)) for column in self._mapping.key_columns]
        parts: dict[str, sql.Composable] = {
            "wide": tables.relation(rows.part),
            "gone": _temporary(name),
            "here": sql.SQL(" AND ").join(here),
            "key": sql.SQL(", ").join(sql.Identifier("wide", column) for column in self._mapping.key_columns),
            "lsn": sql.Identifier(LSN_COLUMN),
        }
        # The lock keeps new columns out, so that a row is not taken for empty that has a cell in one.
        lock = (
            "SELECT count(*) FROM ("
            "SELECT FROM {wide} AS wide JOIN {gone} AS gone ON {here} ORDER BY {key} FOR UPDATE OF wide) AS locked"
        )
        self._connection.execute(sql.SQL(lock).format(**parts))
        indexes = {column.name: index for index, column in enumerate(rows.clears)}
        empty = sql.SQL(" AND ").join(_is_gone(column, indexes.get(column)) for column in self._columns(rows.part))
        self._connection.execute(
            sql.SQL("DELETE FROM {wide} AS wide USING {gone} AS gone WHERE {here} AND {empty}").format(
                empty=empty, **parts
            )
        )
        changes = sql.SQL(", ").join(
            sql.SQL("{0} = CASE WHEN {1} THEN NULL ELSE wide.{0} END").format(sql.Identifier(column), _marked(index))
            for column, index in indexes.items()
        )
        self._connection.execute(
            sql.SQL("UPDATE {wide} AS wide SET {lsn} = gone.{lsn}, {changes} FROM {gone} AS gone WHERE {here}").format(
                changes=changes, **parts
            )
        )

    def _columns(self, part: Part) -> list[str]:
        """The part's columns as they are now: another process may have added some since ours were read."""
        found = self._connection.execute(
            "SELECT column_name FROM widebeam.columns WHERE (connector, entity, part) = (%s, %s, %s)",
            [self._mapping.connector, part.entity, part.number],
        )
        return [name for (name,) in found]


class _Stage:
    """A staging table of this session: its name, and the ordinals of the columns that it has."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ordinals: set[int] = set()
        self.clears = False

    def extend(self, mapping: Mapping, columns: list[Column]) -> sql.Composed:
        """Make the table, or add columns to it."""
        fields = [tables.definition(column.name, column.type) for column in columns]
        if not self.ordinals:
            return _create(self.name, [*_key_fields(mapping), *fields])
        additions = sql.SQL(", ").join(sql.SQL("ADD COLUMN {}").format(each) for each in fields)
        return sql.SQL("ALTER TABLE {} {}").format(_temporary(self.name), additions)

    def create_clears(self, mapping: Mapping) -> sql.Composed:
        """Make the table of the rows in which cells are cleared."""
        return _create(f"{self.name}_clears", [*_key_fields(mapping), tables.definition(_CLEAR, "bit varying")])


def _key_fields(mapping: Mapping) -> list[sql.Composed]:
    return [
        *(tables.definition(name, type_text) for name, type_text in mapping.key_types.items()),
        tables.definition(LSN_COLUMN, "pg_lsn"),
    ]


def _create(name: str, fields: list[sql.Composed]) -> sql.Composed:
    return sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DELETE ROWS").format(
        _temporary(name), sql.SQL(", ").join(fields)
    )


def _temporary(name: str) -> sql.Identifier:
    return sql.Identifier("pg_temp", name)


def _stream_wins(rows: PartRows) -> list[sql.Composed]:
    """A NULL in a line means "not set" unless every line sets the column, and then there is none."""
    changes = [sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(LSN_COLUMN))]
    for column in rows.sets:
        form = "{0} = EXCLUDED.{0}" if column.ordinal in rows.always else "{0} = COALESCE(EXCLUDED.{0}, wide.{0})"
        changes.append(sql.SQL(form).format(sql.Identifier(column.name)))
    return changes


def _chunk_fills(rows: PartRows) -> list[sql.Composed]:
    return [sql.SQL("{0} = COALESCE(wide.{0}, EXCLUDED.{0})").format(sql.Identifier(c.name)) for c in rows.sets]


def _marked(index: int) -> sql.Composed:
    return sql.SQL("get_bit(gone.{}, {}) = 1").format(sql.Identifier(_CLEAR), sql.Literal(index))


def _is_gone(column: str, index: int | None) -> sql.Composed:
    """A cell that is NULL, or will be."""
    is_null = sql.SQL("wide.{} IS NULL").format(sql.Identifier(column))
    return is_null if index is None else sql.SQL("({} OR {})").format(is_null, _marked(index))
