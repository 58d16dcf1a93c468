"""The narrow tables as the target has them written down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.types.json import Jsonb

from cdc.lsn import Lsn
from cdc.source.facts import Facts
from cdc.source.narrow import NarrowTable
from sink.mapping.family import Source, joining, rules
from sink.mapping.mapping import Mapping

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOAD: Final = (
    "SELECT schema_name, table_name, oid, types, gate_lsn::text, escapes, max(wide_time) OVER (), canonical"
    " FROM widebeam.sources WHERE connector = %s"
    " ORDER BY joined_at, schema_name, table_name"
)
_ADD: Final = (
    "INSERT INTO widebeam.sources (connector, schema_name, table_name, oid, types, gate_lsn, escapes, canonical)"
    " VALUES (%s, %s, %s, %s, %s, %s::pg_lsn, %s, %s) ON CONFLICT DO NOTHING"
)


def load(connection: Connection, connector: str) -> list[Source]:
    """All narrow tables, those that joined first at the beginning."""
    return [
        Source(schema, name, oid, types, None if gate is None else Lsn.parse(gate), escapes, wide_time, canonical)
        for schema, name, oid, types, gate, escapes, wide_time, canonical in connection.execute(_LOAD, [connector])
    ]


def add(connection: Connection, connector: str, source: Source) -> None:
    """Write a narrow table down."""
    gate = None if source.gate is None else str(source.gate)
    found = [source.schema, source.name, source.oid, Jsonb(source.types), gate, source.escapes, source.canonical]
    connection.execute(_ADD, [connector, *found])


def note_types(connection: Connection, connector: str, source: Source, types: dict[str, str]) -> None:
    """The types of its mapped columns are written otherwise than before; they are the same."""
    connection.execute(
        "UPDATE widebeam.sources SET types = %s WHERE (connector, schema_name, table_name) = (%s, %s, %s)",
        [Jsonb(types), connector, source.schema, source.name],
    )


def name_time(connection: Connection, connector: str, name: str) -> None:
    """The wide time column is called so, whatever `time` is now; it keeps the name that it was made with."""
    connection.execute(
        "UPDATE widebeam.sources SET wide_time = %s WHERE connector = %s AND wide_time IS NULL", [name, connector]
    )


def open_gate(connection: Connection, connector: str, source: Source, gate: Lsn) -> None:
    """The table is published: snapshots taken after `gate` may read its chunks."""
    connection.execute(
        "UPDATE widebeam.sources SET gate_lsn = %s::pg_lsn"
        " WHERE connector = %s AND schema_name = %s AND table_name = %s AND gate_lsn IS NULL",
        [str(gate), connector, source.schema, source.name],
    )


def facts(connection: Connection, connector: str, table: NarrowTable) -> Facts | None:
    """What was written down of the source's catalog; None if nothing was yet."""
    row = connection.execute(
        "SELECT facts FROM widebeam.sources WHERE (connector, schema_name, table_name) = (%s, %s, %s)",
        [connector, table.schema, table.name],
    ).fetchone()
    return None if row is None or row[0] is None else Facts.of_json(row[0])


def note_facts(
    connection: Connection, connector: str, table: NarrowTable, found: Facts, before: Facts | None = None
) -> bool:
    """Write down what the source's catalog says; False if that is not what was there `before` any more."""
    expected = None if before is None else Jsonb(before.as_json())
    done = connection.execute(
        "UPDATE widebeam.sources SET facts = %s WHERE (connector, schema_name, table_name) = (%s, %s, %s)"
        " AND (%s::jsonb IS NULL OR facts = %s::jsonb)",
        [Jsonb(found.as_json()), connector, table.schema, table.name, expected, expected],
    )
    return done.rowcount == 1


def note_truncated(connection: Connection, connector: str, tables: Iterable[str], position: Lsn) -> None:
    """These tables were truncated, as the stream says; in the open transaction that applies it."""
    connection.execute(_TRUNCATED, [str(position), connector, list(tables)])


def truncated_since(connection: Connection, connector: str, table: NarrowTable, at: str) -> bool:
    """Whether a TRUNCATE of the table from behind that position is applied."""
    row = connection.execute(_TRUNCATED_SINCE, [at or None, connector, table.schema, table.name]).fetchone()
    return row == (True,)


_TRUNCATED: Final = """
UPDATE widebeam.sources SET truncated_at = greatest(truncated_at, %s::pg_lsn)
WHERE connector = %s AND name = ANY(%s)
"""
_TRUNCATED_SINCE: Final = (
    "SELECT truncated_at > %s::pg_lsn FROM widebeam.sources WHERE (connector, schema_name, table_name) = (%s, %s, %s)"
)


def attach_again(connection: Connection, connector: str) -> int:
    """Forget, in the open transaction, that partitions were attached: their rows are to be filled in once more.

    For what goes back in the stream: it has no event of them, and older ones of their cells. How many there are. (Not
    where rows can meet in a cell: there a sink reads it again, and finds them.)
    """
    connection.execute(
        "UPDATE widebeam.chunks SET state = 'void', error = NULL, retry_at = NULL"
        " WHERE connector = %s AND reads <> '' AND state IN ('planned', 'failed')",
        [connector],
    )
    return connection.execute(_ATTACH_AGAIN, [connector]).rowcount


# Where the partition may only be read through its table, a chunk does not say which partition it was for.
_ATTACH_AGAIN: Final = """
UPDATE widebeam.sources AS s SET facts = jsonb_set(facts, '{leaves}', (
    SELECT coalesce(jsonb_object_agg(leaf.key, leaf.value), '{}') FROM jsonb_each(facts -> 'leaves') AS leaf
    WHERE NOT EXISTS (SELECT FROM widebeam.chunks AS c WHERE c.connector = s.connector
                      AND c.source = s.name AND c.reads IN (leaf.value ->> 0, c.source))))
WHERE connector = %s AND EXISTS (
    SELECT FROM widebeam.chunks AS c
    WHERE c.connector = s.connector AND c.source = s.name AND c.reads <> '')
"""


def partitioned(connection: Connection, connector: str) -> bool:
    """Whether partitions with rows in them can be attached to one of the narrow tables."""
    row = connection.execute(
        "SELECT bool_or((facts -> 'partitioned')::boolean) FROM widebeam.sources WHERE connector = %s", [connector]
    ).fetchone()
    return row is not None and bool(row[0])


def joined(connection: Connection, mapping: Mapping) -> Mapping:
    """The mapping with the tables that have joined it meanwhile."""
    if mapping.family is None:
        return mapping
    found = load(connection, mapping.connector)
    made = rules(mapping.family, found, widens=mapping.type_conflict == "widen")
    return replace(mapping, rules=made or mapping.rules, joining=joining(found))


def forget(connection: Connection, connector: str, source: Source) -> None:
    """The table is gone from the source: nobody can read its chunks any more."""
    with connection.transaction():
        connection.execute(
            "UPDATE widebeam.chunks SET state = 'void', error = 'the table is gone', retry_at = NULL"
            " WHERE connector = %s AND source = %s AND state IN ('planned', 'failed')",
            [connector, source.qualified],
        )
        connection.execute(
            "DELETE FROM widebeam.sources WHERE connector = %s AND schema_name = %s AND table_name = %s",
            [connector, source.schema, source.name],
        )
