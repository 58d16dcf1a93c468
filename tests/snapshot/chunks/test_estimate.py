from __future__ import annotations

from typing import Any

import psycopg
import pytest

from cdc.source.narrow import NarrowTable
from sink.mapping.mapping import Mapping
from sink.mapping.rule import Rule
from snapshot.chunks.estimate import plan_chunks
from snapshot.chunks.plan import Chunk

TIME_TYPE = "timestamp without time zone"


def load(source: psycopg.Connection[tuple[Any, ...]], first: str, last: str, step: str) -> None:
    source.execute(
        "INSERT INTO tenant.readings (ship_id, data_channel_id, created_time, double_v, value_format)"
        " SELECT 'a', 'x', at, 1, 'Decimal' FROM generate_series(%s::timestamp, %s, %s) AS at",
        [first, last, step],
    )
    source.execute("ANALYZE tenant.readings")


def test_an_empty_table_is_one_chunk(source: psycopg.Connection[tuple[Any, ...]], mapping: Mapping) -> None:
    assert len(plan_chunks(source, mapping.rule, 1000, 24)) == 1


def test_chunks_hold_about_as_many_rows_as_wished(
    source: psycopg.Connection[tuple[Any, ...]], mapping: Mapping
) -> None:
    load(source, "2024-01-01", "2024-01-10 23:59:00", "1 min")
    chunks = plan_chunks(source, mapping.rule, 500, 24)
    in_chunk = "SELECT count(*) FROM tenant.readings WHERE created_time >= coalesce(%s, '-infinity'::timestamp)"
    in_chunk += " AND (created_time < %s OR %s::text IS NULL)"
    rows = [source.execute(in_chunk, [each.lower, each.upper, each.upper]).fetchone() for each in chunks]
    counts = [row[0] for row in rows if row is not None]
    assert sum(counts) == 14_400
    assert max(counts) <= 750
    assert 28 <= len(chunks) <= 45


def test_a_stray_reading_long_ago_costs_few_chunks(
    source: psycopg.Connection[tuple[Any, ...]], mapping: Mapping
) -> None:
    load(source, "2024-01-01", "2024-01-31", "10 min")
    load(source, "1970-01-01", "1970-01-01", "10 min")
    load(source, "0044-03-15 BC", "0044-03-15 BC", "10 min")
    assert 30 <= len(plan_chunks(source, mapping.rule, 100_000, 24)) < 150


def test_infinite_times_do_not_stretch_the_plan(source: psycopg.Connection[tuple[Any, ...]], mapping: Mapping) -> None:
    load(source, "2024-01-01", "2024-01-02", "1 hour")
    source.execute(
        "INSERT INTO tenant.readings (ship_id, data_channel_id, created_time) VALUES ('a', 'x', 'infinity'),"
        " ('a', 'x', '-infinity')"
    )
    assert len(plan_chunks(source, mapping.rule, 100_000, 24)) <= 2


def test_a_table_that_was_never_analysed_is_not_cut_to_pieces(
    source: psycopg.Connection[tuple[Any, ...]], mapping: Mapping
) -> None:
    source.execute("ALTER TABLE tenant.readings SET (autovacuum_enabled = off)")
    source.execute(
        "INSERT INTO tenant.readings (ship_id, data_channel_id, created_time)"
        " SELECT 'a', 'x', at FROM generate_series('2024-01-01'::timestamp, '2024-12-31', '1 hour') AS at"
    )
    assert len(plan_chunks(source, mapping.rule, 100, 24)) < 800


@pytest.mark.parametrize(("type_name", "full"), [("timestamptz", "timestamp with time zone"), ("date", "date")])
def test_other_types_of_time_are_planned_too(
    source: psycopg.Connection[tuple[Any, ...]], type_name: str, full: str
) -> None:
    source.execute(f"CREATE TABLE tenant.other (e text, k text, t {type_name}, v int)")
    source.execute(
        "INSERT INTO tenant.other"
        " SELECT 'a', k, d FROM generate_series('2024-01-01'::date, '2024-01-09', '1 day') AS d,"
        " unnest('{b,c,d,e}'::text[]) AS k"
    )
    source.execute("ANALYZE tenant.other")
    table = NarrowTable("tenant", "other", ("e",), ("t",), ("k",), ("v",))
    chunks = plan_chunks(source, Rule.of(table, {"t": full}), 100, 24)
    assert 8 <= len(chunks) <= 9
    source.execute(f"SELECT %s::{type_name}", [chunks[0].upper])


def counted(source: psycopg.Connection[tuple[Any, ...]], chunks: list[Chunk]) -> list[int]:
    """How many rows of tenant.readings lie in each chunk, but for the infinite ones."""
    query = "SELECT count(*) FROM tenant.readings WHERE isfinite(created_time)"
    query += " AND created_time >= coalesce(%s, '-infinity'::timestamp)"
    query += " AND created_time < coalesce(%s, 'infinity'::timestamp)"
    rows = [source.execute(query, [each.lower, each.upper]).fetchone() for each in chunks]
    return [row[0] for row in rows if row is not None]


def test_a_slow_series_is_cut_by_rows_and_not_by_days(
    source: psycopg.Connection[tuple[Any, ...]], mapping: Mapping
) -> None:
    load(source, "2020-01-01", "2023-12-31", "1 day")
    chunks = plan_chunks(source, mapping.rule, 500, None)
    assert 3 <= len(chunks) <= 8
    assert len(plan_chunks(source, mapping.rule, 500, 240)) >= 146


@pytest.mark.parametrize("chunk_hours", [None, 24])
@pytest.mark.parametrize("analyzed", [True, False], ids=["analyzed", "never"])
def test_one_odd_time_does_not_make_one_chunk_of_all(
    source: psycopg.Connection[tuple[Any, ...]], mapping: Mapping, analyzed: bool, chunk_hours: float | None
) -> None:
    source.execute("ALTER TABLE tenant.readings SET (autovacuum_enabled = off)")
    source.execute(
        "INSERT INTO tenant.readings (ship_id, data_channel_id, created_time)"
        " SELECT 'a', 'x', '2026-01-01'::timestamp + n * interval '1 min' FROM generate_series(1, 14400) AS n"
        " UNION ALL VALUES ('a', 'x', '57971-01-01'::timestamp), ('a', 'x', '1970-01-01')"
    )
    if analyzed:
        source.execute("ANALYZE tenant.readings")
    chunks = plan_chunks(source, mapping.rule, 1000, chunk_hours)
    rows = counted(source, chunks)
    assert sum(rows) == 14_402
    assert max(rows) <= 1500
    assert len(chunks) <= 40
    assert all(abs(each.estimated - count) <= 500 for each, count in zip(chunks, rows, strict=True))


def test_rows_that_came_since_the_statistics_were_made_are_counted(
    source: psycopg.Connection[tuple[Any, ...]], mapping: Mapping
) -> None:
    source.execute("ALTER TABLE tenant.readings SET (autovacuum_enabled = off)")
    load(source, "2024-01-01", "2024-01-02", "1 min")
    source.execute(
        "INSERT INTO tenant.readings (ship_id, data_channel_id, created_time)"
        " SELECT 'a', 'y', '2024-06-01'::timestamp + n * interval '1 s' FROM generate_series(1, 20000) AS n"
    )
    assert max(counted(source, plan_chunks(source, mapping.rule, 1000, None))) <= 1500
