"""The workload of all benches: the reference table, where each ship has a reading of each channel every 15 seconds.

A row has a number in an endless history, and everything in it follows from the number: written by SQL into the narrow
table, or made here as a change record's rows, it is the same reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from cdc.source.narrow import NarrowTable
from cdc.source.session import connect

Act: TypeAlias = Literal["insert", "update", "delete"]

TABLE: Final = NarrowTable(
    "tenant",
    "tbl_data_timeseries",
    ("ship_id",),
    ("created_time",),
    ("data_channel_id",),
    ("double_v", "long_v", "str_v", "bool_v"),
    ("value_format",),
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """So many ships with so many channels each."""

    ships: int = 8
    channels: int = 250

    @property
    def tick_rows(self) -> int:
        """Rows of one moment of all ships."""
        return self.ships * self.channels

    @property
    def channel_names(self) -> list[str]:
        return [f"channel_{number:04}" for number in range(self.channels)]

    def wide_rows(self, tick: int) -> list[tuple[dict[str, str | None], list[list[str | None]]]]:
        """One moment: for each ship what names its wide row, and its cells as rows of a change record."""
        at, names = moment(tick), self.channel_names
        return [
            (
                {"ship_id": f"IMO{9999000 + ship}", "created_time": at},
                [["i", name, *reading(tick, ship * self.channels + n, self.tick_rows)] for n, name in enumerate(names)],
            )
            for ship in range(self.ships)
        ]


FLEET: Final = Fleet()


def moment(tick: int) -> str:
    return str(datetime(2026, 1, 1) + timedelta(seconds=15 * tick))


def reading(tick: int, n: int, tick_rows: int) -> list[str | None]:
    """Values and format of channel `n` of all ships' channels: of 20, two are whole, one a text, one a truth value."""
    match n % 20:
        case 0 | 1:
            return [None, str(n * 1000 + tick), None, None, "Integer"]
        case 2:
            return [None, None, f"state_{n % 7}", None, "String"]
        case 3:
            return [None, None, None, "tf"[n % 2], "Boolean"]
        case _:
            return [f"{(tick * tick_rows + n) * 7919 % 1000003 / 1000:g}", None, None, None, "Decimal"]


DDL: Final = """
CREATE SCHEMA tenant;
CREATE TABLE tenant.tbl_data_timeseries (
    id bigserial, ship_id text NOT NULL, data_channel_id text NOT NULL, created_time timestamp NOT NULL,
    server_created_time timestamp DEFAULT now(), bool_v bool, str_v text, long_v int8, double_v float8,
    value_format varchar(50), PRIMARY KEY (ship_id, data_channel_id, created_time));

-- Rows number `low` up to `high` (without it), moment by moment.
CREATE FUNCTION tenant.readings(low bigint, high bigint, ships int, channels int)
    RETURNS TABLE (ship_id text, data_channel_id text, created_time timestamp, bool_v bool, str_v text, long_v int8,
                   double_v float8, value_format text)
    LANGUAGE sql IMMUTABLE AS $$
SELECT 'IMO' || (9999000 + n / channels)::text, 'channel_' || lpad((n % channels)::text, 4, '0'),
       timestamp '2026-01-01' + tick * interval '15 s',
       CASE WHEN kind = 3 THEN n % 2 = 0 END, CASE WHEN kind = 2 THEN 'state_' || (n % 7)::text END,
       CASE WHEN kind < 2 THEN n * 1000 + tick END, CASE WHEN kind > 3 THEN (m * 7919 % 1000003)::float8 / 1000 END,
       CASE WHEN kind < 2 THEN 'Integer' WHEN kind = 2 THEN 'String' WHEN kind = 3 THEN 'Boolean' ELSE 'Decimal' END
  FROM generate_series(low, high - 1) m,
       LATERAL (SELECT m % (ships * channels) AS n, m / (ships * channels) AS tick) a, LATERAL (SELECT n % 20 AS kind) b
$$;

-- Insert, update or delete these rows, so many in a transaction.
CREATE PROCEDURE tenant.write(act text, low bigint, high bigint, each bigint, ships int, channels int)
    LANGUAGE plpgsql AS $$
BEGIN
    WHILE low < high LOOP
        CASE act
        WHEN 'insert' THEN
            INSERT INTO tenant.tbl_data_timeseries
                (ship_id, data_channel_id, created_time, bool_v, str_v, long_v, double_v, value_format)
            SELECT * FROM tenant.readings(low, least(low + each, high), ships, channels);
        WHEN 'update' THEN
            UPDATE tenant.tbl_data_timeseries t
               SET double_v = t.double_v + 1, long_v = t.long_v + 1, str_v = t.str_v || '+', bool_v = NOT t.bool_v
              FROM tenant.readings(low, least(low + each, high), ships, channels) r
             WHERE (t.ship_id, t.data_channel_id, t.created_time) = (r.ship_id, r.data_channel_id, r.created_time);
        WHEN 'delete' THEN
            DELETE FROM tenant.tbl_data_timeseries t
             USING tenant.readings(low, least(low + each, high), ships, channels) r
             WHERE (t.ship_id, t.data_channel_id, t.created_time) = (r.ship_id, r.data_channel_id, r.created_time);
        END CASE;
        COMMIT;
        low := low + each;
    END LOOP;
END $$;
"""

INSERT: Final = """
INSERT INTO tenant.tbl_data_timeseries
    (ship_id, data_channel_id, created_time, bool_v, str_v, long_v, double_v, value_format)
SELECT * FROM tenant.readings(%s, %s, %s, %s)
"""


def write(
    dsn: str, low: int, high: int, *, act: Act = "insert", per_transaction: int = 2000, fleet: Fleet = FLEET
) -> None:
    """Insert, update or delete rows number `low` up to `high` (without it), so many in a transaction."""
    with connect(dsn, autocommit=True) as session:
        # Rows are found by the primary key, whatever the statistics of a table that is new say.
        session.execute(
            "SET synchronous_commit = off; SET enable_hashjoin = off; SET enable_mergejoin = off;"
            " SET enable_seqscan = off"
        )
        session.execute(
            "CALL tenant.write(%s, %s, %s, %s, %s, %s)",
            [act, low, high, per_transaction, fleet.ships, fleet.channels],
        )
