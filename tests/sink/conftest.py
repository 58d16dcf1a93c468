"""A target database with the control schema and one connector, and the mapping that the sink's tests use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from typing import Any

import psycopg
import pytest

from cdc.source.narrow import NarrowTable
from cdc.source.session import connect
from sink.mapping.mapping import Mapping
from sink.mapping.rule import Rule

TYPES = {
    "ship_id": "text",
    "created_time": "timestamp without time zone",
    "data_channel_id": "text",
    "bool_v": "boolean",
    "str_v": "text",
    "long_v": "bigint",
    "double_v": "double precision",
    "value_format": "character varying(50)",
}
SHIPS = NarrowTable(
    "tenant",
    "tbl_data_timeseries",
    ("ship_id",),
    ("created_time",),
    ("data_channel_id",),
    ("double_v", "long_v", "str_v", "bool_v"),
    ("value_format",),
)
CHOICES = {"Decimal": "double_v", "Integer": "long_v", "String": "str_v", "Boolean": "bool_v"}
MAPPING = Mapping(
    connector="ships",
    rules=(Rule.of(SHIPS, TYPES, discriminator="value_format", choices=CHOICES),),
    schema="wide",
    name="{entity}",
)


@pytest.fixture(scope="session")
def mapping() -> Mapping:
    """The reference mapping: one table a ship."""
    return MAPPING


@pytest.fixture(scope="session")
def single() -> Mapping:
    """The reference mapping with one table for all ships."""
    return replace(MAPPING, layout="single", name="ships")


@pytest.fixture
def target(database: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection in autocommit to a target with one connector that is planned, of 4 partitions."""
    with connect(database, autocommit=True) as connection:
        connection.execute(files("sink").joinpath("control.sql").read_bytes())
        connection.execute(
            "INSERT INTO widebeam.connectors (connector, transport, partitions, slot, publication, system_id, timeline,"
            " cutoff, planned_at, settings)"
            " VALUES ('ships', 'direct', 4, 's', 'p', '1', 1, '0/100', now(), '{}')"
        )
        connection.execute("INSERT INTO widebeam.progress (connector, partition) SELECT 'ships', generate_series(0, 3)")
        yield connection
