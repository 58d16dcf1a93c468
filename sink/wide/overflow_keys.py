"""Which keys have cells in the overflow of a wide table (sink/merge/overflow.py)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import psycopg
from psycopg import sql

from sink.mapping.wide import Column, Part
from sink.wide import tables

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


def members(connection: Connection, part: Part, column: Column, keys: Iterable[str]) -> set[str]:
    """Those of the keys that have a cell in a wide table's overflow. Reads the table whole."""
    query = sql.SQL(
        "SELECT DISTINCT key FROM {wide} AS wide CROSS JOIN jsonb_object_keys(wide.{over}) AS key"
        " WHERE wide.{over} ?| %(keys)s::text[] AND key = ANY(%(keys)s::text[])"
    ).format(wide=tables.relation(part), over=sql.Identifier(column.name))
    return {key for (key,) in connection.execute(query, {"keys": list(keys)})}
