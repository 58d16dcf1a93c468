"""A running pipeline is killed at each of its durable steps, beside a live writer: nothing is lost.

What the parts of a pipeline reach by themselves is here; what takes a case of its own is in test_failpoint_cases.py.
"""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from cdc.failpoint import Failpoint
from tests.keeper import kept, positions_only_grow
from tests.pipeline import NARROW, Pipeline, pipeline_over, until
from widebeam.config import load
from widebeam.prepare import prepare

CAPTURE = (
    Failpoint.CAPTURE_SLOT_TAKEN,
    Failpoint.CAPTURE_GENERATION_TAKEN,
    Failpoint.CAPTURE_HANDED_OVER,
    Failpoint.CAPTURE_CONFIRMED,
    Failpoint.CAPTURE_JOURNALED,
)
SINK = (
    Failpoint.SINK_ASSIGNED,
    Failpoint.COLUMNS_MADE,
    Failpoint.SINK_ADVANCED,
    Failpoint.SINK_TOMBSTONED,
    Failpoint.SINK_QUARANTINED,
    Failpoint.SINK_STAGED,
    Failpoint.SINK_MERGED,
    Failpoint.SINK_COMMITTED,
)
BACKFILL = (
    Failpoint.BACKFILL_GATE_OPEN,
    Failpoint.BACKFILL_SNAPSHOT_TAKEN,
    Failpoint.BACKFILL_READ,
    Failpoint.BACKFILL_LOCKED,
    Failpoint.BACKFILL_STAGED,
    Failpoint.BACKFILL_MERGED,
    Failpoint.BACKFILL_MARKED,
    Failpoint.BACKFILL_COMMITTED,
)
REACHED = {*CAPTURE, *SINK, *BACKFILL, Failpoint.CAPTURE_DRAINED}

STATIC = '[kafka.client]\n"group.instance.id" = "one"\n'
"""A sink that was killed and comes back is known to the group: else its partitions rest until its session is over."""

POKE = """
INSERT INTO {} (ship_id, data_channel_id, created_time, double_v, value_format) VALUES
    ('IMO9710221', %(key)s, '2030-01-01', 1.5, 'Decimal'),
    ('IMO9710221', %(key)s || ' odd', '2030-01-02', 1.5, 'Odd')
ON CONFLICT DO NOTHING
"""


@pytest.fixture
def remembered(transport: str, request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Pipeline:
    """A connector that is set up, of one sink."""
    broker = request.getfixturevalue("kafka").bootstrap if transport == "kafka" else None
    topic = request.getfixturevalue("topic") if broker else ""
    made = pipeline_over(database, tmp_path, kafka=broker, topic=topic, more=STATIC if broker else "")
    prepare(load(str(made.file), {}))
    return made


def poke(pipeline: Pipeline, key: str) -> None:
    """A reading of a key that nobody knows, and one that belongs into the quarantine."""
    with psycopg.connect(pipeline.dsn, autocommit=True) as session:
        session.execute(sql.SQL(POKE).format(NARROW), {"key": key})


def arrived(pipeline: Pipeline, key: str) -> bool:
    """The reading is in the wide table."""
    return bool(pipeline.one(
        "SELECT to_regclass('wide.\"IMO9710221\"') IS NOT NULL AND EXISTS"
        " (SELECT FROM widebeam.columns WHERE key = %s)", key)) and (key, "1.5") in {
            (cell[2], value) for cell, value in pipeline.wide().items()}  # fmt: skip


def test_killed_at_each_step_the_pipeline_loses_nothing(remembered: Pipeline, tmp_path: Path) -> None:
    """In the order in which a run reaches them: each death is followed by a start, which goes on to the next one.

    First the sinks, while no chunk is merged, so that there are tombstones to be written; then capture and backfill at
    once, and the sinks again beside them, so that chunks meet redelivered records.
    """
    pipeline, verbs = remembered, ["stream"] if remembered.kafka is None else ["capture", "sink"]
    with pipeline.writing(), positions_only_grow(pipeline.dsn), kept(pipeline, tmp_path / "tokens") as parts:
        parts.arm(*SINK)
        parts.keep(*verbs)
        parts.await_fired(lambda: poke(pipeline, f"new {len(parts.armed)} {parts.deaths}"))
        parts.arm(*CAPTURE, *BACKFILL, Failpoint.SINK_MERGED, Failpoint.SINK_COMMITTED)
        parts.keep("backfill")
        parts.await_fired()
        poke(pipeline, "the last one")
        until(lambda: arrived(pipeline, "the last one"))
        parts.arm(Failpoint.CAPTURE_DRAINED)
        parts.end()
        assert not parts.armed
    pipeline.converge()
    pipeline.prove()
