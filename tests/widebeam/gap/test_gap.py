"""Gaps: what goes on over one, and what is mended then, on real servers by the command."""

from __future__ import annotations

import pytest

from tests.pipeline import Pipeline, change_some, command

DROP_SLOT = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"


@pytest.mark.parametrize("transport", ["direct"], indirect=True)
def test_a_lost_slot_halts_until_the_gap_is_gone_over_and_only_what_differs_is_mended(pipeline: Pipeline) -> None:
    name = pipeline.file.stem
    pipeline.file.write_text(pipeline.file.read_text().replace("chunk_rows = 2000", "chunk_rows = 10000"))
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
    assert done.returncode == 1, done.stderr
    assert f"`widebeam resume {name} --backfill-gap --clear`" in done.stderr  # rows were deleted meanwhile
    done = command(pipeline, "resume", name, "--backfill-gap", "--clear")
    assert done.returncode == 0, done.stderr
    with pipeline.writing():
        pipeline.converge()
    pipeline.converge()
    pipeline.prove()
