"""Barriers: a mark in the source's WAL that passes the whole pipeline, so that what came before it is known to have.

A transactional logical message becomes a record in every partition. Once all partitions have applied it, everything
that was committed before it is in the wide tables.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import psycopg

from cdc.lsn import Lsn
from cdc.record.assembler import MESSAGE_PREFIX

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


def emit(source: Connection, content: str) -> Lsn:
    """Write a barrier, in a transaction of its own (`source` is in autocommit mode); the LSN of its message.

    The position at which partitions pass it is its commit's, which is not lower.
    """
    row = source.execute("SELECT pg_logical_emit_message(true, %s, %s)::text", [MESSAGE_PREFIX, content]).fetchone()
    if row is None:
        raise LookupError("pg_logical_emit_message answered nothing")
    return Lsn.parse(row[0])


def passed(target: Connection, connector: str, barrier: Lsn) -> bool:
    """Whether every partition has applied it, as the target says now."""
    row = target.execute(
        "SELECT bool_and(barrier >= %s::pg_lsn) FROM widebeam.progress WHERE connector = %s", [str(barrier), connector]
    ).fetchone()
    return row is not None and bool(row[0])
