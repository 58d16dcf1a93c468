"""The migration script that Widebeam replaces, as a peer: run by itself, `python row_by_row.py DSN ROWS`.

Each narrow row that the cursor gives is an upsert of one cell; a commit after each thousand. It ends after so many
rows, since it takes minutes for a million; how fast it goes and what it holds in memory is the same from the first on.
"""

import sys
from itertools import islice

import psycopg
from psycopg import sql

COMMIT_EVERY = 1_000


def main(dsn: str, most: int) -> None:
    with psycopg.connect(dsn, application_name="row_by_row") as source, psycopg.connect(dsn) as target:
        rows = source.execute(
            "SELECT ship_id, created_time, data_channel_id, double_v, long_v, str_v, bool_v"
            " FROM tenant.tbl_data_timeseries"
        )
        for number, (ship, at, channel, *values) in enumerate(islice(rows, most), 1):
            value = next((value for value in values if value is not None), None)
            target.execute(
                sql.SQL(
                    "INSERT INTO tenant.row_by_row (ship_id, created_time, {0}) VALUES (%s, %s, %s)"
                    " ON CONFLICT (ship_id, created_time) DO UPDATE SET {0} = EXCLUDED.{0}"
                ).format(sql.Identifier(channel)),
                [ship, at, str(value)],
            )
            if number % COMMIT_EVERY == 0:
                target.commit()


main(sys.argv[1], int(sys.argv[2]))
