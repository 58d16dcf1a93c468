"""What else one would do: SQL that pivots, a trigger, a script that goes row by row, another streaming library."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from psycopg import sql

from cdc.session import connect
from tests.bench import reference
from tests.bench.ours import Ours
from tests.bench.process import ROOT, figures, running, until, used
from tests.bench.stack import Stack
from widebeam.lab.jars import cache

QUIX: Final = "quixstreams[postgresql]==3.28.1"

COLUMNS: Final = [f"channel_{number:03}" for number in range(reference.CHANNELS)]
VALUE: Final = "coalesce(double_v::text, long_v::text, str_v, bool_v::text)"
ROW_BY_ROW: Final = Path(__file__).with_name("row_by_row.py")


def filtered(dsn: str, rows: int) -> dict[str, float]:
    """INSERT … SELECT with an aggregate and a FILTER for each column, as one statement."""
    cells = sql.SQL(", ").join(
        sql.SQL("max({}) FILTER (WHERE data_channel_id = {})").format(sql.SQL(VALUE), sql.Literal(name))
        for name in COLUMNS
    )
    return _statement(dsn, "filtered", rows, sql.SQL(
        "INSERT INTO tenant.filtered SELECT ship_id, created_time, {} FROM tenant.tbl_data_timeseries GROUP BY 1, 2"
    ).format(cells))  # fmt: skip


def crosstab(dsn: str, rows: int) -> dict[str, float]:
    """The tablefunc extension's crosstab, which takes a text as the row's name."""
    names = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(name)) for name in COLUMNS)
    source = (
        f"SELECT ship_id || '|' || created_time, data_channel_id, {VALUE} FROM tenant.tbl_data_timeseries ORDER BY 1, 2"
    )
    query = sql.SQL(
        "INSERT INTO tenant.crossed SELECT split_part(moment, '|', 1), split_part(moment, '|', 2)::timestamp, {} "
        "FROM crosstab({}, {}) AS found(moment text, {})"
    ).format(
        sql.SQL(", ").join(map(sql.Identifier, COLUMNS)),
        sql.Literal(source),
        sql.Literal(f"SELECT unnest(ARRAY[{', '.join(repr(name) for name in COLUMNS)}])"),
        names,
    )
    with connect(dsn, autocommit=True) as session:
        session.execute("CREATE EXTENSION IF NOT EXISTS tablefunc SCHEMA public")
    return _statement(dsn, "crossed", rows, query, path="public, pg_catalog")


def _statement(dsn: str, table: str, rows: int, query: sql.Composed, path: str = "pg_catalog") -> dict[str, float]:
    with connect(dsn, autocommit=True) as session:
        _wide_table(session, table)
        session.execute(sql.SQL("SET search_path = {}").format(sql.SQL(path)))
        began = time.monotonic()
        session.execute(query)
        seconds = time.monotonic() - began
        _check(session, table, rows)
    return {"rows": rows, "seconds": round(seconds, 2), "rows_s": round(rows / seconds)}


def row_by_row(dsn: str, rows: int, log: Path) -> dict[str, float]:
    """A migration script as many have written it: a day of a ship into dicts, then an upsert for each wide row."""
    with connect(dsn, autocommit=True) as session:
        _wide_table(session, "migrated")
    with running([sys.executable, "-P", str(ROW_BY_ROW), dsn], log) as process:
        seen = []

        def ended() -> bool:
            seen.append(used([process]))
            return process.process.poll() is not None

        began = time.monotonic()
        seconds = until(ended, []) - began
    assert process.process.returncode == 0, process.said()
    with connect(dsn, autocommit=True) as session:
        _check(session, "migrated", rows)
    return figures(rows, seconds, seen[-1])


def write_cost(ours: Ours, rows: int) -> dict[str, float]:
    """Rows a second that an application inserts: alone, with capture beside it, and with a trigger that pivots."""
    found = {}
    for number, how in enumerate(("alone", "with_capture", "with_trigger")):
        with connect(ours.dsn, autocommit=True) as session:
            if how == "with_trigger":
                _wide_table(session, "triggered")
                session.execute(TRIGGER.encode())
            try:
                with ours.parts(capture=1 if how == "with_capture" else 0):
                    low = 10_000_000 * (number + 1)
                    began = time.monotonic()
                    reference.insert(ours.dsn, low, low + rows)
                    found[f"{how}_rows_s"] = round(rows / (time.monotonic() - began))
            finally:
                session.execute("DROP TRIGGER IF EXISTS pivot ON tenant.tbl_data_timeseries")
    found["trigger_slower"] = round(found["alone_rows_s"] / found["with_trigger_rows_s"], 1)
    return found


TRIGGER: Final = """
CREATE OR REPLACE FUNCTION tenant.pivot() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE format('INSERT INTO tenant.triggered (ship_id, created_time, %1$I) VALUES ($1, $2, $3)
        ON CONFLICT (ship_id, created_time) DO UPDATE SET %1$I = EXCLUDED.%1$I', NEW.data_channel_id)
    USING NEW.ship_id, NEW.created_time, coalesce(NEW.double_v::text, NEW.long_v::text, NEW.str_v, NEW.bool_v::text);
    RETURN NEW;
END $$;
CREATE TRIGGER pivot AFTER INSERT ON tenant.tbl_data_timeseries FOR EACH ROW EXECUTE FUNCTION tenant.pivot();
"""


def quix(stack: Stack, rows: int) -> dict[str, Any]:
    """Quix Streams' PostgreSQL sink: a record for each reading, upserted by ship and time. How many cells arrive?"""
    dsn, topic = stack.database("quix"), "bench.quix"
    admin = AdminClient({"bootstrap.servers": stack.kafka.bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
    producer = Producer({"bootstrap.servers": stack.kafka.bootstrap, "linger.ms": 20, "compression.type": "lz4"})
    for record in _readings(rows):
        producer.produce(topic, record)
        producer.poll(0)
    producer.flush()
    python = _environment()
    command = [str(python), str(Path(__file__).with_name("quix_sink.py"))]
    given = [stack.kafka.bootstrap, topic, str(stack.postgres.port), "quix"]
    with running([*command, *given], stack.log("quix")) as process, connect(dsn, autocommit=True) as session:

        def cells() -> int:
            if session.execute("SELECT to_regclass('public.quix')").fetchone() == (None,):
                return 0
            row = session.execute(
                "SELECT coalesce(sum((SELECT count(*) - 2 FROM jsonb_each(jsonb_strip_nulls(to_jsonb(q))))), 0)"
                " FROM public.quix q"
            ).fetchone()
            return int(row[0]) if row else 0

        lag = _lag(stack.kafka.bootstrap, topic, rows)
        began = until(lambda: cells() > 0, [process])
        process.began()
        ended = until(lambda: lag() == 0, [process])
        measured = figures(rows, ended - began, used([process]))
        return measured | {"cells": cells(), "lost": rows - cells()}


def _readings(rows: int) -> Iterator[bytes]:
    """The rows of the reference history as {ship_id, created_time, channel: value}, decimal numbers all."""
    for number in range(rows):
        tick, n = divmod(number, reference.TICK_ROWS)
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(1_767_225_600 + 15 * tick))
        yield orjson.dumps({"ship_id": f"IMO{9999000 + n // 250}", "created_time": at, COLUMNS[n % 250]: n * 0.37})


def _lag(broker: str, topic: str, rows: int) -> Any:
    """How many records the group of the same name has not committed."""
    from confluent_kafka import Consumer, TopicPartition  # noqa: PLC0415

    watcher = Consumer({"bootstrap.servers": broker, "group.id": topic, "enable.auto.commit": False})

    def lag() -> int:
        [at] = watcher.committed([TopicPartition(topic, 0)], timeout=10)
        return rows - max(0, at.offset)

    return lag


def _environment() -> Path:
    """The Python of an environment with Quix Streams in it, made once."""
    place = cache() / QUIX.replace("[postgresql]==", "-")
    python = place / "bin" / "python"
    if not (place / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", QUIX], check=True)
        (place / "ready").touch()
    return python


def _wide_table(session: Any, name: str) -> None:
    """A wide table as one would make it by hand: all cells text."""
    cells = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(column)) for column in COLUMNS)
    session.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier("tenant", name)))
    session.execute(
        sql.SQL(
            "CREATE TABLE {} (ship_id text, created_time timestamp, {}, PRIMARY KEY (ship_id, created_time))"
        ).format(sql.Identifier("tenant", name), cells)
    )


def _check(session: Any, name: str, rows: int) -> None:
    """All cells are there, or the figure is not of the same work."""
    counted = sql.SQL(" + ").join(sql.SQL("count({})").format(sql.Identifier(column)) for column in COLUMNS)
    [cells] = session.execute(sql.SQL("SELECT {} FROM {}").format(counted, sql.Identifier("tenant", name))).fetchone()
    assert cells == rows, f"{name}: {cells} cells of {rows}"


@contextmanager
def printed(**line: Any) -> Iterator[dict[str, Any]]:
    """A line of JSON, printed with what the block adds to it."""
    yield line
    print(json.dumps(line), flush=True)


__all__ = ["ROOT", "crosstab", "filtered", "printed", "quix", "row_by_row", "write_cost"]
