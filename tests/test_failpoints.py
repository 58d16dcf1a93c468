"""A running pipeline is killed at each of its durable steps, beside a live writer: nothing is lost.

What the parts of a pipeline reach by themselves is here; what takes a case of its own is in test_failpoint_cases.py.
"""

from __future__ import annotations

import signal
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from cdc.failpoint import Failpoint
from tests.keeper import kept, positions_only_grow
from tests.pipeline import NARROW, Pipeline, pipeline_over, until
from widebeam.config.config import load
from widebeam.setup.prepare import prepare

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


def poke(pipeline: Pipeline, *keys: str) -> None:
    """A reading of a key that nobody knows, and one that belongs into the quarantine; a transaction for each key."""
    with psycopg.connect(pipeline.dsn, autocommit=True) as session:
        for key in keys:
            session.execute(sql.SQL(POKE).format(NARROW), {"key": key})


def arrived(pipeline: Pipeline, key: str) -> bool:
    """The reading is in the wide table."""
    return bool(pipeline.one(
        "SELECT to_regclass('wide.\"IMO9710221\"') IS NOT NULL AND EXISTS"
        " (SELECT FROM widebeam.columns WHERE key = %s)", key)) and (key, "1.5") in {
            (cell[2], value) for cell, value in pipeline.wide().items()}  # fmt: skip


@pytest.mark.parametrize(
    # The steps are the same ones; tests/test_run.py kills what the direct transport has in one process.
    "transport",
    ["kafka", pytest.param("direct", marks=pytest.mark.exhaustive)],
    indirect=True,
)
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


@pytest.mark.parametrize("transport", ["kafka"], indirect=True)
def test_capture_dies_between_the_brokers_acknowledgement_and_the_slots_while_a_sink_is_in_mid_batch(
    remembered: Pipeline, tmp_path: Path
) -> None:
    """Ack against apply: what the broker has confirmed and the journal or the slot does not know comes a second time.

    The sink is held with the first delivery merged and not committed, while capture dies before the journal is written,
    and again before the slot is told. So both later generations bring what is just being applied; it must neither be
    lost with the old generation nor counted as new: the older transactions are skipped, the newest is applied again.
    """
    pipeline = remembered
    with positions_only_grow(pipeline.dsn), kept(pipeline, tmp_path / "tokens") as parts:
        parts.keep("capture", "sink")
        until(lambda: pipeline.one("SELECT generation > 0 FROM widebeam.connectors"))
        parts.arm(Failpoint.SINK_MERGED, how="hang")
        for number in range(40):
            poke(pipeline, f"first {number}")
        parts.await_fired()
        sink = parts.await_stopped("sink")
        parts.arm(Failpoint.CAPTURE_CONFIRMED, Failpoint.CAPTURE_JOURNALED)
        # Many transactions at once, so that some of them lie below the newest one of what comes again.
        parts.await_fired(lambda: poke(pipeline, *(f"then {parts.deaths} {number}" for number in range(30))))
        until(lambda: pipeline.one("SELECT generation >= 3 FROM widebeam.connectors"))
        sink.send_signal(signal.SIGCONT)
        poke(pipeline, "last")
        until(lambda: arrived(pipeline, "last"))
    assert pipeline.one("SELECT sum(skipped) > 0 AND NOT bool_or(broken) FROM widebeam.progress")
    assert pipeline.one("SELECT count(*) = count(DISTINCT (origin, reason)) FROM widebeam.quarantine")
    pipeline.converge()
    pipeline.prove()
