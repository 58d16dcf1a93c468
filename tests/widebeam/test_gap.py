"""Gaps: what goes on over one, and what is mended then, on real servers by the command."""

from __future__ import annotations

import os
import subprocess
import sys

import psycopg
import pytest
from psycopg import sql

from tests.pipeline import NARROW, Pipeline

DROP_SLOT = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"


def command(pipeline: Pipeline, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as it is printed: with the connector's name, where its file is."""
    return subprocess.run(
        [sys.executable, "-m", "widebeam", *arguments], capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "WIDEBEAM_CONNECTORS": str(pipeline.file.parent)},
    )  # fmt: skip


def change_some(dsn: str) -> None:
    """Inserts, updates, moves, clears and deletes, all over the history."""
    with psycopg.connect(dsn) as session:
        for statement in (
            "UPDATE {} SET double_v = double_v + 1 WHERE hashtext(created_time::text) % 7 = 0",
            "UPDATE {} SET double_v = NULL WHERE hashtext(created_time::text) % 11 = 0",
            "DELETE FROM {} WHERE hashtext(created_time::text || data_channel_id) % 13 = 0",
            "UPDATE {} SET created_time = created_time + interval '1 us' WHERE hashtext(created_time::text) % 17 = 0",
        ):
            session.execute(sql.SQL(statement).format(NARROW))


@pytest.mark.parametrize("transport", ["direct"], indirect=True)
def test_a_lost_slot_halts_until_the_gap_is_gone_over_and_only_what_differs_is_mended(pipeline: Pipeline) -> None:
    name = pipeline.file.stem
    pipeline.converge()
    pipeline.one(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"
    )
    change_some(pipeline.dsn)
    for verb in (["run"], ["resume"], ["run"]):
        done = command(pipeline, *verb, name)
        assert done.returncode == 3, done.stderr
        assert f"`widebeam resume {name} --backfill-gap`" in done.stderr
    done = command(pipeline, "resume", name, "--backfill-gap")
    assert done.returncode == 0, done.stderr
    with pipeline.writing():
        pipeline.converge()
    pipeline.converge()
    pipeline.prove()
