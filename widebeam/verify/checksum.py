"""SQL by which both databases answer alike what is in a range of time: sums over hashes of cells, and the cells.

A cell's hash is over the texts of entity, time, key and value. Texts come from the types' output functions by way of
concat(), as COPY and pgoutput write them; a cast to text would cut the padding of char(n).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from psycopg import sql

from sink.mapping.mapping import Mapping
from sink.mapping.wide import OVERFLOW, Column, Entity, Part
from sink.wide import tables
from sink.wide.cell import empty, filled, text_of
from snapshot.chunks.plan import Chunk

_SEPARATOR: Final = sql.Literal("\x1f")
_AND: Final = sql.SQL(" AND ")
_COMMA: Final = sql.SQL(", ")
_VALUE: Final = sql.Identifier("value")


class WideKey(NamedTuple):
    """Whose readings, and when: the texts of the entity's columns and of the time's."""

    entity: tuple[str | None, ...]
    time: tuple[str | None, ...]


class Side:
    """One database's cells: a query of them, which the questions below are asked about.

    The query has the columns e1, e2, ... and t1, t2, ... (typed as in the table, or text), `key` and `value` (text).
    """

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        table = mapping.table
        self.entity = [f"e{n}" for n in range(1, len(table.entity) + 1)]
        self.time = [f"t{n}" for n in range(1, len(table.time) + 1)]

    def narrow(self, where: sql.Composable, *, sources: bool = False) -> sql.Composed:
        """The cells of the narrow table, those that are NULL too. Its columns are named as they are in `where`.

        With `sources`, the value is the name of the column that the reading is in.
        """
        value = self._value(_named if sources else _shown)
        table = self._mapping.table
        names = [*zip(table.wide, [*self.entity, *self.time], strict=True), *((each, "key") for each in table.key)]
        columns = [
            sql.SQL("{} AS {}").format(one_text(self._mapping, name, sql.Identifier(name)), sql.Identifier(alias))
            for name, alias in names
        ]
        return sql.SQL("SELECT {}, {} AS value FROM {} WHERE {}").format(
            _COMMA.join(columns), value, sql.Identifier(table.schema, table.name), where
        )

    def wide(self, entity: Entity, part: Part, where: sql.Composable) -> sql.Composed:
        """The cells of one part table, unpivoted; no NULLs."""
        mapping = self._mapping
        own = {name: one_text(mapping, name, sql.Identifier("wide", name)) for name in mapping.key_columns}
        values = iter(json.loads(entity.identity))
        table = self._mapping.table
        columns = [
            sql.SQL("{} AS {}").format(own[name] if name in own else sql.Literal(next(values)), sql.Identifier(alias))
            for name, alias in zip(table.wide, [*self.entity, *self.time], strict=True)
        ]
        return sql.SQL(
            "SELECT {}, cell.key, cell.value FROM {} AS wide CROSS JOIN LATERAL ({}) AS cell (key, value)"
            " WHERE {} AND {}"
        ).format(
            _COMMA.join(columns),
            tables.relation(part),
            unpivoted(entity.of_part(part.number)),
            filled(sql.Identifier("cell", "value")),
            where,
        )

    def by_range(self, cells: sql.Composable, ranges: Sequence[Chunk]) -> sql.Composed:
        """How many rows and cells each of these ranges has, and the sum of the cells' hashes.

        Answers rows of: index of the range, rows, cells, sum.
        """
        return sql.SQL(
            "SELECT {}, count(*), count(value), coalesce(sum({}) FILTER (WHERE {}), 0) FROM ({}) AS cells GROUP BY 1"
        ).format(self._bucket([each.upper for each in ranges[:-1]]), self._hash(), filled(_VALUE), cells)

    def by_wide_key(self, cells: sql.Composable) -> sql.Composed:
        """The same for each wide key that has a cell. Answers rows of: entity, time (texts), cells, sum."""
        keys = [*map(sql.Identifier, self.entity), *map(sql.Identifier, self.time)]
        return sql.SQL("SELECT {}, count(value), sum({}) FROM ({}) AS cells WHERE {} GROUP BY {}").format(
            _COMMA.join(map(text_of, keys)), self._hash(), cells, filled(_VALUE), _COMMA.join(keys)
        )

    def times(self, cells: sql.Composable) -> sql.Composed:
        """The times (texts) of all rows, also of those without a value."""
        return sql.SQL("SELECT DISTINCT {} FROM ({}) AS cells").format(
            _COMMA.join(text_of(sql.Identifier(name)) for name in self.time), cells
        )

    def cells(self, cells: sql.Composable) -> sql.Composed:
        """The cells that are not NULL. Answers rows of: entity, time, key, value (texts)."""
        keys = [*map(sql.Identifier, self.entity), *map(sql.Identifier, self.time)]
        return sql.SQL("SELECT {}, concat(key), value FROM ({}) AS cells WHERE {}").format(
            _COMMA.join(map(text_of, keys)), cells, filled(_VALUE)
        )

    def within(self, lower: str | None, upper: str | None, alias: str = "") -> sql.Composable:
        """The test for a range of time; a time that is NULL belongs to the range that is open below."""
        time = _column(alias, self._mapping.table.time[0])
        tests = []
        if lower is not None:
            tests.append(sql.SQL("{} >= {}").format(time, sql.Literal(lower)))
        if upper is not None:
            tests.append(sql.SQL("{} < {}").format(time, sql.Literal(upper)))
        both = _AND.join(tests) if tests else sql.SQL("true")
        return both if lower is not None else sql.SQL("({} OR {})").format(both, empty(time))

    def among(self, keys: Iterable[WideKey], columns: Sequence[str], alias: str = "") -> sql.Composable:
        """The test for wide keys, by those `columns` that the table has."""
        names = self._mapping.table.wide
        wanted = sorted(
            {tuple(dict(zip(names, (*k.entity, *k.time), strict=True))[c] for c in columns) for k in keys}, key=str
        )
        known = [each for each in wanted if None not in each]
        tests: list[sql.Composable] = [self._one(each, columns, alias) for each in wanted if None in each]
        if known:
            lists = [
                sql.SQL("{}::text[]").format(sql.Literal([each[n] for each in known])) for n in range(len(columns))
            ]
            typed = [
                sql.SQL("k{}::{}").format(sql.SQL(str(n)), tables.type_name(self._mapping.types[name]))
                for n, name in enumerate(columns)
            ]
            aliases = [sql.SQL(f"k{n}") for n in range(len(columns))]
            tests.append(
                sql.SQL("({}) IN (SELECT {} FROM unnest({}) AS k ({}))").format(
                    _COMMA.join(_column(alias, name) for name in columns),
                    _COMMA.join(typed),
                    _COMMA.join(lists),
                    _COMMA.join(aliases),
                )
            )
        return sql.SQL("({})").format(sql.SQL(" OR ").join(tests)) if tests else sql.SQL("false")

    def _one(self, values: tuple[str | None, ...], columns: Sequence[str], alias: str) -> sql.Composed:
        """A key that has a NULL in it."""
        same = [
            empty(_column(alias, name))
            if value is None
            else sql.SQL("{} = {}").format(_column(alias, name), sql.Literal(value))
            for name, value in zip(columns, values, strict=True)
        ]
        return sql.SQL("({})").format(_AND.join(same))

    def _value(self, shown: Callable[[str], sql.Composed]) -> sql.Composed:
        """The text of the reading, as sink.fold.pivot chooses it; where it finds no choice, of whatever there is."""
        mapping = self._mapping
        first = sql.SQL("coalesce({})").format(_COMMA.join(shown(name) for name in mapping.table.values))
        if mapping.rule.discriminator is None:
            return first
        choices = [
            sql.SQL("WHEN {} THEN {}").format(sql.Literal(choice), shown(name))
            for choice, name in (mapping.rule.choices or {}).items()
        ]
        return sql.SQL("CASE {} {} ELSE {} END").format(
            sql.Identifier(mapping.rule.discriminator), sql.SQL(" ").join(choices), first
        )

    def _hash(self) -> sql.Composed:
        names = [*self.entity, *self.time, "key", "value"]
        joined = _COMMA.join(each for name in names for each in (sql.Identifier(name), _SEPARATOR))
        return sql.SQL('hashtextextended(concat({}) COLLATE "C", 0)').format(joined)

    def _bucket(self, bounds: Sequence[str | None]) -> sql.Composable:
        """Which range a time falls into, by the bounds between them."""
        if not bounds:
            return sql.SQL("0")
        time_type = tables.type_name(self._mapping.types[self._mapping.table.time[0]])
        return sql.SQL("coalesce(width_bucket({}, {}::{}[]), 0)").format(
            sql.Identifier(self.time[0]), sql.Literal(list(bounds)), time_type
        )


def one_text(mapping: Mapping, name: str, value: sql.Composable) -> sql.Composable:
    """A column of a wide key, so that equal values have one text: sink.mapping.kinds.one_text for SQL."""
    match mapping.key_types.get(name):
        case "numeric":
            return sql.SQL("trim_scale({})").format(value)
        case "real" | "double precision":
            return sql.SQL("{} + '0'").format(value)
        case _:
            return value


def unpivoted(columns: Iterable[Column]) -> sql.Composed:
    """Keys and texts of one row's cells: those in columns, and the members of the overflow."""
    cells, forms = [], list[sql.Composable]()
    for column in columns:
        name = sql.Identifier("wide", column.name)
        if column.key == OVERFLOW:
            forms.append(sql.SQL("SELECT key, value FROM jsonb_each_text({})").format(name))
        else:
            cells.append(sql.SQL("({}, {})").format(sql.Literal(column.key), text_of(name)))
    if cells:
        forms.append(sql.SQL("VALUES {}").format(_COMMA.join(cells)))
    return sql.SQL(" UNION ALL ").join(forms)


def _column(alias: str, name: str) -> sql.Identifier:
    return sql.Identifier(alias, name) if alias else sql.Identifier(name)


def _named(name: str) -> sql.Composed:
    """The column's name, where it is not NULL."""
    return sql.SQL("CASE WHEN {} THEN {} END").format(filled(sql.Identifier(name)), sql.Literal(name))


def _shown(name: str) -> sql.Composed:
    """The column's text, where it is not NULL."""
    return text_of(sql.Identifier(name))
