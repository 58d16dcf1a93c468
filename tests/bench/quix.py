"""Quix Streams' PostgreSQL sink: a record for each reading, upserted by ship and time. How many cells arrive?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from cdc.source.session import connect
from tests.bench.process import Line, Meter, running, until
from tests.bench.reference import FLEET
from tests.bench.stack import Stack
from widebeam.lab.jars import cache

QUIX: Final = "quixstreams[postgresql]==3.28.1"
TOPIC: Final = "bench.quix"

_CELLS: Final = """
SELECT coalesce(sum((SELECT count(*) - 2 FROM jsonb_each(jsonb_strip_nulls(to_jsonb(q))))), 0) FROM public.quix q
"""


def quix(stack: Stack, rows: int) -> Line:
    """Records that lie in Kafka -> its wide table, from the moment when it has joined its group."""
    bootstrap, database = stack.kafka.bootstrap, stack.name("quix")
    dsn = stack.database(database)
    stack.admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result()
    _produce(bootstrap, rows)
    script = str(Path(__file__).with_name("quix_sink.py"))
    command = [str(_environment()), script, bootstrap, TOPIC, str(stack.postgres.port), database]
    left = _lag(bootstrap, rows)
    with running("quix", command, stack.log("quix")) as process:
        until(lambda: stack.shares(TOPIC) == [1], [process])
        meter = Meter([process], stack.servers)
        line = meter.line(rows, until(lambda: left() == 0, [process]))
    with connect(dsn, autocommit=True) as session:
        row = session.execute(_CELLS).fetchone()
    cells = int(row[0]) if row else 0
    return line | {"cells": cells, "lost": rows - cells}


def _produce(bootstrap: str, rows: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "compression.type": "lz4"})
    for record in _readings(rows):
        producer.produce(TOPIC, record)
        producer.poll(0)
    producer.flush()


def _readings(rows: int) -> Iterator[bytes]:
    """The history's first rows as {ship_id, created_time, channel: value}."""
    for tick in range(-(-rows // FLEET.tick_rows)):
        for wide, cells in FLEET.wide_rows(tick):
            for _, channel, *values, _ in cells:
                value = next(each for each in values if each is not None)
                yield orjson.dumps({**wide, str(channel): value})


def _lag(bootstrap: str, rows: int) -> Callable[[], int]:
    """How many records the group of the same name has not committed."""
    watcher = Consumer({"bootstrap.servers": bootstrap, "group.id": TOPIC, "enable.auto.commit": False})

    def lag() -> int:
        [at] = watcher.committed([TopicPartition(TOPIC, 0)], timeout=10)
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
