"""The statements that make wide tables, their columns and their views."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, LiteralString

from psycopg import sql

from cdc.bindable import Verbatim
from sink.mapping.mapping import Mapping
from sink.mapping.names import BARE, LSN_COLUMN
from sink.mapping.wide import Column, Entity, Part
from sink.views.kept import with_options
from sink.wide.cell import filled

STREAM_WINS: Final[LiteralString] = "{0} = COALESCE(EXCLUDED.{0}, wide.{0})"
"""What a cell becomes where the stream's row meets one that is there: NULL stands for what is not set."""
STREAM_POSITION: Final = sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(LSN_COLUMN))
"""And what `_lsn` becomes: the change's."""
UNLESS_BARE: Final = sql.SQL(" WHERE EXCLUDED.{} <> {}").format(sql.Identifier(LSN_COLUMN), sql.Literal(BARE))
"""Behind DO UPDATE: a row without a cell, which is there for those of other parts, only locks the one it meets.

(A lock there has to be: who clears the last cell beside it would take the row away.)"""
FILL_POSITION: Final = sql.SQL("{0} = CASE WHEN wide.{0} = {1} THEN EXCLUDED.{0} ELSE wide.{0} END").format(
    sql.Identifier(LSN_COLUMN), sql.Literal(BARE)
)
"""Where a chunk's row meets one that is there, it stays, unless that row was bare."""


def relation(part: Part) -> sql.Identifier:
    """A part table's name."""
    return sql.Identifier(part.schema, part.table)


def names(columns: Iterable[str]) -> sql.Composed:
    """A list of column names."""
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def type_name(text: str) -> Verbatim:
    """A type as SQL. `text` is format_type's own output, which the registry has let the target's parser check."""
    return Verbatim(text)


def definition(name: str, type_text: str) -> sql.Composed:
    """A column's name and type."""
    return sql.SQL("{} {}").format(sql.Identifier(name), type_name(type_text))


def create_part(mapping: Mapping, part: Part, columns: Sequence[Column]) -> sql.Composed:
    """Make a part table with its first columns."""
    fields = [
        *(definition(name, type_text) for name, type_text in mapping.key_types.items()),
        sql.SQL("{} pg_lsn NOT NULL").format(sql.Identifier(LSN_COLUMN)),
        *(definition(column.name, column.type) for column in columns),
        sql.SQL("PRIMARY KEY ({})").format(names(mapping.key_columns)),
    ]
    if mapping.partition_by is None:
        full = mapping.full(column.type for column in columns)
        how = sql.SQL("WITH (fillfactor = {})").format(sql.Literal(full))
    else:  # the partitions have the rows, and the fillfactor
        how = sql.SQL("PARTITION BY RANGE ({})").format(sql.Identifier(next(iter(mapping.rule.time_types))))
    return sql.SQL("CREATE TABLE {} ({}) {}").format(relation(part), sql.SQL(", ").join(fields), how)


def add_columns(mapping: Mapping, entity: Entity, part: Part, columns: Sequence[Column]) -> sql.Composed:
    """Add columns to a part table, all in one statement: the table is locked once. `entity` has them already.

    Where its rows get so wide thereby, new pages are filled otherwise than before.
    """
    additions = [sql.SQL("ADD COLUMN {}").format(definition(column.name, column.type)) for column in columns]
    every, new = entity.of_part(part.number), {column.ordinal for column in columns}
    before = mapping.full(column.type for column in every if column.ordinal not in new)
    now = mapping.full(column.type for column in every)
    if before != now and mapping.partition_by is None:
        additions.append(sql.SQL("SET (fillfactor = {})").format(sql.Literal(now)))
    return sql.SQL("ALTER TABLE {} {}").format(relation(part), sql.SQL(", ").join(additions))


def create_view(mapping: Mapping, entity: Entity, view: str, options: Sequence[str] = ()) -> sql.Composed:
    """Make a view that joins parts, or bring it up to date: columns are only ever added at its end, `options` kept.

    All are joined to the first part, which has a row wherever another one has: so the planner pushes a range of time
    down to it, goes through it in order for the last row, and leaves out parts of which nothing is asked.
    """
    parts, shown = entity.shown(view)
    key = names(mapping.key_columns)
    lsn = sql.SQL(", ").join(sql.Identifier(_alias(part), LSN_COLUMN) for part in parts)
    columns = [sql.Identifier(_alias(entity.parts[column.part]), column.name) for column in shown]
    lsn_column = sql.SQL("GREATEST({}) AS {}").format(lsn, sql.Identifier(LSN_COLUMN))
    kept = sql.SQL(" WITH ({})").format(with_options(options)) if options else sql.SQL("")
    return sql.SQL("CREATE OR REPLACE VIEW {}{} AS SELECT {} FROM {}{}").format(
        sql.Identifier(parts[0].schema, view),
        kept,
        sql.SQL(", ").join([key, lsn_column, *columns]),
        _joined(parts, key),
        sql.SQL("") if not entity.leads_elsewhere(view) else _with_cells(parts, mapping),
    )


def open_view(mapping: Mapping, entity: Entity, view: str) -> sql.Composed | None:
    """Let the readers read a view; None if there are none. The part tables stay closed: a view reads as its owner."""
    if not mapping.readers:
        return None
    parts, _ = entity.shown(view)
    return sql.SQL("GRANT SELECT ON {} TO {}").format(
        sql.Identifier(parts[0].schema, view), names(dict.fromkeys(mapping.readers))
    )


def _joined(parts: Sequence[Part], key: sql.Composed) -> sql.Composable:
    tables = [sql.SQL("{} AS {}").format(relation(part), sql.Identifier(_alias(part))) for part in parts]
    if len(parts) == 1:
        return tables[0]
    joins = [sql.SQL(" LEFT JOIN {} USING ({})").format(table, key) for table in tables]
    if all(part.in_base for part in parts[1:]):
        return sql.SQL("").join([tables[0], *joins[1:]])
    keys = sql.SQL(" UNION ").join(sql.SQL("SELECT {} FROM {}").format(key, relation(part)) for part in parts)
    return sql.SQL("({}) AS keys{}").format(keys, sql.SQL("").join(joins))


def _with_cells(parts: Sequence[Part], mapping: Mapping) -> sql.Composed:
    """Leaves out rows that the first part has for parts which the view does not show."""
    first, *others = parts
    time = mapping.key_columns[-1]
    own = sql.SQL("{} <> {}").format(sql.Identifier(_alias(first), LSN_COLUMN), sql.Literal(BARE))
    there = [filled(sql.Identifier(_alias(each), time)) for each in others]
    return sql.SQL(" WHERE {}").format(sql.SQL(" OR ").join([own, *there]))


def _alias(part: Part) -> str:
    return f"part{part.number}"
