"""Protections of capture: what it tells the slot, what it makes of the stream, how it hands over."""

from __future__ import annotations

from typing import Final

from tests.protections.protection import Edit, Protection

ACK: Final = "tests/cdc/wire/test_ack.py::test_"
RUN: Final = "tests/cdc/test_run.py::test_"
ASSEMBLER: Final = "tests/cdc/record/test_assembler.py::test_"
SLOT: Final = "tests/cdc/source/test_slot.py::test_"
PREPARE: Final = "tests/widebeam/setup/test_prepare.py::test_"
KAFKA: Final = "tests/cdc/log/test_kafka.py::test_"

CAPTURE: Final = (
    Protection(
        "the log has what it confirmed",
        ("log incomplete", "topic recreated"),
        (Edit("cdc/log/kafka.py", "        if lost:\n", "        if False:\n"),),
        ("tests/cdc/test_lost_records.py::test_capture_halts_when_the_log_has_lost_what_it_had_confirmed",),
    ),
    Protection(
        "contiguous flush",
        ("death between acks", "capture dies", "broker down"),
        (
            Edit(
                "cdc/wire/ack.py",
                "while self._finished and self._finished[0].until <= self._low:",
                "while self._finished:",
            ),
        ),
        (
            ACK + "a_later_transaction_waits_for_an_earlier_one",
            RUN + "confirmed_flush_never_passes_what_is_not_delivered",
        ),
    ),
    Protection(
        "no half transaction",
        ("death between acks", "capture dies"),
        (Edit("cdc/wire/ack.py", "return not self._open and not self._finished", "return not self._finished"),),
        (ACK + "a_delivered_part_of_an_open_transaction_is_not_acknowledged",),
    ),
    Protection(
        "idle keepalive",
        ("idle table",),
        (Edit("cdc/wire/ack.py", "max(self._acknowledged, wal_end)", "self._acknowledged"),),
        (ACK + "a_keepalive_counts_only_with_nothing_in_flight",),
    ),
    Protection(
        "keepalive only when idle",
        ("death between acks",),
        (Edit("cdc/wire/ack.py", "if self.idle:", "if True:"),),
        (ACK + "a_keepalive_counts_only_with_nothing_in_flight",),
    ),
    Protection(
        "journal never back",
        ("capture dies", "slot ahead"),
        (Edit("cdc/journal.py", "greatest(acknowledged, %s::pg_lsn)", "%s::pg_lsn"),),
        (RUN + "the_journal_fences_an_older_generation",),
    ),
    Protection(
        "journal fenced",
        ("slot in use", "capture frozen"),
        (Edit("cdc/journal.py", "WHERE connector = %s AND generation = %s", "WHERE connector = %s AND 0 < %s"),),
        (RUN + "the_journal_fences_an_older_generation",),
    ),
    Protection(
        "feedback under back-pressure",
        ("broker down", "large transaction"),
        (
            Edit(
                "cdc/run.py",
                "_hear(_PUSHED_BACK)\n        self._report_if_due()",
                "_hear(_PUSHED_BACK)",
            ),
        ),
        (RUN + "pushing_back_does_not_keep_the_server_from_hearing_of_us",),
    ),
    Protection(
        "failed delivery ends the run",
        ("broker down",),
        (Edit("cdc/log/kafka.py", "elif self._failure is None:\n            self._failure", "else:\n            _"),),
        (KAFKA + "a_record_without_a_broker_fails_after_the_delivery_time_out",),
    ),
    Protection(
        "standing by",
        ("slot in use", "two runs"),
        (
            Edit("cdc/standby.py", "if state.active_pid is not None and not ours:", "if False:"),
            Edit("cdc/standby.py", "(SlotInUse, psycopg.errors.ObjectInUse)", "SlotInUse"),
        ),
        (RUN + "a_second_capture_stands_by_and_takes_over",),
    ),
    Protection(
        "slot looked at",
        ("slot gone",),
        (Edit("cdc/source/slot.py", 'if state.invalidation is not None or state.wal_status == "lost":', "if False:"),),
        (SLOT + "a_slot_that_cannot_go_on_halts",),
    ),
    Protection(
        "slot ahead halts",
        ("slot ahead",),
        (Edit("cdc/source/slot.py", "if state.confirmed_flush > recorded:", "if False:"),),
        (SLOT + "a_slot_that_cannot_go_on_halts", PREPARE + "a_slot_that_somebody_else_moved_halts"),
    ),
    Protection(
        "incarnation",
        ("other incarnation",),
        (Edit("cdc/source/slot.py", "if recorded != found:", "if False:"),),
        (SLOT + "another_incarnation_halts",),
    ),
    Protection(
        "publication looked at",
        ("not published",),
        (Edit("cdc/source/publication.py", "if found is not None and found.whole:", "if True:"),),
        (PREPARE + "a_recorded_publication_that_is_gone_halts",),
    ),
    Protection(
        "catalog watch",
        ("not published", "publication altered"),
        (Edit("cdc/watch.py", "self.found = halt", "pass"),),
        (RUN + "a_table_taken_out_of_the_publication_halts_the_running_capture",),
    ),
    Protection(
        "journal first",
        ("slot ahead", "capture dies"),
        (Edit("cdc/run.py", "self._stream.report(self._told)", "self._stream.report(self._ack.acknowledged)"),),
        (RUN + "while_the_journal_cannot_be_written_the_slot_stays_where_it_is",),
    ),
    Protection(
        "a silent server is dead",
        ("bad network", "walsender ends"),
        (
            Edit(
                "cdc/wire/stream.py",
                "        if silent > self._patience * (self._looks + 1):",
                "        if False:",
            ),
        ),
        (RUN + "a_server_that_is_silent_for_as_long_as_it_would_wait_for_us_ends_the_stream",),
    ),
    Protection(
        "keepalives prolong no waiting",
        ("idle table",),
        (Edit("cdc/wire/stream.py", "self._wait(deadline - time.monotonic())", "self._wait(timeout)"),),
        ("tests/cdc/wire/test_silence.py::test_keepalives_do_not_prolong_the_waiting_and_one_that_asks_ends_it",),
    ),
    Protection(
        "a new generation each run",
        ("capture dies", "walsender ends"),
        (Edit("cdc/journal.py", "SET generation = generation + 1", "SET generation = greatest(generation, 1)"),),
        (RUN + "a_failed_delivery_ends_the_run_and_the_next_one_brings_everything_again",),
    ),
    Protection(
        "a clean stop drains",
        ("SIGTERM",),
        (Edit("cdc/run.py", "while self._ack.in_flight and time.monotonic() < deadline:", "while False:"),),
        (RUN + "a_clean_stop_drains_and_acknowledges",),
    ),
)
