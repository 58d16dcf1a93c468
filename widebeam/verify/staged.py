"""Comparing in the target: what there should be is staged there, and what there is beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import count
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import sql

from sink.fold.copytext import escaped
from sink.mapping.interpret import Reading
from sink.mapping.kinds import holds
from sink.mapping.several import Cell
from sink.mapping.wide import ALL, Column, Entity, Part, identity
from sink.wide import tables
from sink.wide.cell import filled, text_of
from sink.wide.registry import Registry
from snapshot.chunks.plan import Chunk
from widebeam.verify.checksum import one_text, unpivoted
from widebeam.verify.range_reader import wide_bound

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Differing: TypeAlias = "dict[Cell, tuple[str | None, str | None]]"
"""Cell -> what there should be, and what there is; None where nothing."""


class Lack(NamedTuple):
    """Cells of an entity that there should not be, with the first and the last time of them, if there is a time."""

    entity: tuple[str, ...]
    cells: int
    first: str | None
    last: str | None


_COMMA: Final = sql.SQL(", ")
_AND: Final = sql.SQL(" AND ")
_LINES: Final = 500
_names: Final = count(1)


class Staged:
    """Two temporary tables of cells in the target, `should` and `there`, over a session in autocommit."""

    def __init__(self, target: Session, registry: Registry) -> None:
        self._session, self._registry, self._mapping = target, registry, registry.mapping
        number = next(_names)
        self._should = sql.Identifier("pg_temp", f"widebeam_should_{number}")
        self._there = sql.Identifier("pg_temp", f"widebeam_there_{number}")
        self._place = [
            *(f"e{n}" for n in range(len(self._mapping.entity))),
            *(f"t{n}" for n in range(len(self._mapping.rule.time_names))),
            "key",
        ]
        fields = _COMMA.join(sql.SQL('{} text COLLATE "C"').format(sql.Identifier(each)) for each in self._place)
        for table, more in (
            (self._should, sql.SQL(", value text, type text")),
            (self._there, sql.SQL(", value text")),
        ):
            target.execute(sql.SQL("CREATE TEMPORARY TABLE {} ({}{})").format(table, fields, more))

    def take_there(self, chunk: Chunk) -> None:
        """Stage the cells of the wide tables in a range; all cells, where ranges of them cannot be told."""
        self._session.execute(sql.SQL("TRUNCATE {}").format(self._there))
        for entity in self._registry.entities.values():
            for number, part in entity.parts.items():
                if columns := entity.of_part(number):
                    query = sql.SQL("INSERT INTO {} {}").format(self._there, self._cells(entity, part, columns, chunk))
                    self._session.execute(query)

    def take_should(self, cells: Iterable[tuple[Cell, Reading]]) -> None:
        """Stage the cells that there should be."""
        self._session.execute(sql.SQL("TRUNCATE {}").format(self._should))
        with self._session.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(self._should)) as copy:
            lines = list[str]()
            for cell, reading in cells:
                fields = (*cell.entity, *cell.time, cell.key, str(reading.value), self._cast(cell, reading))
                lines.append("\t".join(map(escaped, fields)) + "\n")
                if len(lines) >= _LINES:
                    copy.write("".join(lines))
                    lines.clear()
            copy.write("".join(lines))

    def compare(self, *, outlives: bool) -> Differing:
        """The cells that differ; with `outlives`, only of those that there should be."""
        place = [sql.Identifier(each) for each in self._place]
        found = self._session.execute(
            sql.SQL(
                "SELECT {}, should.value, there.value FROM (SELECT {}, {} AS value FROM {}) AS should"
                " {} JOIN {} AS there ON {} WHERE should.value IS DISTINCT FROM there.value"
            ).format(
                _COMMA.join(sql.SQL("coalesce(should.{0}, there.{0})").format(each) for each in place),
                _COMMA.join(place),
                self._as_typed(),
                self._should,
                sql.SQL("LEFT" if outlives else "FULL"),
                self._there,
                _AND.join(sql.SQL("should.{0} = there.{0}").format(each) for each in place),
            )
        )
        width, keys = len(self._mapping.entity), len(self._place) - 1
        return {Cell(row[:width], row[width:keys], row[keys]): (row[keys + 1], row[keys + 2]) for row in found}

    def lacking(self) -> list[Lack]:
        """How many cells there are, of each entity, that there should not be."""
        width, type_ = len(self._mapping.entity), next(iter(self._mapping.rule.time_types.values()), None)
        names = [sql.Identifier(each) for each in self._place]
        time = sql.SQL("NULL::text") if type_ is None else sql.SQL("t0::{}").format(tables.type_name(type_))
        found = self._session.execute(
            sql.SQL(
                "SELECT {entity} count(*), min({time})::text, max({time})::text FROM {there} AS there"
                " WHERE NOT EXISTS (SELECT FROM {should} AS should WHERE {same}) GROUP BY {groups}"
            ).format(
                entity=sql.SQL("").join(sql.SQL("{}, ").format(name) for name in names[:width]),
                time=time,
                there=self._there,
                should=self._should,
                same=_AND.join(sql.SQL("should.{0} = there.{0}").format(name) for name in names),
                groups=_COMMA.join([*names[:width], sql.SQL("()")]),
            )
        )
        return [Lack(row[:width], *row[width:]) for row in found if row[width]]

    def column(self, cell: Cell) -> Column | None:
        """The column of a cell; None if there is none."""
        name = ALL if self._mapping.layout == "single" else identity(cell.entity)
        entity = self._registry.entities.get(name)
        return None if entity is None else entity.columns.get(cell.key)

    def fits(self, column: Column, reading: Reading) -> bool:
        """Can the column hold the reading?"""
        widens = self._mapping.type_conflict == "widen"
        return reading.fits(column.type) or (widens and holds(column.type, reading.type))

    def _cast(self, cell: Cell, reading: Reading) -> str:
        """The type that the text has to go through to be what the column prints; empty where it is so already."""
        column = self.column(cell)
        if column is None or not self.fits(column, reading):
            return ""
        return "" if column.type == self._mapping.types.get(reading.source) else column.type

    def _as_typed(self) -> sql.Composable:
        """The text as its column prints it."""
        query = sql.SQL("SELECT DISTINCT type FROM {} WHERE type <> ''").format(self._should)
        whens = [
            sql.SQL("WHEN {} THEN {}").format(sql.Literal(each), text_of(sql.SQL("value::{}").format(sql.SQL(each))))
            for (each,) in self._session.execute(query)
        ]
        return sql.SQL("CASE type {} ELSE value END").format(sql.SQL(" ").join(whens)) if whens else sql.SQL("value")

    def _cells(self, entity: Entity, part: Part, columns: list[Column], chunk: Chunk) -> sql.Composed:
        mapping = self._mapping
        values = dict(zip(mapping.entity, json.loads(entity.identity), strict=False))
        own = set(mapping.key_columns)
        names = [*mapping.entity, *mapping.rule.time_types]
        place = [
            text_of(one_text(mapping, name, sql.Identifier("wide", name))) if name in own else sql.Literal(values[name])
            for name in names
        ]
        return sql.SQL(
            "SELECT {}, cell.value FROM {} AS wide CROSS JOIN LATERAL ({}) AS cell (key, value) WHERE {} AND {}"
        ).format(
            _COMMA.join([*place, sql.Identifier("cell", "key")]),
            tables.relation(part),
            unpivoted(columns),
            filled(sql.Identifier("cell", "value")),
            self._within(chunk),
        )

    def _within(self, chunk: Chunk) -> sql.Composable:
        rule = self._mapping.rule
        axis = next(iter((*rule.time_types, *rule.table.entity)), "")
        tests = [
            sql.SQL(form).format(sql.Identifier("wide", axis), sql.Literal(wide_bound(self._mapping, bound)))
            for form, bound in (("{} >= {}", chunk.lower), ("{} < {}", chunk.upper))
            if bound is not None
        ]
        return _AND.join(tests) if tests else sql.SQL("true")
