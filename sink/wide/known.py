"""What is known of a connector's wide tables: a copy of the registry in this process.

Nothing is ever taken out of the registry while a connector runs, so what is known stays right, and what is not known
is looked up before it is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from sys import intern
from typing import Any, Final, TypeAlias

import psycopg

from sink.mapping.mapping import Mapping
from sink.mapping.wide import ALL, Column, Entity, Need, Part, identity

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class Known:
    """One connector's tables and columns. `entities` is by identity, and is only ever added to.

    Columns may be widened or renamed: `changes` counts that, as far as all of them were read.
    """

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.entities: dict[str, Entity] = {}
        self.changes = 0

    @property
    def parts(self) -> list[Part]:
        """Every wide table, in the order in which they are locked."""
        every = [part for entity in self.entities.values() for part in entity.parts.values()]
        return sorted(every, key=lambda part: part.table)

    def refresh(self, connection: Connection) -> None:
        """Read again what there is."""
        self.changes = self._read(connection, None)

    def look(self, connection: Connection, entities: Iterable[str]) -> None:
        """Read again what there is of these entities: with thousands of them, of all it takes as long as to make some.

        All of it, where columns were widened or renamed.
        """
        if widened(connection, self.mapping.connector) != self.changes:
            self.refresh(connection)
        else:
            self._read(connection, list(entities))

    def of(self, need: Need) -> str:
        """The identity of the entity that has a key's column."""
        return ALL if self.mapping.layout == "single" else _identity(need.values)

    def column(self, need: Need) -> Column | None:
        """A key's column, if it has one."""
        return self.entities.get(self.of(need), _NOTHING).columns.get(need.key)

    def _read(self, connection: Connection, some: list[str] | None) -> int:
        """How often the columns of these entities, or of all, were widened or renamed."""
        parameters = [self.mapping.connector, some, some]
        # Columns first: another process may make a table with its columns between the two, never one without the other.
        columns = connection.execute(_COLUMNS, parameters).fetchall()
        tables = connection.execute(_TABLES, parameters).fetchall()
        for row in tables:
            self._entity(row[0], row[4]).parts[row[1]] = Part(*row)
        for entity, ordinal, part, key, name, type_text, source, times in columns:
            # Thousands of entities have columns of the same names.
            column = Column(ordinal, part, intern(key), intern(name), intern(type_text), intern(source), times)
            self.entities[entity].add(column)
        return sum(row[-1] for row in columns)

    def _entity(self, name: str, view: str) -> Entity:
        found = self.entities.get(name)
        if found is None:
            found = self.entities[name] = Entity(name, view)
        return found


def widened(connection: Connection, connector: str) -> int:
    """How often columns of the connector were widened or renamed."""
    row = connection.execute(
        "SELECT coalesce(sum(widened), 0) FROM widebeam.columns WHERE connector = %s AND widened > 0", [connector]
    ).fetchone()
    return 0 if row is None else int(row[0])


_identity = lru_cache(4096)(identity)
_NOTHING: Final = Entity("", "")

_TABLES: Final = (
    "SELECT entity, part, schema_name, table_name, view_name, group_name, group_view, in_base"
    " FROM widebeam.tables"
    " WHERE connector = %s AND (%s::text[] IS NULL OR entity = ANY(%s)) ORDER BY entity, part"
)
_COLUMNS: Final = (
    "SELECT entity, ordinal, part, key, column_name, column_type, source, widened FROM widebeam.columns"
    " WHERE connector = %s AND (%s::text[] IS NULL OR entity = ANY(%s)) ORDER BY entity, ordinal"
)
