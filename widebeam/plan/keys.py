"""Which entities and keys a narrow table holds, with some readings of each: by its index where there is one.

A loose index scan jumps from one (entity, key) to the next: a table of a billion rows and ten thousand keys costs ten
thousand look-ups. Without such an index, whole pages at random are read.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import errors, sql

from cdc.source.narrow import NarrowTable
from sink.wide.cell import empty, filled
from widebeam.init.facts import Index, Table

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

Row: TypeAlias = "tuple[str | None, ...]"
"""A narrow row: the values of NarrowTable.columns as the server prints them."""

SAMPLE_ROWS: Final = 100_000


class Reach(NamedTuple):
    """How far a look goes: seconds for one query, pairs of entity and key, and how many readings of each.

    So many of the oldest readings are looked at, and of the newest where the index has the time.
    """

    seconds: float = 120
    pairs: int = 200_000
    each: int = 10


class Looked(NamedTuple):
    """What was read of one narrow table. `whole` tells that no key can be missing; `how` says how it was read."""

    rows: list[Row]
    how: str
    whole: bool


def look(
    source: Session,
    table: NarrowTable,
    facts: Table | None,
    *,
    single: bool,
    full: bool = False,
    reach: Reach = Reach(),  # noqa: B008  immutable
) -> Looked:
    """Readings of every key, or of a sample. `single`: keys count whatever the entity. `full`: read the whole table.

    Raises psycopg.errors.QueryCanceled if not even a sample is read within the reach.
    """
    with source.transaction():
        limit = 0 if full else max(1, int(reach.seconds * 1000))
        source.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(limit)))
        if full:
            return Looked(_rows(source, _distinct(table)), "by reading all of it", whole=True)
        try:
            with source.transaction():
                found = None if facts is None else _by_index(source, table, facts, reach, single=single)
        except errors.QueryCanceled:
            found = None
        return found or _sampled(source, table, 0 if facts is None else facts.rows)


def _by_index(source: Session, table: NarrowTable, facts: Table, reach: Reach, *, single: bool) -> Looked | None:
    """By a loose scan; None without an index for it, or if there are too many pairs for it to pay."""
    if not table.entity and not table.key:
        query = _ends(table, facts, reach.each * 10)
        return Looked(_once(source, query), "its oldest and newest rows: it is one key", whole=True)
    ways = [table.key] if single and table.key else []
    for columns in [*ways, table.entity + table.key]:
        index = _leading(facts, columns)
        if index is None:
            continue
        source.execute("SET LOCAL enable_seqscan = off")
        ordered = index.columns[: len(columns)]
        rows = _once(source, _loose(table, ordered, reach, newest=_then_time(index, table, len(columns))))
        places = [table.columns.index(name) for name in ordered]
        pairs = len({tuple(row[place] for place in places) for row in rows})
        source.execute("SET LOCAL enable_seqscan = on")
        if pairs <= reach.pairs:
            return Looked(rows, f"by its index on ({', '.join(index.columns)}): {pairs:,} different ones", whole=True)
    return None


def _leading(facts: Table, columns: tuple[str, ...]) -> Index | None:
    """An index that begins with these columns, in any order; rather one that goes on."""
    found = [index for index in facts.indexes if set(index.columns[: len(columns)]) == set(columns)]
    if not facts.rows or not columns:
        return found[0] if found else None
    return max(found, key=lambda index: len(index.columns) > len(columns), default=None)


def _then_time(index: Index, table: NarrowTable, width: int) -> bool:
    return bool(table.time) and index.columns[width : width + 1] == table.time[:1]


def _sampled(source: Session, table: NarrowTable, rows: int) -> Looked:
    """Whole pages from all over the table; all of it where it is small."""
    if rows <= SAMPLE_ROWS // 2:
        found = _rows(source, _pages(table, None))
        if len(found) <= SAMPLE_ROWS:
            return Looked(found, "by reading all of it: it is small", whole=True)
    percent = min(100.0, 100.0 * SAMPLE_ROWS / max(rows, 1))
    return Looked(
        _rows(source, _pages(table, percent)),
        f"by a sample of {percent:.2g} % of its pages: keys may be missing",
        whole=False,
    )


def _loose(table: NarrowTable, columns: tuple[str, ...], reach: Reach, *, newest: bool) -> sql.Composed:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    there = sql.SQL(" AND ").join(filled(sql.Identifier(name)) for name in columns)
    before = sql.SQL(", ").join(sql.Identifier("p", name) for name in columns)
    same = sql.SQL(" AND ").join(sql.SQL("t.{0} = p.{0}").format(sql.Identifier(name)) for name in columns)
    backwards = sql.SQL(", ").join(
        sql.SQL("t.{} DESC").format(sql.Identifier(name)) for name in (*columns, *table.time[:1])
    )
    orders = [None, backwards] if newest else [None]
    union = sql.SQL(" UNION ALL ").join(_reading(table, same, order, reach.each) for order in orders)
    return sql.SQL(
        "WITH RECURSIVE pairs AS ("
        "(SELECT {names} FROM {table} WHERE {there} ORDER BY {names} LIMIT 1) UNION ALL "
        "SELECT n.* FROM pairs p CROSS JOIN LATERAL (SELECT {names} FROM {table} "
        "WHERE ROW({names}) > ROW({before}) AND {there} ORDER BY {names} LIMIT 1) n"
        ") SELECT r.* FROM (SELECT * FROM pairs LIMIT {most}) p CROSS JOIN LATERAL ({union}) r"
    ).format(
        names=names, table=_relation(table), there=there, before=before, most=sql.Literal(reach.pairs + 1), union=union
    )


def _reading(table: NarrowTable, same: sql.Composable, backwards: sql.Composable | None, each: int) -> sql.Composed:
    order = sql.SQL("") if backwards is None else sql.SQL(" ORDER BY {}").format(backwards)
    return sql.SQL("(SELECT {} FROM {} t WHERE {}{} LIMIT {})").format(
        _columns(table, "t"), _relation(table), same, order, sql.Literal(each)
    )


def _distinct(table: NarrowTable) -> sql.Composed:
    """One row of each pair for every set of columns that are set in its rows."""
    by = [
        *map(sql.Identifier, (*table.entity, *table.key, *table.extra)),
        *(empty(sql.Identifier(name)) for name in table.values),
    ]
    return sql.SQL("SELECT DISTINCT ON ({}) {} FROM {}").format(
        sql.SQL(", ").join(by), _columns(table), _relation(table)
    )


def _ends(table: NarrowTable, facts: Table, most: int) -> sql.Composed:
    indexed = table.time and any(index.columns[:1] == table.time[:1] for index in facts.indexes)
    part = sql.SQL("(SELECT {} FROM {} {} LIMIT {})")
    orders: list[sql.Composable] = [sql.SQL("")]
    if indexed:
        orders.append(sql.SQL("ORDER BY {} DESC").format(sql.Identifier(table.time[0])))
    return sql.SQL(" UNION ALL ").join(
        part.format(_columns(table), _relation(table), order, sql.Literal(most)) for order in orders
    )


def _pages(table: NarrowTable, percent: float | None) -> sql.Composed:
    pages = sql.SQL("") if percent is None else sql.SQL(" TABLESAMPLE SYSTEM ({})").format(sql.Literal(percent))
    return sql.SQL("SELECT {} FROM {}{} LIMIT {}").format(
        _columns(table), _relation(table), pages, sql.Literal(SAMPLE_ROWS + 1)
    )


def _relation(table: NarrowTable) -> sql.Identifier:
    return sql.Identifier(table.schema, table.name)


def _columns(table: NarrowTable, alias: str | None = None) -> sql.Composed:
    names = [sql.Identifier(*([alias] if alias else []), name) for name in table.columns]
    return sql.SQL(", ").join(names)


def _once(source: Session, query: sql.Composed) -> list[Row]:
    """Rows without repetition: among few readings the oldest are the newest, too."""
    return list(dict.fromkeys(_rows(source, query)))


def _rows(source: Session, query: sql.Composed) -> list[Row]:
    """Rows as the server prints them: no value is parsed, so that each looks as it does in the stream."""
    result = source.execute(query).pgresult
    if result is None:
        return []
    width = range(result.nfields)
    return [
        tuple(None if (value := result.get_value(n, at)) is None else value.decode() for at in width)
        for n in range(result.ntuples)
    ]
