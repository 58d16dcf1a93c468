"""Each place that tells a way on is named here, with the test that goes it, or with the reason why none can.

A place is a call of what carries remedies: a finding of `check`, a halt, a refusal, a verdict of `status`. A new one,
or one more in a function, has no line here, and fails until somebody has thought about who runs what it says.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
CARRIERS: Final = ("Finding", "Halt", "Refusal", "Verdict")

OWNER: Final = "test_the_owner_mends_it_by_what_is_printed_and_writes_on"
FILE: Final = "test_what_is_to_stand_in_the_file_is_what_mends_it"
ALL_WRONG: Final = "test_a_server_where_all_is_wrong_says_all_at_once_and_is_mended_by_what_it_says"
WITHOUT: Final = "test_a_role_without_rights_hears_of_each_and_the_remedies_mend_them"
TOPIC: Final = "test_a_topic_that_would_lose_records_is_found_and_keeps_them_after_what_is_printed"
DATABASES: Final = "test_a_cause_in_the_databases_halts_and_its_remedy_goes_on"
AT_WORK: Final = "test_a_cause_that_comes_about_at_work_ends_the_run_and_its_remedy_goes_on"
LOG: Final = "test_a_cause_in_the_log_halts_and_its_remedy_goes_on"
UNDONE: Final = "test_what_can_be_undone_halts_and_once_undone_goes_on"
LONG: Final = "test_a_topic_that_a_person_made_after_ours_was_refused_stays_and_the_remedy_for_a_long_record_works"
FOREIGN: Final = "test_a_slot_of_somebody_elses_is_avoided_or_dropped_as_it_is_said"

PASSED_ON: Final = "passes on what another place says"
COMMAND: Final = "names one command, without an argument of its own, that has its own tests"
DEFECT: Final = "a defect: it asks for a report"
UPGRADE: Final = "another version, server or package has to be installed"
ELSEWHERE: Final = "names another server or client: which one, only a person knows"
SAME: Final = "the same command as in test_halts, after another cause"

PLACES: Final[dict[str, tuple[str, ...]]] = {
    "cdc/log/direct.py::MemoryPublisher.publish": ("a value of that length has to be made shorter first",),
    "cdc/log/kafka.py::KafkaPublisher._failed": (TOPIC,),
    "cdc/log/kafka.py::KafkaPublisher._too_large": (LONG,),
    "cdc/log/kafka.py::KafkaPublisher.has": (LOG,),
    "cdc/log/topic.py::check": (LOG, LOG, LOG, LOG),
    "cdc/record/assembler.py::Assembler._truncate": (DATABASES,),
    "cdc/record/assembler.py::_astray": (DEFECT,),
    "cdc/record/change.py::_check_identity": (DATABASES,),
    "cdc/record/change.py::_filled": (SAME,),
    "cdc/record/change.py::_removed": (SAME,),
    "cdc/record/layout.py::_check_same": (UNDONE, UNDONE),
    "cdc/record/layout.py::layout": (UNDONE,),
    "cdc/record/relations.py::Relations._refuse_renamed": (UNDONE,),
    "cdc/record/relations.py::Relations._refuse_replaced": (SAME,),
    "cdc/run.py::_Run.go": (DEFECT,),
    "cdc/source/described.py::describe": (UNDONE, UNDONE),
    "cdc/source/facts.py::_changed": (UNDONE,),
    "cdc/source/facts.py::check_entry": (AT_WORK,),
    "cdc/source/publication.py::check": (AT_WORK,),
    "cdc/source/publication.py::check_covers": (
        "test_the_way_on_from_an_identity_that_was_made_unusable_lets_the_application_write_again",
    ),
    "cdc/source/publication.py::entry": (
        "test_whatever_the_identity_after_the_remedies_a_publication_of_ours_breaks_no_write",
    ),
    "cdc/source/slot.py::check": (AT_WORK, DATABASES, DATABASES, DATABASES),
    "cdc/source/slot.py::check_incarnation": ("test_without_the_slot_a_failover_halts_and_the_gap_is_mended",),
    "sink/state/halts.py::given_up": ("test_deaths_by_the_same_cause_halt_with_it_and_the_printed_remedy_goes_on",),
    "sink/state/halts.py::log_ends_before": (SAME,),
    "sink/state/halts.py::log_gone": (LOG,),
    "sink/state/halts.py::log_incomplete": (SAME,),
    "sink/state/halts.py::partitions_changed": (LOG,),
    "sink/state/halts.py::retention_gap": (LOG,),
    "sink/state/halts.py::truncated": ("each policy has its test (tests/sink/test_run.py), not after the halt",),
    "sink/wide/registry.py::Registry._in_vain": ("a session has to be ended that only its owner knows",),
    "sink/wide/registry.py::Registry.check": (DATABASES,),
    "sink/wide/registry.py::Registry.cover": ("a session has to be ended that only its owner knows",),
    "snapshot/join.py::Joiner._amiss": (
        "test_a_table_that_cannot_join_gets_a_while_and_then_halts_with_what_is_amiss",
        "how a table is to be altered, its owner decides",
    ),
    "snapshot/run.py::Backfill._verdict": (
        "test_a_chunk_that_fails_is_given_up_at_last_and_done_when_the_cause_is_mended",
    ),
    "widebeam/advice/advice.py::absent_standbys": (
        "test_a_stream_that_waits_for_a_dead_standby_names_it_and_the_ways_out",
    ),
    "widebeam/advice/advice.py::idle_slot": ("test_settings_of_slots_are_changed_as_they_are_advised",),
    "widebeam/advice/advice.py::no_time_index": (
        "test_a_large_table_without_an_index_by_time_is_advised_one_and_none_once_it_is_there",
    ),
    "widebeam/advice/advice.py::taken_names": ("another schema or name has to be chosen by a person",),
    "widebeam/advice/advice.py::unbounded_slot": ("test_settings_of_slots_are_changed_as_they_are_advised",),
    "widebeam/advice/sample.py::without_reading": (
        "test_a_mapping_that_makes_nothing_of_the_rows_is_told_and_what_helps",
        "test_a_mapping_that_makes_nothing_of_the_rows_is_told_and_what_helps",
    ),
    "widebeam/check/cells.py::one_row_a_cell": (
        "test_two_tables_that_fill_one_cell_are_found_with_both_values_and_the_way_out",
    ),
    "widebeam/check/check.py::_side": (ELSEWHERE, ELSEWHERE, "what the server says is mended by who knows it"),
    "widebeam/check/identity.py::identity": (
        "test_beside_a_full_identity_generated_columns_do_not_make_the_applications_updates_fail",
        OWNER,
    ),
    "widebeam/check/identity.py::unique_cell": (
        "test_what_an_attempt_at_the_index_has_left_is_taken_away_with_the_next",
        OWNER,
    ),
    "widebeam/check/inheritance.py::_own_rows": (
        "test_rows_of_a_parents_own_go_into_a_child_with_numbers_that_the_server_gave_and_what_it_computes",
    ),
    "widebeam/check/inheritance.py::children": (
        "test_tables_that_inherit_are_read_one_by_one_and_the_application_sees_what_it_saw",
    ),
    "widebeam/check/kafka.py::_cluster": (
        TOPIC,
        "test_a_replication_factor_beyond_the_brokers_is_found",
        "which values the brokers take, their policy says",
    ),
    "widebeam/check/kafka.py::_denied": (
        "test_rights_that_topic_and_group_lack_are_named_by_check_and_given_as_it_is_printed",
    ),
    "widebeam/check/kafka.py::_topic": (TOPIC, TOPIC, TOPIC, TOPIC),
    "widebeam/check/kafka.py::broker_findings": (ELSEWHERE, ELSEWHERE),
    "widebeam/check/made.py::_as_finding": (PASSED_ON,),
    "widebeam/check/made.py::_findings": (
        PASSED_ON,
        PASSED_ON,
        "a standby has to come back, or to be taken out of a list, by who runs it",
    ),
    "widebeam/check/made.py::_shown": (PASSED_ON,),
    "widebeam/check/made.py::_tables": (PASSED_ON,),
    "widebeam/check/mapping.py::_two_ids_one_name": ("test_two_ids_of_one_name_are_two_keys_for_one_column",),
    "widebeam/check/mapping.py::alike": (PASSED_ON,),
    "widebeam/check/mapping.py::column_types": (
        FILE,
        FILE,
        "test_texts_that_are_to_be_numbers_and_are_numbers_are_taken_out",
    ),
    "widebeam/check/mapping.py::dictionary": (FILE, FILE, "test_an_id_with_two_names_is_found"),
    "widebeam/check/mapping.py::keys_apart": (
        "test_what_joins_keys_and_measures_has_to_tell_them_apart",
        "test_what_joins_keys_and_measures_has_to_tell_them_apart",
    ),
    "widebeam/check/mapping.py::tables_match": (FILE, "which of both is wrong, table or pattern, only a person knows"),
    "widebeam/check/publication.py::_can_be_made": (
        "test_a_publication_that_the_role_may_not_make_is_made_by_the_owner",
    ),
    "widebeam/check/publication.py::_settings": (OWNER,),
    "widebeam/check/publication.py::_tables": (OWNER,),
    "widebeam/check/server.py::encoding": ("a database has to be moved to another one",),
    "widebeam/check/server.py::own_slot": (
        "test_a_slot_of_another_plugin_or_database_is_avoided_by_the_setting_that_is_said",
    ),
    "widebeam/check/server.py::primary": (ELSEWHERE,),
    "widebeam/check/server.py::replication_right": (WITHOUT,),
    "widebeam/check/server.py::senders": (ALL_WRONG,),
    "widebeam/check/server.py::slots": (ALL_WRONG,),
    "widebeam/check/server.py::standby_findings": (ELSEWHERE, ELSEWHERE, ELSEWHERE),
    "widebeam/check/server.py::version": (UPGRADE,),
    "widebeam/check/server.py::wal_level": (ALL_WRONG,),
    "widebeam/check/table.py::_not_replicated": (
        "test_a_generated_column_is_published_or_what_it_is_made_of_is_named",
    ),
    "widebeam/check/table.py::columns_exist": (FILE,),
    "widebeam/check/table.py::logged": (OWNER,),
    "widebeam/check/table.py::may_read": (
        "test_the_owner_opens_what_is_closed_to_the_role",
        "test_the_owner_opens_what_is_closed_to_the_role",
        "test_row_security_is_passed_by_what_is_printed_and_still_holds_for_others",
    ),
    "widebeam/check/table.py::table_exists": (FILE, FILE),
    "widebeam/check/target.py::connections": (ALL_WRONG,),
    "widebeam/check/target.py::known": (UPGRADE,),
    "widebeam/check/target.py::locks": ("a setting and a restart, printed as those of the other settings are",),
    "widebeam/check/target.py::may_create": (WITHOUT, "test_a_schema_of_somebody_else_is_found"),
    "widebeam/check/target.py::may_stage": (WITHOUT,),
    "widebeam/check/target.py::readers": ("test_a_role_of_the_readers_is_made",),
    "widebeam/check/target.py::writable": (
        ELSEWHERE,
        "test_a_target_that_is_read_only_by_default_is_opened_to_our_role_and_to_no_other",
    ),
    "widebeam/check/types.py::texts_apart": (
        "test_entities_that_can_be_equal_without_being_the_same_text_are_refused",
    ),
    "widebeam/check/types.py::types": ("test_a_type_is_made_in_a_target_that_has_not_even_its_schema",),
    "widebeam/check/zones.py::zone_rules": (UPGRADE, UPGRADE),
    "widebeam/cli/check.py::check": ("a mistake of the file, whose text says what is right",),
    "widebeam/config/catalog.py::_one_kind": (PASSED_ON,),
    "widebeam/config/catalog.py::alike": (
        "test_a_time_zone_for_a_time_that_has_one_is_found",
        FILE,
        "a second connector has to be written",
    ),
    "widebeam/config/catalog.py::check": (UNDONE, SAME),
    "widebeam/config/catalog.py::sources": (FILE,),
    "widebeam/gap/remapping.py::_refuse_unheld": (SAME, "a publication that others made: they decide"),
    "widebeam/health/health_port.py::_taken": ("which port is free, only a person knows",),
    "widebeam/run/convergence.py::chunks_left": (COMMAND,),
    "widebeam/run/parts.py::_ours": (SAME,),
    "widebeam/run/supervise.py::Supervisor._failed": (
        "test_deaths_by_the_same_cause_halt_with_it_and_the_printed_remedy_goes_on",
    ),
    "widebeam/run/supervise.py::Supervisor._unread": (COMMAND,),
    "widebeam/setup/column_types.py::ColumnTypes.vouch": (SAME,),
    "widebeam/setup/failover.py::follow": ("test_without_the_slot_a_failover_halts_and_the_gap_is_mended",),
    "widebeam/setup/prepare.py::_slot": (
        "test_a_connector_that_is_dropped_while_its_slot_is_made_is_set_up_by_the_run_that_the_halt_names",
    ),
    "widebeam/setup/zone_rules.py::check": ("test_other_rules_of_a_zone_halt_every_part_until_the_gap_is_gone_over",),
    "widebeam/state/halts.py::recorded": (PASSED_ON,),
    "widebeam/state/refusals.py::foreign_slot": (FOREIGN,),
    "widebeam/state/refusals.py::half_dropped": ("test_interrupted_after_any_step_nothing_goes_on_and_drop_does",),
    "widebeam/state/refusals.py::unfinished": (
        "test_what_is_killed_in_the_middle_of_going_over_a_gap_or_back_goes_on_at_the_next_attempt",
    ),
    "widebeam/status/judge.py::_chunks": (COMMAND, COMMAND),
    "widebeam/status/judge.py::_dropping": (COMMAND,),
    "widebeam/status/judge.py::_halted": (PASSED_ON,),
    "widebeam/status/judge.py::_held_up": (COMMAND,),
    "widebeam/status/judge.py::_lost": (SAME, SAME),
    "widebeam/status/judge.py::_names_it": (COMMAND, "a process has to be ended, which a supervisor starts again"),
    "widebeam/status/judge.py::_nobody_applies": (COMMAND,),
    "widebeam/status/judge.py::_nobody_captures": ("a process of somebody else's has to be ended", COMMAND),
    "widebeam/status/judge.py::_quarantined": (COMMAND,),
    "widebeam/status/judge.py::_read_only": (ELSEWHERE,),
    "widebeam/status/judge.py::_silent": ("a process has to be ended, which a supervisor starts again",),
    "widebeam/status/judge.py::_stopped": (COMMAND,),
    "widebeam/status/judge.py::_tight": ("how much the disk can spare, only a person knows",),
    "widebeam/status/judge.py::_unreachable": (COMMAND,),
    "widebeam/status/judge.py::_waiting": (COMMAND,),
    "widebeam/status/judge.py::judge": ("says that it is well",),
}
"""A line for each function, and in it a test, or a reason in words, for each of its places in their order."""


def places(node: ast.AST, within: str) -> Iterator[str]:
    """The function of each place in a file, as path::name."""
    for child in ast.iter_child_nodes(node):
        inside = within
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            inside = f"{within}.{child.name}" if "::" in within and not within.endswith("::") else within + child.name
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id in CARRIERS:
            yield inside
        yield from places(child, inside)


def found() -> Counter[str]:
    files = (path for part in ("cdc", "sink", "snapshot", "widebeam") for path in sorted((ROOT / part).rglob("*.py")))
    return Counter(
        place for file in files for place in places(ast.parse(file.read_text()), f"{file.relative_to(ROOT)}::")
    )


def test_each_place_that_tells_a_way_on_names_the_test_that_goes_it_or_why_none_does() -> None:
    told, named = found(), Counter({place: len(each) for place, each in PLACES.items()})
    assert told - named == Counter(), "a way on that nobody has thought about: which test goes it?"
    assert named - told == Counter(), "it tells no way on any more"


def test_each_test_that_goes_a_way_on_is_there() -> None:
    tests = {
        name for file in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    given = {each for line in PLACES.values() for each in line}
    assert not {each for each in given if each.startswith("test_")} - tests
    assert not {each for each in given if not each.startswith("test_") and " " not in each}, "a reason is a sentence"
