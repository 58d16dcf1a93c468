"""Protections of what is answered and of the way on that is printed: checks, proofs, refusals, remedies."""

from __future__ import annotations

from typing import Final

from tests.protections.protection import ASSERTED, Edit, Protection

DROP: Final = "tests/widebeam/setup/test_drop.py::test_"
SHARED: Final = "tests/cdc/source/test_shared.py::test_"
UNFINISHED: Final = "tests/widebeam/verify/test_unfinished.py::test_"
GONE: Final = "tests/widebeam/verify/test_gone.py::test_"
TIMELESS: Final = "tests/widebeam/quarantine/test_timeless.py::test_"

ANSWERS: Final = (
    Protection(
        "verify: what is unfilled is left out",
        ("wrong answer",),
        (Edit("widebeam/verify/unfinished.py", "if not self.chunks:", "if True:"),),
        (UNFINISHED + "what_is_still_to_be_filled_in_is_left_out_and_the_rest_is_compared",),
    ),
    Protection(
        "verify: nothing is no proof",
        ("wrong answer",),
        (Edit("widebeam/verify/proof.py", "return self.right and self.cells > 0", "return self.right"),),
        (UNFINISHED + "an_empty_table_proves_nothing",),
    ),
    Protection(
        "verify: what is gone may stay as it was",
        ("wrong answer",),
        (Edit("widebeam/verify/gone.py", "same = (each.cells, each.total) == (run.cells, run.total)", "same = True"),),
        (GONE + "what_a_dropped_partition_leaves_is_a_range_that_may_stay_as_it_is",),
    ),
    Protection(
        "verify: gone is what has no row at all",
        ("wrong answer",),
        (Edit("widebeam/verify/gone.py", "there = frozenset(narrow)", "there = frozenset[Time]()"),),
        (GONE + "what_a_dropped_partition_leaves_is_a_range_that_may_stay_as_it_is",),
    ),
    Protection(
        "verify: what is gone was told",
        ("wrong answer",),
        (Edit("widebeam/verify/gone.py", "and (told or bool(self._acknowledged))", ""),),
        (GONE + "what_is_gone_without_a_notice_is_a_difference",),
    ),
    Protection(
        "an empty stretch is one chunk",
        ("estimate",),
        (
            Edit("snapshot/chunks/plan.py", "wish = 1 if stretch.empty else max(", "wish = max("),
            Edit("snapshot/chunks/plan.py", "if one.empty and other.empty:", "if False:"),
        ),
        ("tests/snapshot/chunks/test_plan.py::test_a_long_empty_stretch_is_one_chunk",),
    ),
    Protection(
        "an alarm names the column",
        ("wrong answer",),
        (Edit("widebeam/status/judge.py", "if refused is None or refused.entries < MANY or", "if True or"),),
        (
            "tests/widebeam/status/test_status.py"
            "::test_rows_of_which_most_go_to_the_quarantine_are_an_alarm_that_names_the_column",
        ),
    ),
    Protection(
        "a retry needs no time",
        ("wrong answer",),
        (Edit("sink/wide/partitions.py", "if mapping.partition_by is None:\n        return set()\n    at =", "at ="),),
        (
            TIMELESS + "a_retry_without_a_time_says_why_an_entry_stays_and_places_what_fits_by_now",
            TIMELESS + "a_gap_is_mended_without_a_time",
        ),
        r"IndexError",
    ),
    Protection(
        "a halt says which length helps",
        ("remedy",),
        (Edit("cdc/log/kafka.py", "megabytes = -(-(size + size // 4) // 2**20)", "megabytes = 1"),),
        (DROP + "a_record_that_is_too_long_goes_on_by_what_its_halt_says",),
        r"cdc\.halt\.Halt",
    ),
    Protection(
        "a person's topic stays",
        ("remedy",),
        (Edit("widebeam/setup/drop.py", 'if not found.settings.get("made_topic", True):', "if False:"),),
        (DROP + "a_topic_that_a_person_made_after_ours_was_refused_stays_and_the_remedy_for_a_long_record_works",),
    ),
    Protection(
        "brokers are asked before",
        ("bad option",),
        (Edit("cdc/log/topic.py", "if error.args[0].code() in _REFUSALS:", "if False:"),),
        (
            "tests/cdc/log/test_kafka.py::test_a_topic_that_the_brokers_do_not_make_is_refused_before_and_when_it_is_made",
        ),
        r"cimpl\.KafkaException",
    ),
    Protection(
        "settings that harm are refused",
        ("bad option",),
        (Edit("widebeam/config/options/parts.py", 'if plain in _REFUSED or plain.endswith("_cb"):', "if False:"),),
        ("tests/widebeam/config/test_config.py::test_settings_of_kafka_that_harm_are_refused_with_the_reason",),
    ),
    Protection(
        "every control table has a key",
        ("bad server",),
        (Edit("sink/control.sql", "ALTER TABLE widebeam.version ADD PRIMARY KEY (version);", "NULL;"),),
        (
            "tests/widebeam/state/test_control.py"
            "::test_under_a_publication_for_all_tables_an_older_schema_is_brought_up_to_date_and_a_run_goes_on",
        ),
        r"psycopg\.errors\.ObjectNotInPrerequisiteState|AssertionError|assert ",
    ),
    Protection(
        "a session's settings are read back",
        ("pool",),
        (Edit("cdc/source/session.py", "    if lost:\n", "    if False:\n"),),
        (SHARED + "a_pool_that_drops_the_settings_is_refused_by_name",),
        ASSERTED + "|error: failed on teardown",  # nobody closes the session that was not to be had
    ),
    Protection(
        "a session is nobody else's",
        ("pool",),
        (Edit("cdc/source/session.py", "if pid != connection.info.backend_pid and", "if False and"),),
        (SHARED + "a_pool_that_gives_our_session_to_others_is_refused_before_anything_is_set",),
        r"psycopg\.errors\.DivisionByZero",
    ),
    Protection(
        "check: the standby's session",
        ("pool",),
        (Edit("widebeam/check/check.py", "    found.extend(standby_findings(connector))\n", ""),),
        (
            SHARED + "check_looks_at_the_standby_too",
            "tests/widebeam/check/test_check.py::"
            "test_a_standby_of_the_source_itself_has_no_findings_and_one_of_another_system_is_named",
        ),
    ),
    Protection(
        "turns are on tables of ours",
        ("column waits",),
        (
            Edit(
                "sink/wide/ddl_lock.py",
                '"LOCK TABLE widebeam.turn_columns IN EXCLUSIVE MODE"',
                "\"SELECT pg_advisory_xact_lock(hashtext('widebeam.columns'))\"",
            ),
        ),
        ("tests/sink/wide/test_registry.py::test_who_may_only_connect_keeps_no_column_from_being_made",),
        r"psycopg\.errors\.LockNotAvailable",
    ),
    Protection(
        "a source that is gone has nobody at work",
        ("remedy",),
        (Edit("widebeam/setup/drop.py", "if source is None and lives:", "if False:"),),
        (DROP + "a_source_is_not_taken_for_gone_while_a_process_says_that_it_lives",),
    ),
    Protection(
        "a renamed file is noticed",
        ("wrong answer",),
        (Edit("widebeam/state/twins.py", "if slot == connector.slot or (", "if False and ("),),
        (DROP + "a_renamed_file_is_noticed_listed_and_the_connector_dropped_by_its_old_name",),
    ),
    Protection(
        "a notice ends with its cause",
        ("wrong answer",),
        (Edit("sink/state/notices.py", "kind IN ('filling', 'gone')", "kind = 'filling'"),),
        (
            "tests/widebeam/setup/test_survey.py"
            "::test_a_partition_that_comes_back_with_other_values_is_written_over_the_old_ones",
        ),
    ),
    Protection(
        "a truncate of the whole is no news",
        ("wrong answer", "truncate"),
        (Edit("widebeam/setup/survey.py", "if facts.all_rewritten(before, now) and", "if False and"),),
        ("tests/widebeam/setup/test_survey.py::test_a_truncate_of_the_whole_table_leaves_no_notice_of_its_partitions",),
    ),
    Protection(
        "check: a client of Kafka",
        ("bad option",),
        (Edit("widebeam/check/kafka.py", "if amiss is not None:", "if False:"),),
        (
            "tests/widebeam/check/test_check.py"
            "::test_a_client_that_librdkafka_does_not_make_is_found_before_a_part_dies_of_it",
        ),
    ),
    Protection(
        "check: rights of topic and group",
        ("bad option",),
        (Edit("widebeam/check/kafka.py", "lacking(admin, topic, connector.group, _SECONDS)", "list[Lacking]()"),),
        ("tests/widebeam/test_tls.py::test_one_right_that_is_denied_is_the_one_that_is_named",),
    ),
    Protection(
        "librdkafka says it once",
        ("broker down",),
        (Edit("cdc/log/said.py", "if now - at < AGAIN:", "if False:"),),
        ("tests/cdc/log/test_said.py::test_what_is_said_again_and_again_is_one_line_and_then_a_count",),
    ),
)
