"""Protections of a connector's life: set-up, the supervisor, halts, going back, dropping, secrets."""

from __future__ import annotations

from typing import Final

from tests.protections.protection import ASSERTED, Edit, Protection

SUPERVISE: Final = "tests/widebeam/run/test_supervise.py::test_"
PREPARE: Final = "tests/widebeam/setup/test_prepare.py::test_"
DROP: Final = "tests/widebeam/setup/test_drop.py::test_"
CONFIG: Final = "tests/widebeam/config/test_config.py::test_"
REWIND: Final = "tests/sink/fold/test_rewind.py::test_"
FOLLOW: Final = "tests/widebeam/test_follow.py::test_"
LOSSY: Final = FOLLOW + "a_failover_that_may_have_lost_what_was_taken_halts_and_nothing_is_adopted"
CROSS: Final = "tests/widebeam/gap/test_cross.py::test_"
FENCED: Final = CROSS + "nothing_of_the_old_stream_counts_any_more"
DIRECT: Final = "tests/cdc/log/test_direct.py::test_"
JOIN: Final = "tests/snapshot/test_join.py::test_"
QUARANTINE: Final = "tests/widebeam/quarantine/test_quarantine.py::test_"
STAGED_FIRST: Final = QUARANTINE + "a_batch_is_staged_before_any_lock_and_anew_if_the_source_has_something_else_by_then"
STANDSTILL: Final = "sink/state/standstill.py"
LOG: Final = "tests/widebeam/test_log.py::test_"
GIVES_UP: Final = r"Failed: Timeout|" + ASSERTED

