from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import psycopg
import pytest

from cdc.source.session import connect
from snapshot.chunks import ledger
from snapshot.chunks.plan import Chunk

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

CHUNKS = [Chunk(1, None, "2024-01-01", 10), Chunk(2, "2024-01-01", "2024-01-02", 20), Chunk(3, "2024-01-02", None, 30)]


@pytest.fixture
def other(target: Connection, database: str) -> Iterator[Connection]:
    """Another worker's session."""
    with connect(database, autocommit=True) as connection:
        yield connection


def test_a_plan_is_written_once(target: Connection) -> None:
    assert not ledger.planned(target, "ships")
    assert ledger.write_plan(target, "ships", CHUNKS)
    assert ledger.planned(target, "ships")
    assert not ledger.write_plan(target, "ships", CHUNKS[:1])
    assert ledger.counts(target, "ships") == ledger.Counts(planned=3, estimated=60, estimated_left=60)


def test_a_plan_for_an_unknown_connector_is_refused(target: Connection) -> None:
    with pytest.raises(LookupError, match="planes"):
        ledger.write_plan(target, "planes", CHUNKS)


def test_two_workers_claim_different_chunks(target: Connection, other: Connection) -> None:
    ledger.write_plan(target, "ships", CHUNKS)
    assert ledger.claim(target, "ships") == CHUNKS[0]
    assert ledger.claim(other, "ships") == CHUNKS[1]


def test_a_claim_ends_with_its_session(target: Connection, other: Connection) -> None:
    ledger.write_plan(target, "ships", CHUNKS[:1])
    assert ledger.claim(other, "ships") == CHUNKS[0]
    assert ledger.claim(target, "ships") is None
    pid = other.info.backend_pid
    target.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    assert ledger.claim(target, "ships") == CHUNKS[0]


def test_a_claim_of_a_session_whose_pid_another_one_has_by_now_is_none(target: Connection, other: Connection) -> None:
    ledger.write_plan(target, "ships", CHUNKS[:1])
    assert ledger.claim(other, "ships") == CHUNKS[0]
    target.execute("UPDATE widebeam.claims SET began = began - interval '1 h'")
    assert ledger.claim(target, "ships") == CHUNKS[0]


def test_who_may_only_connect_keeps_no_chunk_from_being_claimed(target: Connection, other: Connection) -> None:
    """Whatever he locks: he can neither write a claim, nor lock one."""
    ledger.write_plan(target, "ships", CHUNKS[:1])
    other.execute("DO $$ BEGIN CREATE ROLE wb_nobody; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    other.execute("SET ROLE wb_nobody")
    for statement in ("LOCK TABLE widebeam.claims IN ACCESS SHARE MODE", "DELETE FROM widebeam.claims"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), other.transaction():
            other.execute(statement)
    assert ledger.claim(target, "ships") == CHUNKS[0]


def test_a_chunk_that_was_merged_while_it_was_claimed_is_not_read_again(target: Connection, other: Connection) -> None:
    ledger.write_plan(target, "ships", CHUNKS[:1])
    ledger.claim(other, "ships")
    ledger.mark_merged(other, "ships", 1, rows=1, cells=1, seconds=0.1)
    ledger.release(other, "ships", 1)
    assert ledger.claim(target, "ships") is None
    assert not ledger._try(target, "ships", 1), "had it been seen as due just before"
    held = target.execute("SELECT count(*) FROM widebeam.claims")
    assert held.fetchone() == (0,)


def test_many_claimed_chunks_do_not_hide_a_free_one(
    target: Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_PAGE", 2)
    many = [Chunk(n, str(n), str(n + 1), 1) for n in range(1, 6)]
    ledger.write_plan(target, "ships", many)
    with ExitStack() as workers:
        for each in many[:-1]:
            assert ledger.claim(workers.enter_context(connect(database, autocommit=True)), "ships") == each
        assert ledger.claim(target, "ships") == many[-1]


def test_a_failed_chunk_is_due_again_after_a_while_and_given_up_in_the_end(target: Connection) -> None:
    ledger.write_plan(target, "ships", CHUNKS[:1])
    ledger.mark_failed(target, "ships", 1, error="disk full", attempts=2, backoff=3600)
    assert ledger.claim(target, "ships") is None
    assert ledger.counts(target, "ships").failed == 1
    target.execute("UPDATE widebeam.chunks SET retry_at = now()")
    assert ledger.claim(target, "ships") == CHUNKS[0]
    ledger.mark_failed(target, "ships", 1, error="still full", attempts=2, backoff=0)
    assert ledger.counts(target, "ships").given_up == 1
    assert ledger.given_up(target, "ships") == [ledger.Failure(1, None, "2024-01-01", 2, "still full")]
    assert ledger.claim(target, "ships") is None


def test_a_chunk_that_was_given_up_can_be_opened_again(target: Connection) -> None:
    ledger.write_plan(target, "ships", CHUNKS[:1])
    ledger.mark_failed(target, "ships", 1, error="disk full", attempts=1, backoff=0)
    assert ledger.reopen(target, "ships") == 1
    assert ledger.claim(target, "ships") == CHUNKS[0]


def test_a_void_chunk_is_not_locked_for_merging(target: Connection) -> None:
    ledger.write_plan(target, "ships", CHUNKS)
    target.execute("UPDATE widebeam.chunks SET state = 'void' WHERE chunk = 2")
    with target.transaction():
        assert ledger.lock(target, "ships", 1)
        assert not ledger.lock(target, "ships", 2)
