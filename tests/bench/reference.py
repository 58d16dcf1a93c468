"""The workload of all benches: the reference table, 8 ships with 250 channels each, a reading each 15 seconds."""

from __future__ import annotations

from typing import Final

from cdc.narrow import NarrowTable
from cdc.session import connect
from sink.mapping import Mapping
from sink.rule import Rule

SHIPS: Final = 8
CHANNELS: Final = 250
TICK_ROWS: Final = SHIPS * CHANNELS
"""Rows of one moment of all ships."""

TABLE: Final = NarrowTable(
    "tenant",
    "tbl_data_timeseries",
    ("ship_id",),
    ("created_time",),
    ("data_channel_id",),
    ("double_v", "long_v", "str_v", "bool_v"),
    ("value_format",),
)
TYPES: Final = {
    "ship_id": "text",
    "created_time": "timestamp without time zone",
    "data_channel_id": "text",
    "double_v": "double precision",
    "long_v": "bigint",
    "str_v": "text",
    "bool_v": "boolean",
    "value_format": "character varying(50)",
}
CHOICES: Final = {"Decimal": "double_v", "Integer": "long_v", "String": "str_v", "Boolean": "bool_v"}
RULE: Final = Rule.of(TABLE, TYPES, discriminator="value_format", choices=CHOICES)
MAPPING: Final = Mapping(connector="ships", rules=(RULE,), schema="wide", name="{entity}")

DDL: Final = """
CREATE SCHEMA tenant;
CREATE TABLE tenant.tbl_data_timeseries (
    id bigserial, ship_id text NOT NULL, data_channel_id text NOT NULL, created_time timestamp NOT NULL,
    server_created_time timestamp DEFAULT now(), bool_v bool, str_v text, long_v int8, double_v float8,
    value_format varchar(50), PRIMARY KEY (ship_id, data_channel_id, created_time));
"""

# Of 20 channels two are whole numbers, one a text, one a truth value, the others decimal.
INSERT: Final = """
INSERT INTO tenant.tbl_data_timeseries
    (ship_id, data_channel_id, created_time, bool_v, str_v, long_v, double_v, value_format)
SELECT 'IMO' || 9999000 + n / 250, 'channel_' || lpad((n %% 250)::text, 3, '0'),
       timestamp '2026-01-01' + m / 2000 * interval '15 s',
       CASE WHEN kind = 3 THEN n %% 2 = 0 END, CASE WHEN kind = 2 THEN 'state_' || n %% 7 END,
       CASE WHEN kind < 2 THEN n * 1000 + m / 2000 END,
       CASE WHEN kind > 3 THEN round((random() * 1000)::numeric, 3)::float8 END,
       CASE WHEN kind < 2 THEN 'Integer' WHEN kind = 2 THEN 'String' WHEN kind = 3 THEN 'Boolean' ELSE 'Decimal' END
  FROM generate_series(%(low)s::int, %(high)s::int) m,
       LATERAL (SELECT m %% 2000 AS n) a, LATERAL (SELECT n %% 20 AS kind) b
"""
"""Rows number `low` to `high` of the endless history, moment by moment."""


def insert(dsn: str, low: int, high: int, per_transaction: int = TICK_ROWS) -> None:
    """Write rows `low` up to `high` (without it) of the history, so many in a transaction."""
    with connect(dsn, autocommit=True) as session:
        session.execute("SET synchronous_commit = off")
        for start in range(low, high, per_transaction):
            session.execute(INSERT, {"low": start, "high": min(start + per_transaction, high) - 1})
