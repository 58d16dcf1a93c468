"""Protections of the sink: which records it takes, and what goes with them into one transaction."""

from __future__ import annotations

from typing import Final

from tests.protections.protection import Edit, Protection

PROGRESS: Final = "tests/sink/fold/test_progress.py::test_"
RUN: Final = "tests/sink/test_run.py::test_"
MERGE: Final = "tests/sink/merge/test_merge.py::test_"
BASES: Final = "tests/sink/merge/test_bases.py::test_"
TOMBSTONES: Final = "tests/sink/merge/test_tombstones.py::test_"
REGISTRY: Final = "tests/sink/wide/test_registry.py::test_"
RETRY: Final = REGISTRY + "a_reader_in_the_way_is_waited_for_in_short_attempts"
KAFKA: Final = "tests/cdc/log/test_kafka.py::test_"
SETTINGS: Final = "tests/sink/test_target.py::test_a_session_is_as_careful_as_it_has_to_be_whatever_the_database_says"
READER: Final = "tests/sink/test_reader.py::test_"

SINK: Final = (
    Protection(
        "staged before locks",
        ("zombie sink", "column waits"),
        (
            Edit("sink/lock_order.py", "account.advance(self._connection, self._mapping.connector,", "list("),
            Edit(
                "sink/apply.py",
                "            staged = ready",
                "            from sink.state import account\n"
                "            moves = list(batch.admissions.values())\n"
                "            account.advance(self._connection, self._mapping.connector, moves)\n"
                "            staged = ready",
            ),
        ),
        (
            "tests/sink/test_standing_still.py::test_"
            "the_next_owner_goes_on_while_a_sink_is_stopped_in_mid_copy_which_is_fenced_when_it_comes_back",
        ),
        r"psycopg\.errors\.LockNotAvailable",
    ),
    Protection(
        "skip rule",
        ("death between acks", "capture dies"),
        (Edit("sink/fold/progress.py", " or position < self._high:", ":"),),
        (PROGRESS + "a_lower_position_is_a_redelivery_and_an_equal_one_is_applied_again",),
    ),
    Protection(
        "equal positions again",
        ("death between acks", "large transaction"),
        (Edit("sink/fold/progress.py", "or position < self._high:", "or position <= self._high:"),),
        (PROGRESS + "a_lower_position_is_a_redelivery_and_an_equal_one_is_applied_again",),
    ),
    Protection(
        "older generations dropped",
        ("slot in use", "capture frozen"),
        (Edit("sink/fold/progress.py", "if stamp.generation < self._generation:", "if False:"),),
        (
            PROGRESS + "a_zombie_s_records_are_dropped",
            RUN + "the_late_buffer_of_an_old_capture_does_not_come_between_the_records_of_the_new_one",
        ),
        r"assert |psycopg.errors.UndefinedColumn",
    ),
    Protection(
        "stop at a gap",
        ("broker down",),
        (Edit("sink/fold/progress.py", "if not self._broken and stamp.sequence != self._sequence:", "if False:"),),
        (
            PROGRESS + "a_gap_stops_the_generation_and_the_next_one_goes_on",
            RUN + "a_gap_is_not_applied_past_until_the_next_generation_brings_it",
        ),
    ),
    Protection(
        "lasting gap halts",
        ("log incomplete",),
        (Edit("sink/gaps.py", "> self._patience:", "> 1e9:"),),
        (RUN + "a_gap_that_no_generation_mends_halts",),
        r"assert |ValueError: not enough values|AssertionError",
    ),
    Protection(
        "compare-and-set of the offset",
        ("zombie sink", "rebalance storm"),
        (Edit("sink/state/account.py", "AND next_offset = %(known)s AND epoch", "AND %(known)s >= 0 AND epoch"),),
        (
            PROGRESS + "the_loser_of_a_race_is_fenced",
            RUN + "a_sink_that_stood_still_since_its_assignment_cannot_take_anything_back",
        ),
    ),
    Protection(
        "compare-and-set of the epoch",
        ("replay", "zombie sink"),
        (Edit("sink/state/account.py", "AND epoch = %(epoch)s", "AND %(epoch)s >= 0"),),
        (PROGRESS + "an_older_epoch_is_fenced",),
    ),
    Protection(
        "fenced by no row",
        ("zombie sink",),
        (Edit("sink/state/account.py", "if moved != len(ordered):", "if False:"),),
        (PROGRESS + "the_loser_of_a_race_is_fenced",),
    ),
    Protection(
        "go on from the target's progress",
        ("commit unanswered", "session ends"),
        (Edit("sink/session.py", "self.close()\n        self.lost = True", "self.close()"),),
        (RUN + "a_batch_whose_commit_is_not_answered_is_neither_lost_nor_applied_twice",),
    ),
    Protection(
        "not the group's offsets",
        ("offsets reset", "rebalance storm"),
        (
            Edit(
                "sink/reader.py",
                "each.offset = self._wanted[each.partition] = offsets[each.partition]",
                "self._wanted[each.partition] = offsets[each.partition]",
            ),
        ),
        (READER + "the_group_s_own_offsets_are_not_believed_but_told",),
    ),
    Protection(
        "tombstones",
        ("chunk meets stream",),
        (Edit("sink/lock_order.py", "if tombstones.bury(self._connection, self._mapping, cells):", "if False:"),),
        (RUN + "a_delete_in_an_unmerged_chunk_leaves_a_tombstone",),
    ),
    Protection(
        "tombstones under the chunk's lock",
        ("chunk meets stream",),
        (Edit("sink/merge/tombstones.py", "ORDER BY chunk FOR KEY SHARE", "ORDER BY chunk"),),
        (TOMBSTONES + "a_tombstone_that_is_not_committed_holds_the_chunk_up",),
    ),
    Protection(
        "truncate halts",
        ("truncate",),
        (Edit("sink/fold/batch.py", 'self.mapping.on_truncate == "halt"', "False"),),
        (RUN + "a_truncate_halts_and_nothing_past_it_is_applied",),
    ),
    Protection(
        "truncate voids chunks",
        ("truncate", "chunk meets stream"),
        (Edit("sink/lock_order.py", "tombstones.void(self._connection, self._mapping.connector)", "pass"),),
        (RUN + "a_truncate_is_applied_or_ignored_as_the_mapping_says[apply-left1]",),
    ),
    Protection(
        "truncate by position",
        ("truncate",),
        (
            Edit(
                "sink/merge/locked.py",
                "DELETE FROM {wide} AS wide WHERE {lsn} < {position}",
                "DELETE FROM {wide} AS wide WHERE {lsn} <= {position}",
            ),
        ),
        (MERGE + "a_truncate_takes_the_rows_below_its_position",),
    ),
    Protection(
        "staging tables kept",
        ("catalog bloat",),
        (Edit("sink/merge/stage.py", "stage = self._by_shape.pop(self._fitting(shape), None)", "stage = None"),),
        (MERGE + "no_temporary_table_is_made_or_dropped_once_there_is_one",),
    ),
    Protection(
        "columns of others looked for",
        ("column waits",),
        (
            Edit(
                "sink/merge/clears.py",
                "for column in now.columns)",
                "for column in indexes)",
            ),
        ),
        (MERGE + "a_row_with_a_cell_in_a_column_that_this_sink_has_not_heard_of_is_not_empty",),
    ),
    Protection(
        "progress in the rows' transaction",
        ("session ends", "commit unanswered", "disk full"),
        (
            Edit(
                "sink/lock_order.py",
                "account.advance(self._connection,",
                "with psycopg.connect(self._connection.info.dsn) as other:\n            account.advance(other,",
            ),
        ),
        (RUN + "a_batch_that_fails_before_its_commit_leaves_neither_rows_nor_progress",),
    ),
    Protection(
        "passing failures tried again",
        ("deadlock", "time-out", "disk full", "session ends"),
        (Edit("sink/session.py", "_TRIED_AGAIN: Final = (Fate.PASSES, ", "_TRIED_AGAIN: Final = ("),),
        (RUN + "a_failure_that_passes_is_tried_again_and_nothing_is_lost",),
    ),
    Protection(
        "rows by key",
        ("deadlock",),
        (
            Edit("sink/merge/values.py", '" ORDER BY {key} ON CONFLICT', '" ON CONFLICT'),
            Edit("sink/merge/clears.py", "ON {here} ORDER BY {key} FOR UPDATE", "ON {here} FOR UPDATE"),
        ),
        (
            MERGE + "rows_are_locked_in_the_order_of_their_keys_whatever_order_they_came_in[set]",
            MERGE + "rows_are_locked_in_the_order_of_their_keys_whatever_order_they_came_in[clear]",
        ),
    ),
    Protection(
        "few rows by key",
        ("deadlock",),
        (Edit("sink/merge/bound.py", "return [rows[number - 1] for (number,) in found]", "return rows"),),
        (MERGE + "rows_are_locked_in_the_order_of_their_keys_whatever_order_they_came_in[bound]",),
    ),
    Protection(
        "few rows are sent at once",
        ("zombie sink",),
        (Edit("sink/merge/bound.py", "if any(len(line.encode()) > self._room for", "if any(False for"),),
        (MERGE + "a_row_is_only_bound_if_it_is_sent_at_once[wide]",),
    ),
    Protection(
        "a widened column is bound anew",
        ("column waits",),
        (Edit("sink/merge/bound.py", "sum(column.widened for column in self.columns)", "0"),),
        (MERGE + "a_column_that_was_widened_is_bound_as_what_it_is_now",),
        r"assert |psycopg.errors.InvalidTextRepresentation",
    ),
    Protection(
        "tables by name",
        ("deadlock",),
        (Edit("sink/fold/spread.py", "return sorted(parts, key=lambda rows: rows.part.table)", "return parts"),),
        (MERGE + "part_tables_come_in_the_order_of_their_names_whatever_order_entities_came_in",),
    ),
    Protection(
        "a row in a view's first part for each cell",
        ("row of several parts",),
        (Edit("sink/fold/spread.py", "if len(made) > 1:", "if len(made) > 1_000:"),),
        (BASES + "views_show_each_row_that_has_a_cell_and_none_that_has_none",),
    ),
    Protection(
        "a first part's row for others' cells",
        ("row of several parts",),
        (Edit("sink/merge/present.py", "{here} AND NOT ({needed})", "{here} /* {needed} */"),),
        (BASES + "views_show_each_row_that_has_a_cell_and_none_that_has_none",),
    ),
    Protection(
        "rows without a cell are no rows of a group",
        ("row of several parts",),
        (Edit("sink/wide/tables.py", "if not entity.leads_elsewhere(view)", "if True"),),
        (BASES + "views_show_each_row_that_has_a_cell_and_none_that_has_none",),
    ),
    Protection(
        "a truncate spares later cells of other parts",
        ("row of several parts",),
        (Edit("sink/merge/locked.py", "AND NOT ({needed})", "/* {needed} */"),),
        (BASES + "a_truncate_leaves_a_row_without_a_cell_where_another_part_has_a_later_one",),
    ),
    Protection(
        "partitions by number",
        ("deadlock",),
        (
            Edit(
                "sink/state/account.py", "sorted(admissions, key=lambda each: each.known.partition)", "list(admissions)"
            ),
        ),
        (PROGRESS + "partitions_are_advanced_in_their_order_whatever_order_they_came_in",),
    ),
    Protection(
        "read committed",
        ("zombie sink", "deadlock"),
        (Edit("cdc/source/session.py", '    "default_transaction_isolation": "read committed",', ""),),
        (SETTINGS + "[transaction_isolation-default_transaction_isolation = 'serializable'-read committed]",),
    ),
    Protection(
        "commits outlive a crash",
        ("session ends",),
        (Edit("sink/target.py", "'synchronous_commit', 'on', false)", "'synchronous_commit', 'off', false)"),),
        (SETTINGS + "[synchronous_commit-synchronous_commit = off-on]",),
    ),
    Protection(
        "no statement time-out of people's",
        ("time-out",),
        (Edit("cdc/source/session.py", '    "statement_timeout": "0",\n', ""),),
        (SETTINGS + "[statement_timeout-statement_timeout = '5s'-0]",),
    ),
    Protection(
        "an idle transaction ends",
        ("zombie sink",),
        (Edit("sink/target.py", "\"SET idle_in_transaction_session_timeout = '60s'\",", ""),),
        (SETTINGS + "[idle_in_transaction_session_timeout-idle_in_transaction_session_timeout = 0-1min]",),
    ),
    Protection(
        "nothing before the ledger",
        ("chunk meets stream", "crash in set-up"),
        (Edit("sink/target.py", "return row[0] is not None", "return True"),),
        (RUN + "nothing_is_applied_before_the_ledger_is_there",),
    ),
    Protection(
        "short waits for a new column",
        ("column waits",),
        (
            Edit(
                "sink/wide/ddl_lock.py",
                'connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(_LOCK_TIMEOUT)))\n'
                '    connection.execute("LOCK TABLE widebeam.turn_columns',
                'connection.execute("LOCK TABLE widebeam.turn_columns',
            ),
        ),
        (RETRY,),
        r"psycopg.errors.QueryCanceled",
    ),
    Protection(
        "a lock that is in the way is waited for",
        ("column waits",),
        (Edit("sink/wide/ddl_lock.py", "retry=retry_if_exception_type(CLASH)", "retry=retry_if_exception_type(())"),),
        (RETRY,),
        r"assert |AssertionError|error: failed on teardown",  # the thread that makes the column dies, too
    ),
    Protection(
        "tables looked for",
        ("target changed",),
        (Edit("sink/wide/registry.py", "        if gone is not None:\n", "        if False:\n"),),
        (REGISTRY + "a_target_that_somebody_changed_halts_and_names_it",),
    ),
    Protection(
        "partitions known",
        ("partitions added",),
        (Edit("sink/state/account.py", "    if missing:\n", "    if False:\n"),),
        (PROGRESS + "a_partition_without_a_row_is_named",),
    ),
    Protection(
        "topic by its id",
        ("topic recreated",),
        (Edit("cdc/log/topic.py", "if state.topic_id != topic_id:", "if False:"),),
        (KAFKA + "a_topic_made_anew_has_another_id",),
    ),
    Protection(
        "topic's partitions",
        ("partitions added",),
        (Edit("cdc/log/topic.py", "if state.partitions != partitions:", "if False:"),),
        (KAFKA + "a_topic_that_is_not_as_recorded_halts",),
    ),
    Protection(
        "no compaction",
        ("compaction",),
        (Edit("cdc/log/topic.py", 'if "compact" in state.cleanup_policy:', "if False:"),),
        (KAFKA + "a_topic_that_is_not_as_recorded_halts",),
    ),
    Protection(
        "no jump over lost records",
        ("retention gap", "topic recreated"),
        (Edit("sink/reader.py", '"auto.offset.reset": "error"', '"auto.offset.reset": "earliest"'),),
        (
            READER + "a_record_that_is_older_than_the_log_halts_as_a_retention_gap",
            READER + "an_offset_behind_the_log_s_end_halts_as_another_topic",
        ),
    ),
    Protection(
        "a deleted topic",
        ("topic recreated",),
        (Edit("sink/reader.py", "elif error.code() in _GONE:", "elif False:"),),
        (READER + "a_topic_that_is_deleted_halts",),
    ),
    Protection(
        "settings of the producer",
        ("broker down", "bad network"),
        (Edit("cdc/log/kafka.py", "{**client, **ours,", "{**ours, **client,"),),
        (KAFKA + "no_setting_of_the_users_makes_a_delivery_less_certain",),
    ),
    Protection(
        "settings of the consumer",
        ("rebalance storm", "offsets reset"),
        (Edit("sink/reader.py", "**client, **CONSUMER}", "**CONSUMER, **client}"),),
        (KAFKA + "no_setting_of_the_users_makes_a_delivery_less_certain",),
    ),
    Protection(
        "rests are short whatever the clock says",
        ("clock jump",),
        (Edit("sink/pace.py", "return min(max(took, _LEAST_CYCLE - took), _LONGEST)", "return took"),),
        ("tests/sink/test_pace.py::test_a_sink_rests_for_a_capture_that_is_behind_but_not_when_only_it_is",),
    ),
    Protection(
        "latencies beyond all bounds",
        ("clock jump",),
        (
            Edit(
                "sink/state/latency.py",
                "min(bisect_left(BOUNDS, milliseconds), len(BOUNDS) - 1)",
                "bisect_left(BOUNDS, milliseconds)",
            ),
        ),
        ("tests/sink/state/test_latency.py::test_a_clock_that_is_behind_and_a_time_beyond_all_bounds_are_counted",),
        "IndexError",
    ),
)
