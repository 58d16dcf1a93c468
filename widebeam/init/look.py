"""Looking at a database: its tables, and some of their rows. The only SQL of `widebeam init`; it reads, no more."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from widebeam.init.facts import Catalog, Column, Index, Reference, Sample, Table

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

SAMPLE_ROWS: Final = 4_000
NAMES: Final = 50_000
_SMALL: Final = 50_000  # rows up to which the sample is of the table's whole length anyway
_LONGEST: Final = 4_000  # characters of a value that are looked at


def catalog(session: Session) -> Catalog:
    """All tables that we may read, without partitions, temporary tables, and what belongs to the server or to us."""
    columns = _gathered(session, _COLUMNS, Column)
    indexes = _gathered(session, _INDEXES, lambda names, *kind: Index(tuple(names), *kind))
    references = _gathered(session, _REFERENCES, Reference)
    return Catalog(
        tuple(
            Table(schema, name, kind == "p", rows, tuple(columns[oid]), tuple(indexes[oid]), tuple(references[oid]))
            for oid, schema, name, kind, rows in session.execute(_TABLES)
        )
    )


def sample(session: Session, table: Table, limit: int = SAMPLE_ROWS) -> Sample:
    """Some rows from all over the table: whole pages at random where it is large."""
    columns = tuple(column.name for column in table.columns)
    if table.rows > _SMALL:
        percent = min(100.0, 400.0 * limit / table.rows)
        found = session.execute(_select(table, columns, limit, percent)).fetchall()
        if found:
            return Sample(columns, tuple(found))
    return Sample(columns, tuple(session.execute(_select(table, columns, limit)).fetchall()))


def _select(table: Table, columns: tuple[str, ...], limit: int, percent: float | None = None) -> sql.Composed:
    fields = [sql.SQL("left({}::text, {})").format(sql.Identifier(name), sql.Literal(_LONGEST)) for name in columns]
    pages = sql.SQL("") if percent is None else sql.SQL(" TABLESAMPLE SYSTEM ({})").format(sql.Literal(percent))
    return sql.SQL("SELECT {} FROM {}{} LIMIT {}").format(
        sql.SQL(", ").join(fields), sql.Identifier(table.schema, table.name), pages, sql.Literal(limit)
    )


def _gathered(session: Session, query: str, make: Any) -> defaultdict[int, list[Any]]:
    """Rows whose first column is a table's oid, made into facts, by that oid."""
    found: defaultdict[int, list[Any]] = defaultdict(list)
    for oid, *fields in session.execute(query):
        found[oid].append(make(*fields))
    return found


_OURS: Final = """
    c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_%'
    AND n.nspname NOT IN ('information_schema', 'widebeam') AND has_schema_privilege(n.oid, 'USAGE')
    AND has_any_column_privilege(c.oid, 'SELECT')
    AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = c.oid AND classid = 'pg_class'::regclass AND deptype = 'e')
"""
# A table that was never analysed has -1 rows: then its size tells, at some hundred bytes a row.
_TABLES: Final = f"""
    SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, (
        SELECT coalesce(sum(CASE WHEN p.reltuples >= 0 THEN p.reltuples ELSE pg_relation_size(p.oid) / 100 END), 0)
        FROM pg_class p WHERE p.relkind = 'r' AND (
            p.oid = c.oid OR p.oid IN (SELECT relid FROM pg_partition_tree(c.oid)))
    )::bigint
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS} ORDER BY 2, 3
"""  # noqa: S608
_COLUMNS: Final = f"""
    SELECT c.oid, attname::text, format_type(atttypid, atttypmod), attnotnull,
        attidentity <> '' OR coalesce(pg_get_expr(adbin, adrelid) LIKE 'nextval(%', false)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON attrelid = c.oid
    LEFT JOIN pg_attrdef d ON (adrelid, adnum) = (attrelid, attnum)
    WHERE {_OURS} AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY 1, attnum
"""  # noqa: S608
_INDEXES: Final = f"""
    SELECT c.oid, array_agg(attname::text ORDER BY place), indisunique AND indimmediate, indisprimary
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_index i ON indrelid = c.oid
    CROSS JOIN unnest((indkey::int2[])[0:indnkeyatts - 1]) WITH ORDINALITY AS k (number, place)
    JOIN pg_attribute a ON (attrelid, attnum) = (indrelid, k.number)
    WHERE {_OURS} AND indisvalid AND indpred IS NULL AND indexprs IS NULL
    GROUP BY c.oid, i.indexrelid, 3, 4 ORDER BY 1, 4 DESC, i.indexrelid
"""  # noqa: S608
_REFERENCES: Final = f"""
    SELECT c.oid, a.attname::text, tn.nspname::text, t.relname::text, ta.attname::text
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_constraint k ON conrelid = c.oid AND contype = 'f' AND cardinality(conkey) = 1
    JOIN pg_attribute a ON (a.attrelid, a.attnum) = (conrelid, conkey[1])
    JOIN pg_class t ON t.oid = confrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace
    JOIN pg_attribute ta ON (ta.attrelid, ta.attnum) = (confrelid, confkey[1])
    WHERE {_OURS} ORDER BY 1, 2
"""  # noqa: S608