OPERATION: Final = (
    Protection(
        "parts start again",
        ("part fails", "capture dies", "backfill dies"),
        (
            Edit(
                "widebeam/run/supervise.py",
                "self._due[end.part.name] = time.monotonic() + pause",
                "raise SystemExit(1)",
            ),
        ),
        (SUPERVISE + "a_part_that_is_killed_starts_again",),
        r"SystemExit",
    ),
    Protection(
        "the same failure halts",
        ("part fails",),
        (Edit("widebeam/process/restarts.py", ">= policy.deaths:", ">= 10**9:"),),
        (SUPERVISE + "deaths_by_one_cause_give_up_and_only_numbers_differ_is_one_cause",),
    ),
    Protection(
        "progress forgives",
        ("part fails",),
        (Edit("widebeam/process/restarts.py", "if death.progressed or death.ran >= policy.well_after:", "if False:"),),
        (SUPERVISE + "the_count_starts_anew_with[progress]", SUPERVISE + "the_count_starts_anew_with[a long run]"),
    ),
    Protection(
        "deaths from outside do not count",
        ("part fails", "capture dies", "backfill dies"),
        (
            Edit(
                "widebeam/process/restarts.py",
                "if not (death.outside or death.refused) and self",
                "if not death.refused and self",
            ),
        ),
        (SUPERVISE + "a_kill_from_outside_neither_counts_nor_makes_anything_forgotten",),
    ),
    Protection(
        "not up is no refusal",
        ("part fails",),
        (Edit("cdc/fault.py", "PGconn.ping(again.encode()) == Ping.OK and not", "not"),),
        (SUPERVISE + "a_server_that_is_not_up_yet_is_told_from_one_that_refuses_in_whatever_language[57P03-True]",),
    ),
    Protection(
        "hung parts are known",
        ("part fails",),
        (Edit("widebeam/process/heartbeat.py", "if self._hung_after is not None and", "if False and"),),
        ("tests/widebeam/process/test_heartbeat.py::test_a_work_that_does_not_turn_any_more_hangs",),
        r"assert |AssertionError|TypeError",
    ),
    Protection(
        "signs of life of servers",
        ("bad network", "session ends"),
        (Edit("cdc/source/session.py", '"widebeam", **ALIVE}', '"widebeam"}'),),
        ("tests/cdc/source/test_session.py::test_the_kernel_watches_over_sessions_and_over_the_stream",),
    ),
    Protection(
        "parts drain at SIGTERM",
        ("SIGTERM",),
        (Edit("widebeam/run/supervise.py", "self._tell(signal.SIGTERM)", "self._tell(signal.SIGKILL)"),),
        (SUPERVISE + "a_signal_lets_the_parts_drain_and_is_no_error",),
    ),
    Protection(
        "no part outlives a killed supervisor",
        ("SIGTERM", "two runs"),
        (Edit("widebeam/process/child.py", "ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))", "pass"),),
        (SUPERVISE + "a_part_dies_with_a_supervisor_that_was_killed",),
    ),
    Protection(
        "only one sets up",
        ("two runs", "crash in set-up"),
        (Edit("widebeam/state/lock.py", "while not claim.take(target):", "while False:"),),
        (PREPARE + "only_one_sets_up_at_a_time",),
    ),
    Protection(
        "an unrecorded slot is made anew",
        ("crash in set-up",),
        (Edit("widebeam/setup/prepare.py", "slot.drop_unfinished(source, connector.slot)\n", "return\n"),),
        (PREPARE + "a_crash_between_slot_and_record_makes_the_slot_anew",),
        r"assert |AssertionError|cdc.halt.Halt",
    ),
    Protection(
        "the slot is read before the record",
        ("slot ahead", "two runs"),
        (
            Edit(
                "widebeam/setup/prepare.py",
                "now = recorded.load(target, connector.name) or found\n",
                "now = found\n",
            ),
        ),
        (PREPARE + "a_capture_at_work_may_move_the_slot_while_it_is_looked_at",),
        r"cdc.halt.Halt",
    ),
    Protection(
        "a foreign slot is left alone",
        ("foreign slot",),
        (Edit("widebeam/setup/connector_row.py", "if slot.inspect(source, connector.slot) is not None:", "if False:"),),
        (PREPARE + "a_foreign_slot_of_our_name_is_left_alone",),
    ),
    Protection(
        "an unsafe change of the mapping",
        ("bad option",),
        (
            Edit(
                "widebeam/setup/connector_row.py",
                "halts.refuse_lasting(target, connector.name)\n    recorded.refuse_changes(found, connector)",
                "halts.refuse_lasting(target, connector.name)",
            ),
        ),
        (PREPARE + 'an_unsafe_change_of_the_mapping_is_refused[Decimal = "f"-Decimal = "s"-`choices`]',),
    ),
    Protection(
        "drop fences the sinks",
        ("crash in set-up",),
        (
            Edit(
                "widebeam/setup/drop.py",
                'target.execute("DELETE FROM widebeam.progress WHERE connector = %s", [connector])',
                "pass",
            ),
        ),
        (DROP + "interrupted_after_any_step_nothing_goes_on_and_drop_does",),
    ),
    Protection(
        "a running connector is not dropped",
        ("two runs",),
        (Edit("widebeam/setup/drop.py", "if state is not None and state.active_pid is not None:", "if False:"),),
        (DROP + "a_running_connector_is_not_dropped",),
        r"Failed: DID NOT RAISE|psycopg.errors.ObjectInUse",
    ),
    Protection(
        "drop is written down",
        ("audit",),
        (Edit("widebeam/setup/drop.py", '_audit(target, connector, "drop", done._asdict())', "pass"),),
        (DROP + "the_audit_log_can_be_kept",),
        r"assert |AssertionError|TypeError",
    ),
    Protection(
        "a replay starts where the rule was",
        ("replay",),
        (
            Edit(
                "sink/fold/rewind.py",
                "return start._replace(next_sequence=place.stamp.sequence, high=mark.high)",
                "return start._replace(next_sequence=place.stamp.sequence, high=Lsn(0))",
            ),
        ),
        (REWIND + "a_redelivery_that_was_skipped_is_skipped_by_a_replay_from_anywhere[3]",),
    ),
    Protection(
        "a replay starts where the rule was, between two runs",
        ("replay",),
        (Edit("sink/fold/rewind.py", "generation=mark.generation, high=high)", "generation=mark.generation)"),),
        (REWIND + "a_redelivery_that_was_skipped_is_skipped_by_a_replay_from_anywhere[2]",),
    ),
    Protection(
        "a replay knows zombies",
        ("replay",),
        (Edit("sink/fold/rewind.py", "if place.stamp.generation == mark.generation:", "if True:"),),
        (REWIND + "a_zombie_s_record_at_the_point_does_not_become_the_generation_that_counts",),
    ),
    Protection(
        "unknown options",
        ("bad option",),
        (Edit("widebeam/config/options/section.py", 'ConfigDict(extra="forbid"', 'ConfigDict(extra="ignore"'),),
        (CONFIG + "an_unknown_option_is_an_error_that_names_file_section_and_the_nearest_one",),
    ),
    Protection(
        "a column plays one part",
        ("bad option",),
        (Edit("widebeam/config/contradictions.py", "if some.count(name) > 1})", "if some.count(name) > 2})"),),
        (CONFIG + "a_column_cannot_play_two_parts",),
    ),
    Protection(
        "no secret in the file",
        ("secret given",),
        (
            Edit(
                "widebeam/config/config.py",
                "mistakes += [*secrets_in_file(raw, file), *strangers(env)]",
                "mistakes += strangers(env)",
            ),
        ),
        (CONFIG + "a_secret_in_the_file_is_refused_and_not_shown",),
    ),
    Protection(
        "a connection string shows its place alone",
        ("secrets",),
        (
            Edit(
                "widebeam/config/options/server.py",
                "        return self.place\n",
                "        return self.get_secret_value()\n",
            ),
        ),
        (CONFIG + "a_secret_of_the_environment_is_used_and_never_shown",),
    ),
    Protection(
        "passwords are struck out",
        ("secrets",),
        (Edit("widebeam/log.py", r'_SECRET.sub(r"\1\2***", text)', "text"),),
        (LOG + "what_looks_like_a_password_is_struck_out",),
    ),
    Protection(
        "nothing was applied beyond a failover",
        ("other incarnation",),
        (Edit("widebeam/setup/failover.py", "    if seen >= switch:\n", "    if False:\n"),),
        (LOSSY,),
    ),
    Protection(
        "nothing was read beyond a failover",
        ("other incarnation",),
        (Edit("widebeam/setup/failover.py", "if not _covered(target, connector):", "if False:"),),
        (LOSSY,),
    ),
    Protection(
        "the slot came along",
        ("other incarnation", "slot gone"),
        (Edit("widebeam/setup/failover.py", "    if state is None:\n", "    if False:\n"),),
        (LOSSY,),
        r"Failed: DID NOT RAISE|AttributeError",
    ),
    Protection(
        "only a later timeline of the same system",
        ("other incarnation",),
        (Edit("widebeam/setup/failover.py", "slot.check_incarnation(found.incarnation, now)\n", "pass\n"),),
        (FOLLOW + "another_history_is_never_followed",),
    ),
    Protection(
        "acknowledged cut at a failover",
        ("other incarnation", "slot ahead"),
        (
            Edit(
                "widebeam/setup/failover.py",
                "least(coalesce(acknowledged, cutoff), %s::pg_lsn)",
                "greatest(acknowledged, %s::pg_lsn)",
            ),
        ),
        (FOLLOW + "a_failover_is_followed_and_what_was_acknowledged_beyond_the_switch_point_is_cut",),
    ),
    Protection(
        "locks within a bound",
        ("column waits", "crash in set-up"),
        (Edit("cdc/patience.py", 'f"{seconds * 1000:.0f}ms") for session', '"0") for session'),),
        ("tests/cdc/test_patience.py::test_a_session_has_its_own_limit_again",),
    ),
    Protection(
        "no sink while cells are overwritten",
        ("partition attached", "unplaceable", "over a gap"),
        (
            Edit(STANDSTILL, "account.stop_all(self._target, self._registry.mapping.connector)", "pass"),
            Edit("snapshot/attached.py", "target.execute(_FLOOR, [merger.connector])", "pass"),
        ),
        (
            "tests/widebeam/setup/test_survey.py::test_no_sink_can_advance_while_attached_rows_are_read_and_written[18]",
            QUARANTINE + "no_sink_advances_while_the_source_is_read",
            CROSS + "no_sink_advances_while_a_range_that_differs_is_read_and_set",
        ),
    ),
    Protection(
        "a standstill waits for writers",
        ("partition attached", "unplaceable", "over a gap"),
        (Edit(STANDSTILL, "await_writers(self._source, self._names, self._patience)", "pass"),),
        (
            QUARANTINE + "it_waits_for_whoever_has_written_and_is_not_visible_yet",
            "tests/widebeam/setup/test_survey.py::test_a_chunk_of_an_attached_partition_rests_while_somebody_writes[18]",
        ),
    ),
    Protection(
        "a retry goes in batches",
        ("unplaceable",),
        (Edit("widebeam/quarantine/store.py", "if some and (len(some) >= _AT_ONCE", "if some and (False"),),
        (QUARANTINE + "batches_go_in_the_order_of_positions_and_none_is_larger_than_it_may_be",),
    ),
    Protection(
        "a retry's batch is one transaction",
        ("unplaceable",),
        (
            Edit(
                STANDSTILL,
                "with self._target.transaction():\n                    return",
                "if True:\n                    return",
            ),
        ),
        (
            "tests/widebeam/quarantine/test_retry_crashes.py"
            "::test_killed_at_each_step_a_retry_goes_on_from_its_last_batch_and_undoes_nothing_newer",
        ),
    ),
    Protection(
        "a retry stages before it locks",
        ("unplaceable",),
        (
            Edit(
                "widebeam/quarantine/retry.py",
                "        staged = prepared.stage([parts])\n",
                "        self._standstill.begin()\n        staged = prepared.stage([parts])\n",
            ),
        ),
        (STAGED_FIRST,),
    ),
    Protection(
        "a retry reads again under its locks",
        ("unplaceable",),
        (
            Edit(
                "widebeam/quarantine/retry.py",
                "or spread_all(self._registry.entities, found.fold.tables) != parts:",
                ":",
            ),
        ),
        (STAGED_FIRST,),
    ),
    Protection(
        "a retry's rows are as far as their partition",
        ("unplaceable", "truncate"),
        (
            Edit(
                "widebeam/quarantine/retry.py",
                "{mark(number): position for number, position in standing.positions.items()}",
                "{mark(number): standing.furthest for number in standing.positions}",
            ),
        ),
        (QUARANTINE + "each_row_is_put_where_its_own_partition_is",),
    ),
    Protection(
        "a retry waits for locks within a bound",
        ("unplaceable",),
        (
            Edit(
                "widebeam/quarantine/retry.py",
                "with bounded(doing, self._target, seconds=self._lock_patience):",
                "if True:",
            ),
        ),
        (QUARANTINE + "a_lock_is_not_waited_for_without_a_bound_and_who_holds_it_is_named",),
        r"psycopg.errors.QueryCanceled",
    ),
    Protection(
        "a discard waits for locks within a bound",
        ("unplaceable",),
        (Edit("widebeam/quarantine/store.py", "bounded(doing, session, seconds=lock_patience), ", ""),),
        (QUARANTINE + "a_discard_does_not_wait_for_a_lock_without_a_bound",),
        r"psycopg.errors.QueryCanceled",
    ),
    Protection(
        "a joining table's writers are waited for",
        ("chunk meets stream",),
        (Edit("cdc/source/publication.py", "IN SHARE ROW EXCLUSIVE MODE", "IN ACCESS SHARE MODE"),),
        (JOIN + "who_writes_to_a_new_table_waits_for_no_long_transaction_of_another",),
    ),
    Protection(
        "no writer queues for a long transaction of another",
        ("chunk meets stream",),
        (
            Edit(
                "cdc/source/publication.py",
                "        await_writers(connection, [table.quoted], _LET_END)\n",
                "        pass\n",
            ),
        ),
        (JOIN + "who_writes_to_a_new_table_waits_for_no_long_transaction_of_another",),
        r"psycopg.errors.InvalidParameterValue: [^\n]*not to be asked for",
    ),
    Protection(
        "who writes to a joining table waits within a bound",
        ("chunk meets stream",),
        (Edit("cdc/source/publication.py", '_LOCK_TIMEOUT: Final = "200ms"', '_LOCK_TIMEOUT: Final = "0"'),),
        (JOIN + "who_writes_to_a_new_table_waits_for_no_long_transaction_of_another",),
        r"psycopg.errors.LockNotAvailable",
    ),
    Protection(
        "delivered when applied",
        ("death between acks", "session ends"),
        (
            Edit(
                "cdc/log/direct.py",
                "log.used_bytes += len(value)\n",
                "log.used_bytes += len(value)\n            self.done.append(token)\n",
            ),
        ),
        (DIRECT + "a_record_is_delivered_when_its_sink_has_applied_it",),
    ),
    Protection(
        "memory pushes back",
        ("large transaction", "session ends"),
        (
            Edit(
                "cdc/log/direct.py",
                "if log.used_bytes and log.used_bytes + len(value) > log.capacity_bytes:",
                "if False:",
            ),
        ),
        (DIRECT + "a_full_log_pushes_back_until_something_is_applied",),
    ),
    Protection(
        "a dead sink ends capture's run",
        ("part fails",),
        (Edit("cdc/log/direct.py", "if self._log.failure is not None:", "if False:"),),
        (DIRECT + "a_dead_sink_ends_the_publishers_run_and_not_the_next_ones",),
    ),
    Protection(
        "offsets that memory holds",
        ("log incomplete",),
        (Edit("cdc/log/direct.py", "if not lane.base <= offset <= lane.base + len(lane.entries):", "if False:"),),
        (DIRECT + "an_offset_that_memory_does_not_hold_fails_loudly",),
        r"Failed: DID NOT RAISE|AssertionError|assert |IndexError|ValueError",
    ),
    Protection(
        "a catalog that is described anew",
        ("type rewritten", "publication altered"),
        (Edit("cdc/run.py", "watch.wake()", "pass"),),
        ("tests/cdc/test_run.py::test_the_catalog_is_looked_at_when_the_stream_describes_a_table_anew",),
    ),
    Protection(
        "over a gap: another generation",
        ("over a gap",),
        (
            Edit(
                "widebeam/gap/fence.py",
                "SET generation = generation + 1, cutoff",
                "SET generation = generation, cutoff",
            ),
        ),
        (FENCED,),
    ),
    Protection(
        "over a gap: another epoch",
        ("over a gap",),
        (Edit("widebeam/gap/fence.py", "SET epoch = epoch + 1, high", "SET epoch = epoch, high"),),
        (FENCED,),
    ),
    Protection(
        "over a gap: other numbers of chunks",
        ("over a gap",),
        (Edit("widebeam/gap/fence.py", "target.execute(_RENUMBER, name)", "pass"),),
        (FENCED,),
    ),
    Protection(
        "over a gap: no old tombstones",
        ("over a gap",),
        (
            Edit(
                "widebeam/gap/fence.py",
                'target.execute("DELETE FROM widebeam.tombstones WHERE connector = %s", name)',
                "pass",
            ),
        ),
        (FENCED,),
    ),
    Protection(
        "over a gap: positions of the new history",
        ("over a gap", "truncate"),
        (Edit("widebeam/gap/cross.py", "_rebase(target, connector, cutoff.lsn)\n", "pass\n"),),
        (FENCED,),
    ),
    Protection(
        "a gap clears nothing unasked",
        ("over a gap",),
        (Edit("widebeam/gap/cross.py", "if agree is not None and (loss :=", "if False and (loss :="),),
        (CROSS + "what_only_a_table_that_was_renamed_away_holds_is_not_cleared_unasked",),
    ),
    Protection(
        "limits of roles are not ours",
        ("session limits",),
        (Edit("cdc/source/session.py", "connection.execute(_UNLIMITED)", "pass"),),
        ("tests/cdc/source/test_pinned.py::test_limits_of_a_role_or_a_database_are_not_ours",),
    ),
    Protection(
        "a password is read anew",
        ("password rotated",),
        (Edit("cdc/source/session.py", "with suppress(OSError):", "if False:"),),
        (
            "tests/cdc/source/test_pinned.py::test_a_password_that_was_rotated_in_its_file_is_read_by_the_next_connection",
        ),
    ),
    Protection(
        "a target that takes no writes is waited for",
        ("read-only target", "disk full"),
        (Edit("sink/session.py", "found is not None and found.fate is Fate.WAITS:", "False:"),),
        ("tests/sink/test_run.py::test_a_target_that_is_read_only_is_waited_for_however_long_and_the_wait_is_told",),
    ),
    Protection(
        "whose an error is",
        ("read-only target",),
        (Edit("cdc/fault.py", "setattr(error, _MARK, whose)", "pass"),),
        ("tests/cdc/test_fate.py::test_an_error_is_of_the_innermost_session_that_claims_it",),
    ),
    Protection(
        "refusals count by time",
        ("password rotated",),
        (Edit("widebeam/process/restarts.py", "(death.outside or death.refused)", "death.outside"),),
        (SUPERVISE + "a_part_that_is_not_let_in_is_waited_for_by_time_and_not_by_number",),
    ),
    Protection(
        "a chunk that a standby cancels",
        ("standby conflict",),
        (Edit("snapshot/worker.py", "case Fate.CONFLICT:", "case Fate.GONE:"),),
        (
            "tests/snapshot/test_standby.py::"
            "test_a_chunk_that_a_standby_cancels_is_no_failure_and_is_read_from_the_primary_in_the_end",
        ),
        r"cdc.halt.Halt",
    ),
    Protection(
        "whom a new slot waits for",
        ("slot waits",),
        (Edit("cdc/source/slot.py", "with slot_waits.told(dsn, slot):", "if True:"),),
        ("tests/cdc/source/test_slot_waits.py::test_whoever_keeps_a_slot_from_being_made_is_named_while_it_is",),
        GIVES_UP,
    ),
    Protection(
        "an unfinished slot is ended",
        ("slot waits", "crash in set-up"),
        (Edit("cdc/source/slot.py", "slot_waits.abandon(connection, slot)", "pass"),),
        (
            "tests/cdc/source/test_slot_waits.py::"
            "test_a_slot_that_is_still_being_made_for_somebody_who_is_gone_is_no_hindrance",
        ),
        r"psycopg.errors.ObjectInUse",
    ),
    Protection(
        "dead standbys are named",
        ("slot waits",),
        (Edit("cdc/source/slot_waits.py", "    if not behind:\n", "    if True:\n"),),
        ("tests/cdc/source/test_slot_waits.py::test_a_stream_that_waits_for_a_dead_standby_names_it_and_the_ways_out",),
        GIVES_UP,
    ),
    Protection(
        "a backfill that fails ends no stream",
        ("part fails", "backfill dies"),
        (Edit("widebeam/run/supervise.py", "case 3 if end.part.beside:", "case 3 if False:"),),
        (SUPERVISE + "a_backfill_that_fails_ends_no_stream_that_is_well_and_is_told_at_the_end[halts]",),
        GIVES_UP + r"|KeyError|IndexError",
    ),
)
