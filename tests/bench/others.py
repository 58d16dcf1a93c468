"""What else one would do with SQL or a script: a statement that pivots, a trigger, a migration that goes row by row."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from psycopg import sql

from cdc.source.session import connect
from tests.bench.process import Line, Meter, running, until
from tests.bench.reference import FLEET
from tests.bench.stack import Stack

VALUE: Final = "coalesce(double_v::text, long_v::text, str_v, bool_v::text)"
SCRIPTS: Final = Path(__file__).parent
"""Where the migration scripts are."""
ROW_BY_ROW: Final = 100_000
"""Rows that go over one by one: that takes most of a minute."""


def aggregates(columns: Sequence[str]) -> sql.Composed:
    """A SELECT with an aggregate and a FILTER for each column."""
    cells = sql.SQL(", ").join(
        sql.SQL("max({}) FILTER (WHERE data_channel_id = {})").format(sql.SQL(VALUE), sql.Literal(name))
        for name in columns
    )
    return sql.SQL("SELECT ship_id, created_time, {} FROM tenant.tbl_data_timeseries GROUP BY 1, 2").format(cells)


def filtered(dsn: str, rows: int) -> Line:
    """INSERT … SELECT with such aggregates, as one statement."""
    query = sql.SQL("INSERT INTO tenant.filtered {}").format(aggregates(FLEET.channel_names))
    return _statement(dsn, "filtered", rows, query)


def aggregated(dsn: str, rows: int, columns: Sequence[str]) -> Line:
    """The aggregates alone, nothing written: more columns than one table could hold."""
    with connect(dsn, autocommit=True) as session:
        began = time.monotonic()
        session.execute(sql.SQL("EXPLAIN (ANALYZE, TIMING off) {}").format(aggregates(columns)))
        seconds = time.monotonic() - began
    return {"rows": rows, "seconds": round(seconds, 2), "rows_s": round(rows / seconds)}


def crosstab(dsn: str, rows: int) -> Line:
    """The tablefunc extension's crosstab, which takes a text as the row's name."""
    names = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(name)) for name in FLEET.channel_names)
    source = (
        f"SELECT ship_id || '|' || created_time, data_channel_id, {VALUE} FROM tenant.tbl_data_timeseries ORDER BY 1, 2"
    )
    query = sql.SQL(
        "INSERT INTO tenant.crossed SELECT split_part(moment, '|', 1), split_part(moment, '|', 2)::timestamp, {} "
        "FROM crosstab({}, {}) AS found(moment text, {})"
    ).format(
        sql.SQL(", ").join(map(sql.Identifier, FLEET.channel_names)),
        sql.Literal(source),
        sql.Literal(f"SELECT unnest(ARRAY[{', '.join(repr(name) for name in FLEET.channel_names)}])"),
        names,
    )
    with connect(dsn, autocommit=True) as session:
        session.execute("CREATE EXTENSION IF NOT EXISTS tablefunc SCHEMA public")
    return _statement(dsn, "crossed", rows, query, path="public, pg_catalog")


def _statement(dsn: str, table: str, rows: int, query: sql.Composed, path: str = "pg_catalog") -> Line:
    with connect(dsn, autocommit=True) as session:
        _wide_table(session, table)
        session.execute(sql.SQL("SET search_path = {}").format(sql.SQL(path)))
        began = time.monotonic()
        session.execute(query)
        seconds = time.monotonic() - began
        _check(session, table, rows)
    return {"rows": rows, "seconds": round(seconds, 2), "rows_s": round(rows / seconds)}


def row_by_row(stack: Stack, dsn: str, rows: int) -> Line:
    """A migration script as many have written it, over the first of these rows."""
    return _script(stack, dsn, min(rows, ROW_BY_ROW), "row_by_row", str(ROW_BY_ROW))


def day_by_day(stack: Stack, dsn: str, rows: int) -> Line:
    """The script of somebody who has thought about it: a day into dictionaries, then wide row by wide row."""
    return _script(stack, dsn, rows, "day_by_day")


def _script(stack: Stack, dsn: str, rows: int, name: str, *arguments: str) -> Line:
    with connect(dsn, autocommit=True) as session:
        _wide_table(session, name)
    command = [sys.executable, "-P", str(SCRIPTS / f"{name}.py"), dsn, *arguments]
    with running(name, command, stack.log(name)) as process:
        connected = "SELECT FROM pg_stat_activity WHERE application_name = %s"
        session = stack.session(dsn)
        until(lambda: session.execute(connected.encode(), [name]).fetchone() is not None, [process], may_end=True)
        meter = Meter([process], stack.servers)
        line = meter.line(rows, until(process.ended, [process], may_end=True))
    assert process.process.returncode == 0, process.said()
    _check(session, name, rows)
    return line


TRIGGER: Final = """
CREATE FUNCTION tenant.pivot() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE format('INSERT INTO tenant.triggered (ship_id, created_time, %1$I) VALUES ($1, $2, $3)
        ON CONFLICT (ship_id, created_time) DO UPDATE SET %1$I = EXCLUDED.%1$I', NEW.data_channel_id)
    USING NEW.ship_id, NEW.created_time, coalesce(NEW.double_v::text, NEW.long_v::text, NEW.str_v, NEW.bool_v::text);
    RETURN NEW;
END $$;
CREATE TRIGGER pivot AFTER INSERT ON tenant.tbl_data_timeseries FOR EACH ROW EXECUTE FUNCTION tenant.pivot();
"""


@contextmanager
def trigger(session: Any) -> Iterator[None]:
    """A trigger on the narrow table that upserts each reading into a wide one."""
    _wide_table(session, "triggered")
    session.execute(TRIGGER.encode())
    yield
    session.execute("DROP FUNCTION tenant.pivot CASCADE")


def _wide_table(session: Any, name: str) -> None:
    """A wide table as one would make it by hand: all cells text."""
    cells = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(column)) for column in FLEET.channel_names)
    session.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier("tenant", name)))
    session.execute(
        sql.SQL(
            "CREATE TABLE {} (ship_id text, created_time timestamp, {}, PRIMARY KEY (ship_id, created_time))"
        ).format(sql.Identifier("tenant", name), cells)
    )


def _check(session: Any, name: str, rows: int) -> None:
    """All cells are there: a peer that loses some is no peer."""
    counted = sql.SQL(" + ").join(sql.SQL("count({})").format(sql.Identifier(column)) for column in FLEET.channel_names)
    [cells] = session.execute(sql.SQL("SELECT {} FROM {}").format(counted, sql.Identifier("tenant", name))).fetchone()
    assert cells == rows, f"{name}: {cells} cells of {rows}"
