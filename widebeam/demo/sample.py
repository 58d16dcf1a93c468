"""A few moments, looked up on both sides: the narrow readings and the wide row that they became."""

from __future__ import annotations

import json
from typing import Any, Final, LiteralString, NamedTuple

import psycopg
from psycopg import sql

from cdc.bindable import Cursor
from widebeam.demo.stage import CONNECTOR

READINGS = 6
"""How many readings of a moment are shown."""


class Cell(NamedTuple):
    """One reading, and the wide column that holds it. Values as text; None is NULL."""

    channel: str
    format: str
    narrow: str | None
    column: str
    wide: str | None


class Moment(NamedTuple):
    """One wide row, partly."""

    ship: str
    time: str
    view: str
    cells: list[Cell]


HISTORY: Final = """
    SELECT ship_id, created_time::text FROM tenant.tbl_data_timeseries
    WHERE created_time <= '2026-03-01 01:00' AND value_format = 'String' AND str_v > '' ORDER BY created_time DESC
    LIMIT 1"""
"""A moment of the history."""

LIVE: Final = """
    SELECT ship_id, created_time::text FROM tenant.tbl_data_timeseries
    WHERE data_channel_id LIKE 'CII%' AND str_v > '' ORDER BY created_time DESC LIMIT 1"""
"""A moment of the live readings, with a channel that nobody had planned."""

_CELLS = """
    SELECT data_channel_id, value_format, coalesce(double_v::text, long_v::text, bool_v::text, str_v), column_name
    FROM (
        SELECT n.*, c.column_name, row_number() OVER (PARTITION BY n.value_format ORDER BY c.ordinal DESC) AS nth
        FROM tenant.tbl_data_timeseries n JOIN widebeam.columns c ON c.key = n.data_channel_id
        WHERE c.connector = %s AND c.entity = %s AND n.ship_id = %s AND n.created_time = %s::timestamp
    ) readings ORDER BY nth, value_format LIMIT %s"""


def moments(dsn: str, *which: LiteralString) -> list[Moment]:
    """The moments, each with readings of all formats that it has."""
    with psycopg.connect(dsn, autocommit=True, cursor_factory=Cursor) as connection:
        found = [row for one in which for row in connection.execute(one).fetchall()]
        return [Moment(ship, at, *_looked_up(connection, ship, at)) for ship, at in found]


def _looked_up(connection: psycopg.Connection[Any], ship: str, at: str) -> tuple[str, list[Cell]]:
    entity = json.dumps([ship], ensure_ascii=False, separators=(",", ":"))
    view = connection.execute(
        "SELECT schema_name, view_name FROM widebeam.tables WHERE connector = %s AND entity = %s", [CONNECTOR, entity]
    ).fetchone()
    if view is None:
        return "", []
    readings = connection.execute(_CELLS, [CONNECTOR, entity, ship, at, READINGS]).fetchall()
    columns = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(one[3])) for one in readings)
    wide = connection.execute(
        sql.SQL("SELECT {} FROM {} WHERE created_time = %s::timestamp").format(columns, sql.Identifier(*view)), [at]
    ).fetchone()
    values = wide or [None] * len(readings)  # no wide row: verify tells why, here it shows as NULLs
    return ".".join(view), [
        Cell(channel, form, narrow, column, value)
        for (channel, form, narrow, column), value in zip(readings, values, strict=True)
    ]
