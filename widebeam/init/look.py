"""Looking at a database: its tables, and some of their rows. The only SQL of `widebeam init`; it reads, no more."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from cdc.source.table_name import TableName
from widebeam.init.facts import Catalog, Column, Index, Inheritance, Reference, Sample, Table

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

SAMPLE_ROWS: Final = 4_000
NAMES: Final = 50_000
_SMALL: Final = 50_000  # rows up to which the sample is of the table's whole length anyway
_LONGEST: Final = 4_000  # characters of a value that are looked at


def catalog(session: Session) -> Catalog:
    """All tables that we may read, without partitions, temporary tables, and what belongs to the server or to us.

    Columns that we may not read, or that are generated, are left out, and with them the indexes and references on them.
    """
    columns = _gathered(session, _COLUMNS, Column)
    indexes = _gathered(session, _INDEXES, lambda names, *kind: Index(tuple(names), *kind))
    references = _gathered(session, _REFERENCES, Reference)
    trees = _trees(session)
    tables = []
    for oid, schema, name, kind, rows in session.execute(_TABLES):
        there = {column.name for column in columns[oid]}
        on_them = tuple(index for index in indexes[oid] if there.issuperset(index.columns))
        from_them = tuple(reference for reference in references[oid] if reference.column in there)
        tables.append(Table(schema, name, kind == "p", rows, tuple(columns[oid]), on_them, from_them, trees.get(oid)))
    return Catalog(tuple(tables))


def _trees(session: Session) -> dict[int, Inheritance]:
    """The trees of inheritance, by the oid of each table in them."""
    found: dict[int, Inheritance] = {}
    for schema, root, names, oids, alike in session.execute(_TREES):
        ends = tuple(TableName(*each) for each in names)
        whole = alike == len(ends) and all(e.schema == schema and e.name.startswith(f"{root}_") for e in ends)
        pattern = TableName(schema, f"{root}_%").text if whole and "%" not in root else None
        found |= dict.fromkeys(oids, Inheritance(TableName(schema, root), ends, pattern))
    return found


def no_table(session: Session, name: str) -> str:
    """What is amiss with a name (`schema.table`, or a table's in public) that is none of `catalog`'s.

    That is what else it is, why we may not read it, or which names are like it.
    """
    for schema, table in parted(name):
        found = session.execute(_WHAT_IT_IS, [schema, table]).fetchone()
        if found is not None and found[0] is not None:
            return f"{TableName(schema, table)} {found[0]}"
    names = [TableName(*row).text for row in session.execute(_ALIKE, [re.sub(r'[".]', "", name).lower()])]
    alike = f"; there is {', '.join(names)}" if names else ""
    return f"there is no table {name}{alike}"


def hidden(session: Session) -> list[str]:
    """Some of the tables that are none of `catalog`'s, with why."""
    return [f"{TableName(schema, name)} {why}" for schema, name, why in session.execute(_HIDDEN, [])]


def parted(name: str) -> Iterator[tuple[str, str]]:
    """How a name can be meant, as schema and table: as a connector writes it, or with dots in either. Bare, it is in
    public."""
    with suppress(ValueError):
        yield TableName.of(name)
    for at in (at for at, character in enumerate(name) if character == "."):
        yield name[:at], name[at + 1 :]
    yield "public", name


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
    AND has_any_column_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid)
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
    SELECT c.oid, attname::text, CASE WHEN typtype = 'd' THEN format_type(typbasetype, typtypmod)
        ELSE format_type(atttypid, atttypmod) END, attnotnull,
        attidentity <> '' OR coalesce(pg_get_expr(adbin, adrelid) LIKE 'nextval(%', false)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON attrelid = c.oid
    JOIN pg_type t ON t.oid = atttypid LEFT JOIN pg_attrdef d ON (adrelid, adnum) = (attrelid, attnum)
    WHERE {_OURS} AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
    AND has_column_privilege(c.oid, attnum, 'SELECT') ORDER BY 1, attnum
"""  # noqa: S608
_INDEXES: Final = f"""
    SELECT c.oid, array_agg(attname::text ORDER BY place), indisunique AND indimmediate, indisprimary
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_index i ON indrelid = c.oid
    CROSS JOIN unnest((indkey::int2[])[0:indnkeyatts - 1]) WITH ORDINALITY AS k (number, place)
    JOIN pg_attribute a ON (attrelid, attnum) = (indrelid, k.number)
    WHERE {_OURS} AND indisvalid AND indpred IS NULL AND indexprs IS NULL
    GROUP BY c.oid, i.indexrelid, 3, 4 ORDER BY 1, 4 DESC, i.indexrelid
