"""Protections of the backfill: which snapshot it reads, how a chunk meets the stream, how it ends."""

from __future__ import annotations

from typing import Final

from tests.protections.protection import Edit, Protection

RUN: Final = "tests/snapshot/test_run.py::test_"
GATE: Final = "tests/snapshot/chunks/test_gate.py::test_"
LEDGER: Final = "tests/snapshot/chunks/test_ledger.py::test_"
ORDERS: Final = (
    "tests/snapshot/test_orders.py::"
    "test_of_a_chunk_and_a_sink_that_meet_the_later_one_waits_and_then_sees_what_the_other_did"
)
STAGING: Final = "tests/snapshot/test_staging.py::test_"
MERGE: Final = "tests/sink/merge/test_merge.py::test_"
OVERTAKEN: Final = "tests/widebeam/quarantine/test_overtaken.py::test_"

BACKFILL: Final = (
    Protection(
        "what a chunk quarantines is looked at again",
        ("chunk meets stream",),
        (
            Edit("snapshot/worker.py", "self._settings.misfits(self._merger.misfits)", "pass"),
            Edit("snapshot/run.py", "self._settings.misfits(quarantine", "(quarantine"),
        ),
        (
            OVERTAKEN + "entries_of_a_chunk_whose_rows_the_stream_has_overtaken_close_by_themselves",
            OVERTAKEN + "so_do_those_that_a_crash_has_left",
        ),
    ),
    Protection(
        "gate G",
        ("chunk meets stream",),
        (Edit("snapshot/chunks/gate.py", "while lacking(primary, cutoff_snapshot):", "while False:"),),
        (GATE + "the_gate_waits_for_a_commit_that_is_decoded_and_not_visible",),
    ),
    Protection(
        "standby has replayed",
        ("chunk meets stream",),
        (Edit("snapshot/chunks/gate.py", "if row is not None and row[0]:", "if row is not None:"),),
        ("tests/snapshot/test_standby.py::test_a_standby_is_waited_for_until_it_has_replayed_the_gate",),
    ),
    Protection(
        "fill only",
        ("chunk meets stream",),
        (Edit("sink/merge/values.py", "COALESCE(wide.{0}, EXCLUDED.{0})", "COALESCE(EXCLUDED.{0}, wide.{0})"),),
        (
            MERGE + "a_chunk_fills_what_is_null_and_leaves_position_and_value",
            RUN + "the_stream_wins_and_its_position_stays",
        ),
    ),
    Protection(
        "a chunk leaves the position",
        ("truncate", "chunk meets stream"),
        (
            Edit(
                "sink/merge/values.py",
                "*([tables.FILL_POSITION] if self.leads else [])",
                "tables.STREAM_POSITION",
            ),
        ),
        (
            MERGE + "a_chunk_fills_what_is_null_and_leaves_position_and_value",
            RUN + "the_stream_wins_and_its_position_stays",
        ),
    ),
    Protection(
        "chunk heeds tombstones",
        ("chunk meets stream",),
        (Edit("snapshot/fill/merge.py", "tombstones.leave_out(piece, self._registry.entities, stones)", "pass"),),
        (RUN + "a_chunk_leaves_out_what_has_a_tombstone",),
    ),
    Protection(
        "ledger row FOR UPDATE",
        ("chunk meets stream",),
        (
            Edit(
                "snapshot/chunks/ledger.py",
                "WHERE connector = %s AND chunk = %s FOR UPDATE",
                "WHERE connector = %s AND chunk = %s",
            ),
        ),
        (ORDERS,),
    ),
    Protection(
        "tombstones read under the lock",
        ("chunk meets stream",),
        (Edit("snapshot/fill/merge.py", "tombstones.of_chunk(self._target, self._mapping, chunk) != known", "False"),),
        (
            RUN + "a_tombstone_that_is_being_written_is_waited_for",
            STAGING + "no_sink_waits_for_a_chunk_that_stands_still_while_it_is_staged",
        ),
    ),
    Protection(
        "a chunk's rows table by table",
        ("deadlock",),
        (
            Edit(
                "snapshot/fill/merge.py",
                "        staged = prepared.stage(self._rows(piece, stones))\n",
                "        held = prepared.hold()\n"
                "        for some in self._rows(piece, stones):\n"
                "            held.fill([some])\n"
                "        staged = prepared.stage([])\n",
            ),
        ),
        (STAGING + "a_large_chunk_does_not_come_back_to_a_table_behind_those_of_another_one",),
        r"psycopg\.errors\.(DeadlockDetected|LockNotAvailable)|AssertionError|assert ",
    ),
    Protection(
        "void chunks stay void",
        ("truncate", "chunk meets stream"),
        (Edit("snapshot/chunks/ledger.py", "return row is not None and bool(row[0])", "return row is not None"),),
        (RUN + "a_chunk_that_became_void_after_it_was_read_is_not_merged",),
    ),
    Protection(
        "merged in the merge's transaction",
        ("backfill dies", "commit unanswered"),
        (
            Edit(
                "snapshot/fill/merge.py",
                "ledger.mark_merged(self._target, self.connector, chunk.number, rows=rows, cells=cells,"
                " seconds=seconds)\n        hit",
                "with psycopg.connect(self._target.info.dsn, autocommit=True) as other:\n            "
                "ledger.mark_merged(other, self.connector, chunk.number, rows=rows, cells=cells, seconds=seconds)\n"
                "        hit",
            ),
            Edit("snapshot/chunks/ledger.py", "AND chunk = %s FOR UPDATE", "AND chunk = %s"),
        ),
        (RUN + "a_chunk_that_fails_when_it_is_marked_already_is_merged_by_the_next_run",),
    ),
    Protection(
        "a claim is one's own",
        ("backfill dies", "two runs"),
        (Edit("sink/state/claim.py", "OR NOT EXISTS (", "OR true OR NOT EXISTS ("),),
        (LEDGER + "two_workers_claim_different_chunks",),
    ),
    Protection(
        "looked at again once claimed",
        ("backfill dies", "two runs"),
        (Edit("snapshot/chunks/ledger.py", "if _due(target, connector, chunk, 1, last=chunk):", "if True:"),),
        (LEDGER + "a_chunk_that_was_merged_while_it_was_claimed_is_not_read_again",),
    ),
    Protection(
        "a failed chunk is no data",
        ("backfill dies", "disk full"),
        (
            Edit(
                "snapshot/worker.py",
                "self._missed(chunk, error)\n",
                "self._sessions.target.execute(\"UPDATE widebeam.chunks SET state = 'void' WHERE chunk = 3\")\n",
            ),
        ),
        (RUN + "a_chunk_that_fails_is_given_up_at_last_and_done_when_the_cause_is_mended",),
    ),
    Protection(
        "one snapshot a chunk",
        ("chunk meets stream",),
        (
            Edit(
                "snapshot/fill/reader.py",
                "ISOLATION LEVEL REPEATABLE READ, READ ONLY",
                "ISOLATION LEVEL READ COMMITTED, READ ONLY",
            ),
        ),
        (RUN + "a_chunk_that_is_read_twice_is_read_as_of_one_moment",),
    ),
    Protection(
        "heavy chunks in pieces",
        ("large transaction",),
        (Edit("snapshot/fill/reader.py", "if fold.weight > most_bytes and not self._crowded:", "if False:"),),
        (RUN + "a_chunk_that_is_read_twice_is_read_as_of_one_moment",),
    ),
    Protection(
        "no limits of the role's",
        ("time-out",),
        (Edit("cdc/source/session.py", '    "statement_timeout": "0",\n', ""),),
        (RUN + "defaults_of_database_and_role_do_not_change_a_value",),
        r"cdc.halt.Halt|psycopg.errors.QueryCanceled|AssertionError|assert ",
    ),
    Protection(
        "backfill connects again",
        ("session ends", "backfill dies"),
        (Edit("snapshot/run.py", "if self._losses > _MOST_LOSSES:", "if True:"),),
        (RUN + "a_worker_whose_sessions_are_ended_between_two_chunks_connects_again",),
        r"psycopg\.(OperationalError|errors\.AdminShutdown)",
    ),
    Protection(
        "a chunk that holds locks lets go",
        ("part hangs",),
        (Edit("snapshot/fill/merge.py", "            self._target.execute(_HURRY)\n", ""),),
        (STAGING + "a_chunk_that_stands_still_while_it_holds_locks_lets_go_after_a_minute",),
    ),
)
