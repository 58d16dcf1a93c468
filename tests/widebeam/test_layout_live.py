"""Groups of keys and partitions by time in a whole pipeline, in both layouts: history, stream, verify, drop."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from cdc.source.session import connect
from sink.mapping.group import group_of
from tests.pipeline import FILE, Cells, Pipeline, until
from tests.waiting import PATIENCE
from widebeam.config.config import ConfigError, load
from widebeam.demo.history import History
from widebeam.demo.history import load as load_history
from widebeam.state.recorded import load as recorded
from widebeam.state.recorded import refuse_changes

MORE = """
[[target.groups]]
name = "engine"
pattern = "^ME"
[[target.groups]]
name = "navigation"
keys = ["Latitude", "Course"]
"""
READINGS = """
INSERT INTO tenant.tbl_data_timeseries (ship_id, data_channel_id, created_time, double_v, value_format)
SELECT ship, channel, moment, extract(hour FROM CASE WHEN isfinite(moment) THEN moment ELSE 'epoch' END), 'Decimal'
FROM unnest(%s::text[]) ship, unnest(%s::text[]) channel, unnest(%s::timestamp[]) moment
"""
HOURS = [f"2024-{day} {hour:02}:00" for day in ("01-30", "01-31", "02-01", "02-02") for hour in range(24)]
ENDS = ["-infinity", "0044-03-15 01:00 BC", "infinity"]
NEW = ["ME9/new", "Course", "Draught"]


@pytest.fixture(params=[pytest.param("per_entity", marks=pytest.mark.exhaustive), "single"])
def grouped(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Pipeline:
    """Few readings around a month's end, at both infinities and in the year 44 BC."""
    load_history(database, 0)
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(READINGS, [["s1", "s2"], ["ME1/Speed", "ME2/Speed", "Latitude", "Wind"], HOURS + ENDS])
        session.execute("ANALYZE")
    file = tmp_path / f"layout_{database.split('test_')[1][:8]}.toml"
    options = f'layout = "{request.param}"\npartition_by = "month"\n'
    text = FILE.format(dsn=database, kafka="").replace("[target]\n", f"[target]\n{options}") + MORE
    file.write_text(text)
    return Pipeline(file, database, History(0, 0, []), None, "")


def shown(pipeline: Pipeline, view: str) -> Cells:
    """The cells that a column of widebeam.tables with names of views shows, as text; none of them twice."""
    cells: Cells = {}
    with connect(pipeline.dsn) as session:
        query = f"SELECT DISTINCT entity, schema_name, {view} FROM widebeam.tables WHERE {view} IS NOT NULL"
        for entity, *name in session.execute(query).fetchall():
            copy = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT (FORMAT csv, HEADER, NULL '~')")
            with session.cursor().copy(copy.format(sql.Identifier(*name))) as out:
                text = b"".join(map(bytes, out)).decode()
            for row in csv.DictReader(io.StringIO(text, newline="")):
                row.pop("_lsn")
                ship, moment = row.pop("ship_id", None) or json.loads(entity)[0], row.pop("created_time")
                found = {(ship, moment, key): value for key, value in row.items() if value != "~"}
                assert found and not found.keys() & cells.keys()
                cells |= found
    return cells


def verified(pipeline: Pipeline) -> bool:
    command = [sys.executable, "-m", "widebeam", "verify", "--json", str(pipeline.file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode == 0 and json.loads(done.stdout.splitlines()[-1])["differences"] == 0


def _retire(session: psycopg.Connection[tuple[object, ...]]) -> None:
    """The owner's retention: the partitions of a month go, then its narrow rows; but a late reading still comes."""
    old = "SELECT relname::text FROM pg_class WHERE relispartition AND relkind = 'r' AND relname LIKE '%2024_01'"
    for (name,) in session.execute(old).fetchall():
        session.execute(sql.SQL("DROP TABLE wide.{}").format(sql.Identifier(str(name))))
    session.execute(
        "DELETE FROM tenant.tbl_data_timeseries WHERE created_time BETWEEN '2024-01-01' AND '2024-01-31 23:00'"
    )
    session.execute(READINGS, [["s1"], ["ME1/Speed", "Wind"], ["2024-01-30 06:00"]])


def test_groups_and_partitions_hold_what_the_pivot_says(grouped: Pipeline) -> None:
    grouped.converge()
    assert shown(grouped, "view_name") == grouped.narrow()
    with grouped.start("run") as run:
        with psycopg.connect(grouped.dsn, autocommit=True) as session:
            session.execute(READINGS, [["s1", "s3"], NEW, ["2024-02-03 01:00", "2019-07-01 01:00", *ENDS]])
            session.execute("UPDATE tenant.tbl_data_timeseries SET double_v = 7 WHERE created_time = 'infinity'")
            session.execute("DELETE FROM tenant.tbl_data_timeseries WHERE created_time = '2024-01-31 05:00'")
            _retire(session)
        until(lambda: run.poll() is not None or shown(grouped, "view_name") == grouped.narrow())
        run.send_signal(signal.SIGINT)
        assert run.wait(PATIENCE) == 0, grouped.said()
    cells = grouped.narrow()
    assert shown(grouped, "view_name") == cells
    connector = load(str(grouped.file), {})
    groups = connector.mapping({}).groups
    assert shown(grouped, "group_view") == {cell: cells[cell] for cell in cells if group_of(groups, cell[2])}
    assert verified(grouped), grouped.said()
    names = "SELECT array_agg(DISTINCT substring(relname FROM '__([0-9]{4}_[0-9]+|[a-z]+)$')) FROM pg_class"
    assert set(grouped.one(f"{names} WHERE relispartition AND relkind = 'r'")) >= {
        "2019_07", "2024_01", "2024_02", "2024_03", "early", "late",
    }  # fmt: skip
    with connect(grouped.dsn) as session:
        found = recorded(session, connector.name)
        assert found is not None
        grouped.file.write_text(grouped.file.read_text().replace('"month"', '"day"').replace('"^ME"', '"^AE"'))
        with pytest.raises(ConfigError, match=r"`partition_by` was month .* and is day") as said:
            refuse_changes(found, load(str(grouped.file), {}))
        assert len(said.value.mistakes) == 1, "other groups are for new keys"
    with grouped.start("drop", "--yes") as dropping:
        assert dropping.wait(PATIENCE) == 0, grouped.said()
    assert grouped.one("SELECT to_regnamespace('wide') IS NULL")
