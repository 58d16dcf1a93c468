"""A migration script of somebody who has thought about it, as a peer: run by itself, `python day_by_day.py DSN`.

A day of a ship is fetched whole and pivoted in dictionaries; each wide row is an upsert of its own.
"""

import sys
from collections import defaultdict
from typing import Any

import psycopg
from psycopg import sql


def main(dsn: str) -> None:
    with psycopg.connect(dsn, application_name="day_by_day") as connection:
        ships = [ship for (ship,) in connection.execute("SELECT DISTINCT ship_id FROM tenant.tbl_data_timeseries")]
        days = [
            day for (day,) in connection.execute("SELECT DISTINCT created_time::date FROM tenant.tbl_data_timeseries")
        ]
        for ship in ships:
            for day in days:
                migrate(connection, ship, day)


def migrate(connection: Any, ship: str, day: Any) -> None:
    rows = connection.execute(
        "SELECT created_time, data_channel_id, double_v, long_v, str_v, bool_v FROM tenant.tbl_data_timeseries"
        " WHERE ship_id = %s AND created_time >= %s AND created_time < %s::date + 1",
        [ship, day, day],
    ).fetchall()
    wide: dict[Any, dict[str, Any]] = defaultdict(dict)
    for at, channel, *values in rows:
        wide[at][channel] = next((value for value in values if value is not None), None)
    for at, cells in wide.items():
        names = list(cells)
        connection.execute(
            sql.SQL(
                "INSERT INTO tenant.day_by_day (ship_id, created_time, {}) VALUES (%s, %s, {})"
                " ON CONFLICT (ship_id, created_time) DO UPDATE SET ({}) = ROW({})"
            ).format(
                sql.SQL(", ").join(map(sql.Identifier, names)),
                sql.SQL(", ").join(sql.Placeholder() * len(names)),
                sql.SQL(", ").join(map(sql.Identifier, names)),
                sql.SQL(", ").join(sql.SQL("EXCLUDED.{}").format(sql.Identifier(name)) for name in names),
            ),
            [ship, at, *(str(value) for value in cells.values())],
        )
    connection.commit()


main(sys.argv[1])