"""  # noqa: S608
_AMISS: Final = """
    CASE
        WHEN relkind = 'v' THEN 'is a view, and a view writes no WAL: name the tables that it reads'
        WHEN relkind = 'm' THEN 'is a materialized view: name the tables that it reads'
        WHEN relkind = 'f' THEN 'is a foreign table: connect to the server where its rows are'
        WHEN relkind NOT IN ('r', 'p') THEN 'is no table'
        WHEN relispartition THEN 'is a partition of ' || (
            SELECT format('%%I.%%I', pn.nspname, p.relname) FROM pg_class p
            JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE p.oid = pg_partition_root(c.oid)) || ': name that one'
        WHEN n.nspname = 'widebeam' THEN 'is Widebeam''s own'
        WHEN relpersistence = 't' THEN 'is a temporary table'
        WHEN NOT has_schema_privilege(n.oid, 'USAGE') OR NOT has_any_column_privilege(c.oid, 'SELECT')
            THEN format('is not for the role %%s to read: GRANT USAGE ON SCHEMA %%I TO %%I; '
                'GRANT SELECT ON TABLE %%I.%%I TO %%I;', current_user, nspname, current_user,
                nspname, relname, current_user)
        WHEN row_security_active(c.oid)
            THEN format('has row security, which hides rows from %%1$I: ALTER ROLE %%1$I BYPASSRLS;', current_user)
        ELSE 'belongs to the server, or to an extension'
    END
"""
_WHAT_IT_IS: Final = f"""
    SELECT {_AMISS} FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE (nspname, relname) = (%s, %s)
"""  # noqa: S608
_HIDDEN: Final = f"""
    SELECT n.nspname::text, relname::text, {_AMISS}
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'p') AND NOT relispartition AND relpersistence <> 't' AND nspname NOT LIKE 'pg\\_%%'
    AND nspname NOT IN ('information_schema', 'widebeam') AND NOT ({_OURS.replace("%", "%%")}) ORDER BY 1, 2 LIMIT 5
"""  # noqa: S608
_ALIKE: Final = """
    SELECT n.nspname::text, relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'p') AND NOT relispartition AND nspname NOT LIKE 'pg\\_%%' AND lower(%s) IN (
        lower(relname), lower(replace(nspname || relname, '.', '')), lower(replace(relname, '.', '')))
    ORDER BY 1, 2 LIMIT 5
"""
_TREES: Final = """
    WITH RECURSIVE pairs(child, parent) AS (
        SELECT inhrelid, inhparent FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
        WHERE NOT relispartition AND c.relkind = 'r'
    ), tree(root, oid) AS (
        SELECT DISTINCT parent, parent FROM pairs WHERE parent NOT IN (SELECT child FROM pairs)
        UNION SELECT root, child FROM tree JOIN pairs ON parent = oid
    )
    SELECT n.nspname::text, r.relname::text,
        (SELECT array_agg(ARRAY[en.nspname::text, e.relname::text] ORDER BY en.nspname, e.relname)
         FROM tree t JOIN pg_class e ON e.oid = t.oid JOIN pg_namespace en ON en.oid = e.relnamespace
         WHERE t.root = r.oid AND t.oid NOT IN (SELECT parent FROM pairs)),
        (SELECT array_agg(t.oid::bigint) FROM tree t WHERE t.root = r.oid),
        (SELECT count(*) FROM pg_class a WHERE a.relnamespace = r.relnamespace AND a.relkind IN ('r', 'p')
         AND NOT a.relispartition AND starts_with(a.relname, r.relname || '_'))
    FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace
    WHERE r.oid IN (SELECT root FROM tree) ORDER BY 1, 2
"""
_REFERENCES: Final = f"""
    SELECT c.oid, a.attname::text, tn.nspname::text, t.relname::text, ta.attname::text
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_constraint k ON conrelid = c.oid AND contype = 'f' AND cardinality(conkey) = 1
    JOIN pg_attribute a ON (a.attrelid, a.attnum) = (conrelid, conkey[1])
    JOIN pg_class t ON t.oid = confrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace
    JOIN pg_attribute ta ON (ta.attrelid, ta.attnum) = (confrelid, confkey[1])
    WHERE {_OURS} ORDER BY 1, 2
"""  # noqa: S608
