"""The narrow history that the demo starts from: loaded by COPY, with what real histories have in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

import psycopg
from psycopg import sql

from cdc.bindable import Cursor
from widebeam.demo.fleet import COLUMNS, SHIPS, TICK_SECONDS, Channel, channels

TABLE: Final = "tenant.tbl_data_timeseries"
EPOCH: Final = datetime(2026, 3, 1)
"""The time of tick 0, without a time zone as the column is."""

SPREAD: Final = 0.01
"""The part of the readings that is withheld, to come late; likewise of those updated and deleted after the load."""

_CREATE: Final = """
CREATE SCHEMA tenant;
CREATE TABLE tenant.tbl_data_timeseries (
    id                  bigserial,
    ship_id             text NOT NULL,
    data_channel_id     text NOT NULL,
    created_time        timestamp NOT NULL,
    server_created_time timestamp DEFAULT clock_timestamp(),
    bool_v              bool,
    str_v               text,
    long_v              int8,
    double_v            float8,
    value_format        varchar(50)
)"""
_INDEXES: Final = (
    "ALTER TABLE tenant.tbl_data_timeseries ADD PRIMARY KEY (ship_id, data_channel_id, created_time)",
    "CREATE INDEX ON tenant.tbl_data_timeseries (created_time DESC)",
)
COPY: Final = sql.SQL(f"COPY tenant.tbl_data_timeseries ({COLUMNS}) FROM STDIN")
_BLOCK_TICKS: Final = 8


@dataclass(frozen=True, slots=True)
class History:
    """What was loaded: `rows` readings in ticks 0 to `ticks` - 1, and the COPY lines of readings still to come late."""

    rows: int
    ticks: int
    late: list[str]


def time_text(tick: int) -> str:
    """The created_time of a tick, as the database writes it."""
    return str(EPOCH + timedelta(seconds=TICK_SECONDS * tick))


def tick_lines(tick: int, ship: str, reporting: list[Channel], random: Random) -> list[str]:
    """The COPY lines of one ship's readings in one tick."""
    middle = f"\t{time_text(tick)}\t"
    return [
        f"{ship}\t{channel.name}{middle}{channel.tail(tick, random)}"
        for channel in reporting
        if tick % channel.every == 0
    ]


def load(dsn: str, rows: int, *, seed: int = 1, watch: Callable[[int], None] = lambda _: None) -> History:
    """Create the narrow table and load at least `rows` readings; `watch` hears how many are in.

    Some ticks are loaded long after their neighbours, and after the load some readings are updated and deleted.
    """
    random = Random(seed)  # noqa: S311 - a reproducible history, no secret
    ticks = _ticks_for(rows)
    late: list[str] = []
    with psycopg.connect(dsn, autocommit=True, cursor_factory=Cursor) as connection:
        connection.execute(_CREATE)
        with connection.cursor().copy(COPY) as copy:
            loaded = 0
            for lines in _blocks(_order(ticks, random), random):
                now, withheld = split(lines, random)
                late.extend(withheld)
                copy.write("".join(now))
                loaded += len(now)
                watch(loaded)
        for statement in _INDEXES:
            connection.execute(statement)
        deleted = _disturb(connection, seed)
        connection.execute("ANALYZE tenant.tbl_data_timeseries")
    return History(loaded - deleted, ticks, late)


def _ticks_for(rows: int) -> int:
    """So many ticks that `rows` are left when some readings are late and some deleted."""
    a_tick = len(SHIPS) * sum(1 / channel.every for channel in channels())
    return math.ceil(rows * (1 + 3 * SPREAD) / a_tick) + max(channel.every for channel in channels())


def _order(ticks: int, random: Random) -> list[int]:
    """All ticks as they arrive: most in order, some of them after all others."""
    delayed = set(random.sample(range(ticks - 1), max(1, int(ticks * SPREAD))))
    return [*(tick for tick in range(ticks) if tick not in delayed), *sorted(delayed)]


def _blocks(order: list[int], random: Random) -> Iterator[list[str]]:
    """The lines of a few ticks at a time."""
    reporting = channels()
    for start in range(0, len(order), _BLOCK_TICKS):
        block = order[start : start + _BLOCK_TICKS]
        yield [line for tick in block for ship in SHIPS for line in tick_lines(tick, ship, reporting, random)]


def split(lines: list[str], random: Random) -> tuple[list[str], list[str]]:
    """Those that arrive now and those that will be late."""
    now: list[str] = []
    late: list[str] = []
    for line in lines:
        (now if random.random() >= SPREAD else late).append(line)
    return now, late


def _disturb(connection: psycopg.Connection[Any], seed: int) -> int:
    """Update some readings, among them to NULL, and delete some; gives the number of the deleted."""
    connection.execute("SELECT setseed(%s)", [seed / 1000])
    connection.execute(
        "UPDATE tenant.tbl_data_timeseries SET double_v = CASE WHEN id %% 7 > 0 THEN double_v + 1 END"
        " WHERE value_format = 'Decimal' AND random() < %s",
        [SPREAD],
    )
    return connection.execute("DELETE FROM tenant.tbl_data_timeseries WHERE random() < %s", [SPREAD]).rowcount
