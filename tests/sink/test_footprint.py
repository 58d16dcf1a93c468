"""A sink whose sessions with target and source are terminated again and again: it comes back, and lets go of them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import psycopg

from cdc.log.direct import MemoryLog
from cdc.lsn import Lsn
from cdc.record.envelope import encode
from cdc.record.record import Changes, Stamp
from sink.mapping.rule import DictionaryRule
from sink.run import Sink, SinkSettings
from tests.beside import beside
from tests.footprint import assert_nothing_is_left, terminate
from tests.pipeline import until
from tests.sink.conftest import MAPPING, SHIPS

CROWDED = replace(
    MAPPING,
    rules=(
        replace(
            MAPPING.rules[0],
            key=("name",),
            several="last",
            dictionary=DictionaryRule("data_channel_id", "SELECT id, name FROM tenant.channels", ("name",)),
        ),
    ),
)
"""So that it reads a dictionary and cells from the source, each over a session of its own."""

SOURCE = """
CREATE SCHEMA tenant;
CREATE TABLE tenant.channels AS SELECT 'c' AS id, 'speed' AS name;
CREATE TABLE tenant.tbl_data_timeseries (ship_id text, created_time timestamp, data_channel_id text, bool_v boolean,
    str_v text, long_v bigint, double_v double precision, value_format varchar(50),
    PRIMARY KEY (ship_id, created_time, data_channel_id));
"""
INSERT = """
INSERT INTO tenant.tbl_data_timeseries (ship_id, created_time, data_channel_id, double_v, value_format)
VALUES ('s', '2024-01-01', 'c', %(n)s, 'Decimal')
ON CONFLICT (ship_id, created_time, data_channel_id) DO UPDATE SET double_v = %(n)s
RETURNING pg_current_xact_id()::text::bigint %% 4294967296
"""


class Stream:
    """Changes of one cell, each of which is there in the source."""

    def __init__(self, target: psycopg.Connection[Any], log: MemoryLog) -> None:
        self._target, self._publisher, self._n = target, log.publisher(), 0

    def change(self) -> None:
        """One change, and wait until it is applied."""
        [xid] = self._target.execute(INSERT, {"n": self._n}).fetchone() or [0]
        stamp = Stamp("ships", 1, self._n, Lsn(8 * self._n + 8), xid, time.time_ns() // 1000)
        wide = {"ship_id": "s", "created_time": "2024-01-01 00:00:00"}
        columns = ["data_channel_id", "double_v", "long_v", "str_v", "bool_v", "value_format"]
        row = ["i", "c", str(self._n), None, None, None, "Decimal"]
        self._publisher.publish(0, None, encode(Changes(stamp, SHIPS.qualified, wide, columns, [row])), 0)
        self._n += 1
        progress = "SELECT next_offset = %s FROM widebeam.progress WHERE partition = 0"
        until(lambda: self._target.execute(progress, [self._n]).fetchone() == (True,))
        self._publisher.delivered()


def test_nothing_is_left_of_sessions_that_were_terminated(target: psycopg.Connection[Any], database: str) -> None:
    target.execute(SOURCE)
    log = MemoryLog(4)
    with beside(Sink(SinkSettings(database, CROWDED, database), log.join).run):
        stream = Stream(target, log)
        stream.change()

        def again() -> None:
            assert terminate(target, "widebeam sink%", "widebeam-dictionary", "widebeam-cells") == 3
            stream.change()

        assert_nothing_is_left(again, 20)
        assert target.execute("SELECT speed FROM wide.s").fetchone() == (stream._n - 1,)
