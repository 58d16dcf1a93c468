"""Protections of a connector's life: set-up, the supervisor, halts, going back, dropping, secrets."""

from __future__ import annotations

from typing import Final

from tests.protections.protection import Edit, Protection

SUPERVISE: Final = "tests/widebeam/test_supervise.py::test_"
SIGNALS: Final = "tests/widebeam/test_signals.py::test_"
PREPARE: Final = "tests/widebeam/test_prepare.py::test_"
DROP: Final = "tests/widebeam/test_drop.py::test_"
CONFIG: Final = "tests/widebeam/test_config.py::test_"
REWIND: Final = "tests/sink/test_rewind.py::test_"
LOG: Final = "tests/widebeam/test_log.py::test_"
GIVES_UP: Final = r"Failed: Timeout|AssertionError|assert |Failed: DID NOT RAISE"

OPERATION: Final = (
    Protection(
        "parts start again",
        ("part fails", "capture dies", "backfill dies"),
        (Edit("widebeam/supervise.py", "self._due[end.part.name] = time.monotonic() + delay", "raise SystemExit(1)"),),
        (SUPERVISE + "a_part_that_is_killed_starts_again",),
        r"SystemExit",
    ),
    Protection(
        "the same failure halts",
        ("part fails",),
        (Edit("widebeam/restarts.py", "if self.same >= MOST:", "if self.same >= MOST * 1000:"),),
        (SUPERVISE + "only_numbers_differ_is_the_same_failure_and_a_long_run_forgives",),
    ),
    Protection(
        "parts drain at SIGTERM",
        ("SIGTERM",),
        (Edit("widebeam/supervise.py", "self._tell(signal.SIGTERM)", "self._tell(signal.SIGKILL)"),),
        (SUPERVISE + "a_signal_lets_the_parts_drain_and_is_no_error",),
    ),
    Protection(
        "no part outlives a killed supervisor",
        ("SIGTERM", "two runs"),
        (Edit("widebeam/child.py", "ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))", "pass"),),
        (SUPERVISE + "a_part_dies_with_a_supervisor_that_was_killed",),
    ),
    Protection(
        "signals by a thread",
        ("SIGTERM",),
        (
            Edit(
                "widebeam/cli/part.py",
                "    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)\n",
                "    signal.signal(signal.SIGTERM, lambda *_: stop.set())\n",
            ),
        ),
        (SIGNALS + "a_second_signal_ends_a_part_that_does_not_come_to_its_end",),
        r"subprocess.TimeoutExpired|AssertionError|assert ",
    ),
    Protection(
        "only one sets up",
        ("two runs", "crash in set-up"),
        (
            Edit(
                "widebeam/prepare.py",
                "SELECT pg_advisory_lock(hashtextextended(%s, 0))",
                "SELECT hashtextextended(%s, 0)",
            ),
        ),
        (PREPARE + "only_one_sets_up_at_a_time",),
    ),
    Protection(
        "an unrecorded slot is made anew",
        ("crash in set-up",),
        (Edit("widebeam/prepare.py", "slot.drop(source, connector.slot)\n", "return\n"),),
        (PREPARE + "a_crash_between_slot_and_record_makes_the_slot_anew",),
        r"assert |AssertionError|cdc.halt.Halt",
    ),
    Protection(
        "the slot is read before the record",
        ("slot ahead", "two runs"),
        (
            Edit(
                "widebeam/prepare.py",
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
        (Edit("widebeam/prepare.py", "if slot.inspect(source, connector.slot) is not None:", "if False:"),),
        (PREPARE + "a_foreign_slot_of_our_name_is_left_alone",),
    ),
    Protection(
        "an unsafe change of the mapping",
        ("bad option",),
        (
            Edit(
                "widebeam/prepare.py",
                "halts.refuse_lasting(target, connector.name)\n    recorded.refuse_changes(found, connector)",
                "halts.refuse_lasting(target, connector.name)",
            ),
        ),
        (PREPARE + "an_unsafe_change_of_the_mapping_is_refused",),
    ),
    Protection(
        "drop fences the sinks",
        ("crash in set-up",),
        (
            Edit(
                "widebeam/drop.py",
                'target.execute("DELETE FROM widebeam.progress WHERE connector = %s", [connector])',
                "pass",
            ),
        ),
        (DROP + "interrupted_after_any_step_nothing_goes_on_and_drop_does",),
    ),
    Protection(
        "a running connector is not dropped",
        ("two runs",),
        (Edit("widebeam/drop.py", "if state is not None and state.active_pid is not None:", "if False:"),),
        (DROP + "a_running_connector_is_not_dropped",),
        r"Failed: DID NOT RAISE|psycopg.errors.ObjectInUse",
    ),
    Protection(
        "drop is written down",
        ("audit",),
        (Edit("widebeam/drop.py", '_audit(target, connector, "drop", done._asdict())', "pass"),),
        (DROP + "the_audit_log_can_be_kept",),
        r"assert |AssertionError|TypeError",
    ),
    Protection(
        "a replay starts where the rule was",
        ("replay",),
        (
            Edit(
                "sink/rewind.py",
                "return start._replace(next_sequence=place.stamp.sequence, high=mark.high)",
                "return start._replace(next_sequence=place.stamp.sequence, high=Lsn(0))",
            ),
        ),
        (REWIND + "a_second_replay_before_the_first_has_come_to_its_end_is_no_different",),
    ),
    Protection(
        "a replay knows zombies",
        ("replay",),
        (Edit("sink/rewind.py", "if place.stamp.generation == mark.generation:", "if True:"),),
        (REWIND + "a_zombie_s_record_at_the_point_does_not_become_the_generation_that_counts",),
    ),
    Protection(
        "unknown options",
        ("bad option",),
        (Edit("widebeam/options.py", 'ConfigDict(extra="forbid"', 'ConfigDict(extra="ignore"'),),
        (CONFIG + "an_unknown_option_is_an_error_that_names_file_section_and_the_nearest_one",),
    ),
    Protection(
        "a column plays one part",
        ("bad option",),
        (Edit("widebeam/config.py", "if some.count(name) > 1})", "if some.count(name) > 2})"),),
        (CONFIG + "a_column_cannot_play_two_parts",),
    ),
    Protection(
        "no secret in the file",
        ("secret given",),
        (
            Edit(
                "widebeam/config.py",
                "mistakes += [*secrets_in_file(raw, file), *strangers(env)]",
                "mistakes += strangers(env)",
            ),
        ),
        (CONFIG + "a_secret_in_the_file_is_refused_and_not_shown",),
    ),
    Protection(
        "passwords are struck out",
        ("secrets",),
        (
            Edit(
                "widebeam/log.py", r'return _URL_PASSWORD.sub(r"\1***@", _SECRET.sub(r"\1\2***", text))', "return text"
            ),
        ),
        (LOG + "what_looks_like_a_password_is_struck_out",),
    ),
)
