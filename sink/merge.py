"""Merging folded rows into wide tables: COPY into a staging table, one sorted statement out of it.

A staging table belongs to a session and a wide table, and is kept: making and dropping one for each batch would
bloat the catalog. Rows are merged in the order of the wide key, so that sinks and chunks do not deadlock.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Dict
from itertools import count
from typing import Final

from psycopg import sql

from cdc.lsn import Lsn
from sink import tables
from sink.layout import LSN_COLUMN
from sink.mapping import Mapping
from sink.overflow import Overflow
from sink.rows import PartRows
from sink.stage import CLEAR_COLUMN, Connection, Stage, temporary
from sink.wide import Part

_WRITE_AT_ONCE: Final = 256  # lines of COPY handed over together: some 100 kB of whole rows

_names: Final = count(1)


class Merger:
    """Merges into the wide tables over one connection, which is in autocommit.

    Call `prepare` outside a transaction, and then inside one `stage` for all rows; then take locks, and call `upsert`
    or `fill` for each table, in name order.
    """

    def __init__(self, connection: Connection, mapping: Mapping) -> None:
        self._connection = connection
        self._mapping = mapping
        self._stages: dict[str, Stage] = {}
        self._overflows: dict[str, Overflow] = {}
        self._staged: set[str] = set()
        self._merged: set[str] = set()
        self._changes = 0

    def prepare(self, batch: Iterable[PartRows], changes: int = 0) -> None:
        """Make the staging tables that these rows need, or bring them up to date, in a transaction of its own.

        `changes` is how often columns were widened or renamed: staging tables from before that are no good.
        """
        self._staged.clear()
        self._merged.clear()
        if changes != self._changes:
            for old in self._stages.values():
                old.drop()
            for over in self._overflows.values():
                over.drop()
            self._stages, self._overflows, self._changes = {}, {}, changes
        for rows in batch:
            stage = self._stages.get(rows.part.table)
            if stage is None:
                name = f"widebeam_stage_{next(_names)}"
                stage = self._stages[rows.part.table] = Stage(self._connection, self._mapping, rows.part, name)
            stage.extend(rows.sets)
            if rows.clears:
                stage.make_clears()
            if rows.over is not None and rows.part.table not in self._overflows:
                self._overflows[rows.part.table] = Overflow(
                    self._connection, self._mapping, rows.part, rows.over, f"{stage.name}_over"
                )

    def stage(self, rows: PartRows) -> None:
        """COPY rows into the staging tables, in the transaction that merges them; more may come after.

        That touches nothing that anybody else wants. A process that is stopped in the middle of a COPY stays there,
        whatever time limits the server has: so whoever stages before he takes locks holds nobody up by that.
        """
        stage = self._stages[rows.part.table]
        for columns, lines in rows.copies:
            self._write(stage.name, stage.copy(columns), lines)
        if rows.over_lines:
            over = self._overflows[rows.part.table]
            self._write(over.name, over.copy, rows.over_lines)
        if rows.clear_lines:
            self._write(stage.clears_name, stage.copy_clears, rows.clear_lines)

    def locate(self, positions: Dict[Lsn, Lsn]) -> None:
        """Give rows their `_lsn` that were staged before anybody knew how far the stream is: by what stands for it."""
        marks = [str(mark) for mark in positions], [str(position) for position in positions.values()]
        for name in sorted(self._staged):
            self._connection.execute(
                sql.SQL(
                    "UPDATE {0} AS staged SET {1} = known.position"
                    " FROM unnest(%s::pg_lsn[], %s::pg_lsn[]) AS known (mark, position) WHERE staged.{1} = known.mark"
                ).format(temporary(name), sql.Identifier(LSN_COLUMN)),
                marks,
            )

    def upsert(self, rows: PartRows) -> None:
        """The stream's rows, which were staged: what is set wins, what is cleared goes, `_lsn` is the change's.

        Rows that end empty are deleted.
        """
        stage, over = self._stages[rows.part.table], self._overflows.get(rows.part.table)
        members = over is not None and self._take(over.name)
        if self._take(stage.name):
            self._connection.execute(stage.upsert)
        if over is not None and members:
            over.set()
        if self._take(stage.clears_name):
            self._clear(stage, rows)
        if over is not None and members:
            over.clear(self._columns(rows.part))

    def fill(self, part: Part) -> None:
        """A chunk's rows, which were staged (rule M): only cells that are NULL are filled, and a row keeps its `_lsn`.

        All that was staged for a part goes in one statement, in the order of the wide key: that is what keeps a chunk
        of any size from deadlocks with sinks.
        """
        stage, over = self._stages[part.table], self._overflows.get(part.table)
        if self._take(stage.name):
            self._connection.execute(stage.fill)
        if over is not None and self._take(over.name):
            over.fill()

    def truncate(self, parts: Iterable[Part], position: Lsn) -> None:
        """The narrow table was truncated at `position`: rows that were last touched before it go."""
        for part in sorted(parts, key=lambda part: part.table):
            statement = sql.SQL("DELETE FROM {} WHERE {} < %s::pg_lsn")
            self._connection.execute(
                statement.format(tables.relation(part), sql.Identifier(LSN_COLUMN)), [str(position)]
            )

    def _write(self, name: str, copy: bytes, lines: list[str]) -> None:
        """A staging table is empty at the start of a transaction, not when it is used again in one."""
        if name in self._merged:
            self._connection.execute(sql.SQL("DELETE FROM {}").format(temporary(name)))
            self._merged.remove(name)
        self._staged.add(name)
        with self._connection.cursor().copy(copy) as target:
            for start in range(0, len(lines), _WRITE_AT_ONCE):
                target.write("".join(lines[start : start + _WRITE_AT_ONCE]))

    def _take(self, name: str) -> bool:
        """Is there anything in a staging table that is not merged yet? From here on it is."""
        if name not in self._staged:
            return False
        self._staged.remove(name)
        self._merged.add(name)
        return True

    def _clear(self, stage: Stage, rows: PartRows) -> None:
        """Delete the rows that end without a cell; clear the cells of the others."""
        parts: dict[str, sql.Composable] = {
            "wide": tables.relation(rows.part),
            "gone": temporary(stage.clears_name),
            "here": tables.here(self._mapping, temporary(stage.clears_name), "gone"),
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


def _marked(index: int) -> sql.Composed:
    return sql.SQL("get_bit(gone.{}, {}) = 1").format(sql.Identifier(CLEAR_COLUMN), sql.Literal(index))


def _is_gone(column: str, index: int | None) -> sql.Composed:
    """A cell that is NULL, or will be."""
    is_null = sql.SQL("wide.{} IS NULL").format(sql.Identifier(column))
    return is_null if index is None else sql.SQL("({} OR {})").format(is_null, _marked(index))
