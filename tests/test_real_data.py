"""Real series, as a narrow table: the wide tables equal DuckDB's pivot of the files, value for value as text.

Half of every file is in the narrow table before the slot is made, so it comes by the backfill; the other half comes by
the stream. Where a file says a time twice, the last line counts: the loader upserts, line by line.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple, TypeAlias

import duckdb
import psycopg
import pytest
from psycopg import sql

from cdc.source.session import connect
from snapshot.run import Backfill, BackfillSettings
from widebeam.config import config
from widebeam.run.parts import run_stream
from widebeam.setup.prepare import prepare
from widebeam.verify import barrier
from widebeam.verify.proof import VerifySettings
from widebeam.verify.verify import verify

Wide: TypeAlias = "dict[str, dict[str, str]]"
"""Time -> key -> value, as text; no NULLs."""

DATA = Path(__file__).parent / "data"


class Series(NamedTuple):
    """One column of one file, and how it is kept in the narrow table."""

    site: str
    key: str
    file: str
    column: str
    kind: str


# A float8 prints the files' values as they are, but for `6.0`: those series are kept as numeric.
SERIES = [
    Series("plant", "machine/temperature", "nab/machine_temperature_system_failure.csv", "value", "Decimal"),
    Series("Road 6005", "occupancy [%]", "nab/occupancy_6005.csv", "value", "Decimal"),
    Series("Road 6005", "speed", "nab/speed_6005.csv", "value", "Integer"),
    Series("rds", "cpu", "nab/rds_cpu_utilization_cc0c53.csv", "value", "Exact"),
    *(
        Series("Germany", column, "opsd/opsd_germany_daily.csv", column, "Exact")
        for column in ("Consumption", "Wind", "Solar", "Wind+Solar")
    ),
]

TABLE = """
CREATE SCHEMA lab;
CREATE TABLE lab.readings (site text, quantity text, at timestamp, kind text, double_v float8, long_v int8,
    exact_v numeric, PRIMARY KEY (site, quantity, at));
"""
UPSERT = """
INSERT INTO lab.readings VALUES (%(site)s, %(key)s, %(at)s, %(kind)s, %(double)s, %(long)s, %(exact)s)
ON CONFLICT (site, quantity, at) DO UPDATE
SET double_v = excluded.double_v, long_v = excluded.long_v, exact_v = excluded.exact_v
"""

FILE = """
[source]
dsn = "{dsn}"
table = "lab.readings"
entity = ["site"]
time = "at"
key = "quantity"
[source.value]
discriminator = "kind"
columns = {{ Decimal = "double_v", Integer = "long_v", Exact = "exact_v" }}
[target]
dsn = "{dsn}"
"""


def lines(series: Series) -> list[tuple[str, str | None]]:
    """Times and values of a series, as the file has them; None where the file has nothing."""
    with (DATA / series.file).open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [(next(iter(row.values())), row[series.column] or None) for row in rows]


def load(dsn: str, half: int) -> None:
    """Write the first (0) or second (1) half of every series."""
    with connect(dsn) as session, session.cursor() as cursor:
        for series in SERIES:
            rows = lines(series)
            middle = len(rows) // 2
            cursor.executemany(UPSERT, [_reading(series, *row) for row in (rows[middle:] if half else rows[:middle])])
            session.commit()


def _reading(series: Series, at: str, value: str | None) -> dict[str, str | None]:
    places = {"Decimal": "double", "Integer": "long", "Exact": "exact"}
    values = {place: value if place == places[series.kind] else None for place in places.values()}
    return {"site": series.site, "key": series.key, "at": at, "kind": series.kind, **values}


def pivoted(site: str) -> Wide:
    """DuckDB's pivot of the files of one site; of lines with the same time, the last one counts."""
    with duckdb.connect() as oracle:
        oracle.execute("CREATE TABLE readings (line int, key text, moment text, value text)")
        for series in SERIES:
            if series.site == site:
                time = "timestamp" if series.column == "value" else "Date"
                oracle.execute(
                    f'INSERT INTO readings SELECT row_number() OVER (), ?, "{time}", "{series.column}"'
                    " FROM read_csv(?, all_varchar = true, header = true, parallel = false)",
                    [series.key, str(DATA / series.file)],
                )
        found = oracle.execute("PIVOT readings ON key USING last(value ORDER BY line) GROUP BY moment")
        names = [each[0] for each in found.description]
        return _rows(names, found.fetchall())


def wide(session: psycopg.Connection[tuple[Any, ...]], site: str) -> Wide:
    """What a reader of the view sees, as text."""
    view = sql.Identifier("wide", site)
    names = [each.name for each in session.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(view)).description or []]
    kept = [name for name in names if name != "_lsn"]
    texts = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in kept)
    return _rows(kept, session.execute(sql.SQL("SELECT {} FROM {}").format(texts, view)).fetchall())


def _rows(names: list[str], rows: list[tuple[Any, ...]]) -> Wide:
    """Rows by their time, which is the first column; dates are midnights. Rows without a value are left out."""
    found = {
        row[0] if " " in row[0] else f"{row[0]} 00:00:00": {
            name: value for name, value in zip(names[1:], row[1:], strict=True) if value is not None
        }
        for row in rows
    }
    return {at: cells for at, cells in found.items() if cells}


@pytest.fixture
def converged(database: str, tmp_path: Path) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A target into which backfill and stream have brought everything."""
    file, stop = tmp_path / "lab.toml", Event()
    file.write_text(FILE.format(dsn=database))
    with connect(database, autocommit=True) as session, ThreadPoolExecutor(1) as threads:
        session.execute(TABLE)
        load(database, half=0)
        connector = config.load(str(file), {})
        ready = prepare(connector)
        load(database, half=1)
        streaming = threads.submit(run_stream, connector, ready, stop)
        try:
            Backfill(BackfillSettings(ready.mapping, database, database)).run(Event())
            barrier.wait(session, "lab", barrier.emit(session, "all is there"), stop, seconds=60)
            report = verify(VerifySettings(ready.mapping, database, database))
            assert (report.differences, report.fenced) == (0, True)
            yield session
        finally:
            stop.set()
            streaming.result(60)


def test_wide_tables_equal_the_pivoted_files(converged: psycopg.Connection[tuple[Any, ...]]) -> None:
    for site in dict.fromkeys(series.site for series in SERIES):
        assert wide(converged, site) == pivoted(site)
    merged = converged.execute("SELECT sum(rows) > 0 FROM widebeam.chunks").fetchone()
    streamed = converged.execute("SELECT sum(rows) > 0 FROM widebeam.progress").fetchone()
    assert (merged, streamed) == ((True,), (True,))


def test_of_a_time_that_is_there_twice_the_last_line_counts(converged: psycopg.Connection[tuple[Any, ...]]) -> None:
    rows = lines(SERIES[0])
    twice = {at for at, _ in rows if sum(1 for other, _ in rows if other == at) > 1}
    assert len(twice) == 12
    last = dict(rows)
    assert {at: wide(converged, "plant")[at]["machine/temperature"] for at in twice} == {at: last[at] for at in twice}
