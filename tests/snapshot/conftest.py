"""A narrow table and the control schema in one fresh database, and a connector as prepare would write it down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
import pytest

import sink
from cdc.source.narrow import NarrowTable
from cdc.source.session import connect
from sink.mapping.mapping import Mapping
from sink.mapping.rule import Rule

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

CREATE = """
CREATE SCHEMA tenant;
CREATE TABLE tenant.readings (
    id bigserial, ship_id text, data_channel_id text, created_time timestamp, bool_v bool, str_v text, long_v int8,
    double_v float8, value_format varchar(50), PRIMARY KEY (ship_id, data_channel_id, created_time));
CREATE INDEX ON tenant.readings (created_time DESC);
"""

CONNECTOR = """
INSERT INTO widebeam.connectors (connector, transport, partitions, slot, publication, system_id, timeline, cutoff,
                                 cutoff_snapshot, settings)
VALUES ('ships', 'direct', 4, 'none', 'none', '1', 1, pg_current_wal_insert_lsn(), pg_current_snapshot(), '{}')
"""


@pytest.fixture
def mapping() -> Mapping:
    """The reference mapping, one wide table for each ship."""
    table = NarrowTable(
        schema="tenant",
        name="readings",
        entity=("ship_id",),
        time=("created_time",),
        key=("data_channel_id",),
        values=("double_v", "long_v", "str_v", "bool_v"),
        extra=("value_format",),
    )
    types = {
        "ship_id": "text",
        "created_time": "timestamp without time zone",
        "data_channel_id": "text",
        "double_v": "double precision",
        "long_v": "bigint",
        "str_v": "text",
        "bool_v": "boolean",
        "value_format": "character varying(50)",
    }
    choices = {"Decimal": "double_v", "Integer": "long_v", "String": "str_v", "Boolean": "bool_v"}
    rule = Rule.of(table, types, discriminator="value_format", choices=choices)
    return Mapping(connector="ships", rules=(rule,), schema="wide", name="{entity}")


@pytest.fixture
def source(database: str) -> Iterator[Connection]:
    """A session on the source, in autocommit mode, with an empty narrow table."""
    with connect(database, autocommit=True) as connection:
        connection.execute(CREATE)
        yield connection


@pytest.fixture
def target(source: Connection, database: str) -> Iterator[Connection]:
    """A session on the target, in autocommit mode, with a connector that has no plan yet."""
    with connect(database, autocommit=True) as connection:
        connection.execute((Path(sink.__file__).parent / "control.sql").read_text())
        connection.execute(CONNECTOR)
        yield connection
