"""Protections against what the source's catalog does without an event, and against what `widebeam check` refuses."""

from __future__ import annotations

from typing import Final

from tests.protections.protection import ASSERTED, Edit, Protection

SURVEY: Final = "tests/widebeam/setup/test_survey.py::test_"
GENERATED: Final = (
    "tests/widebeam/check/test_remedies.py::"
    "test_beside_a_full_identity_generated_columns_do_not_make_the_applications_updates_fail"
)
UNDONE: Final = SURVEY + "what_can_be_undone_halts_and_once_undone_goes_on[18]"
ASSEMBLER: Final = "tests/cdc/record/test_assembler.py::test_"
RELATIONS: Final = "tests/cdc/record/test_relations.py::test_"
CHECK: Final = "tests/widebeam/check/test_check.py::test_"
REMEDIES: Final = "tests/widebeam/check/test_remedies.py::test_"
BROKEN: Final = CHECK + "a_broken_table_is_found_and_its_remedy_mends_it"
UNFIT: Final = CHECK + "what_cannot_be_carried_is_refused"

CATALOG: Final = (
    Protection(
        "a truncate of the whole is no loss of its partitions",
        ("truncate", "partition attached"),
        (Edit("widebeam/setup/survey.py", "rewritten = {}  # the stream has told of it", "pass"),),
        (SURVEY + "a_truncate_of_the_whole_table_leaves_no_notice_of_its_partitions[18]",),
        ASSERTED,
    ),
    Protection(
        "the table by its oid",
        ("table replaced",),
        (Edit("cdc/source/facts.py", "if now.oid != before.oid:", "if False:"),),
        (UNDONE,),
    ),
    Protection(
        "the stream's table by its oid",
        ("table replaced",),
        (Edit("cdc/record/layout.py", "if now.oid != before.oid:", "if False:"),),
        (RELATIONS + "another_table_of_the_same_name_halts",),
    ),
    Protection(
        "the written down oid in the stream",
        ("table replaced",),
        (Edit("cdc/record/relations.py", "self._oids.get(table.qualified, relation.oid) != relation.oid", "False"),),
        (RELATIONS + "another_table_of_the_name_that_was_written_down_halts_at_its_first_change",),
    ),
    Protection(
        "renamed away in the stream",
        ("table replaced",),
        (
            Edit(
                "cdc/record/relations.py",
                "if name is not None and name != now:",
                "if False:",
            ),
        ),
        (RELATIONS + "a_table_that_was_renamed_away_halts",),
    ),
    Protection(
        "types in the stream",
        ("type rewritten",),
        (Edit("cdc/record/layout.py", "    if changed:\n", "    if False:\n"),),
        (RELATIONS + "an_altered_type_halts", RELATIONS + "a_type_whose_precision_was_altered_halts"),
    ),
    Protection(
        "types in the catalog",
        ("type rewritten", "column generated"),
        (Edit("cdc/source/facts.py", "if found != was:", "if False:"),),
        (UNDONE, SURVEY + "a_column_that_is_dropped_and_made_anew_halts"),
    ),
    Protection(
        "columns looked for",
        ("column generated",),
        (
            Edit(
                "cdc/source/facts.py",
                "if found is None:\n            raise",
                "if found is None:\n            continue\n            raise",
            ),
        ),
        (UNDONE,),
    ),
    Protection(
        "children looked for",
        ("inheritance",),
        (
            Edit(
                "cdc/source/facts.py", 'if kind == "r" and not is_partition and name != table.table_name:', "if False:"
            ),
        ),
        (UNDONE,),
    ),
    Protection(
        "partitions of other kinds",
        ("partition attached",),
        (Edit("cdc/source/facts.py", 'if leaf_kind != "r":', "if False:"),),
        (SURVEY + "a_partition_that_is_no_plain_table_halts[18]",),
    ),
    Protection(
        "attached rows are filled in",
        ("partition attached",),
        (Edit("widebeam/setup/survey.py", "if plans:", "if False:"),),
        (SURVEY + "rows_of_an_attached_partition_come_by_chunks_once_all_that_is_older_is_applied[18]",),
    ),
    Protection(
        "attached rows wait for a barrier",
        ("partition attached",),
        (Edit("widebeam/setup/survey.py", "return barrier.passed(target, name, waiting[1])", "return True"),),
        (SURVEY + "rows_of_an_attached_partition_come_by_chunks_once_all_that_is_older_is_applied[18]",),
    ),
    Protection(
        "partitions that go are told",
        ("partition attached",),
        (
            Edit(
                "widebeam/setup/survey.py", "[_gone(table, leaf) for leaf in facts.gone(before, now)]", "list[Notice]()"
            ),
        ),
        (SURVEY + "partitions_that_go_leave_their_rows_and_a_notice[18]",),
    ),
    Protection(
        "rows written anew are a doubt",
        ("type rewritten", "partition attached"),
        (
            Edit(
                "cdc/source/facts.py",
                "if oid in before.leaves and before.leaves[oid].filenode != leaf.filenode",
                "if False",
            ),
        ),
        (SURVEY + "rows_that_are_written_anew_are_a_doubt[18]",),
    ),
    Protection(
        "publication altered and put right",
        ("publication altered",),
        (Edit("cdc/source/facts.py", "if now.entry != before.entry:", "if False:"),),
        (SURVEY + "a_publication_that_was_altered_halts_even_when_it_was_put_right_before_anybody_looked[18]",),
    ),
    Protection(
        "updates that would fail",
        ("update made to fail", "replica identity"),
        (Edit("cdc/source/publication.py", "if refused or not identity.holds(table):", "if False:"),),
        (SURVEY + "an_identity_that_makes_the_applications_own_update_fail_halts_with_what_mends_it[18]", UNDONE),
    ),
    Protection(
        "generated columns under FULL are published",
        ("update made to fail",),
        (Edit("cdc/source/publication.py", '", publish_generated_columns = stored" if', '"" if'),),
        (GENERATED + "[False-STORED]",),
        r"cdc\.halt\.Halt: the replica identity full|" + ASSERTED,
    ),
    Protection(
        "check: generated columns under FULL",
        ("update made to fail", "bad publication"),
        (Edit("cdc/source/identity.py", 'return "v" in needed or ("s" in needed and not stored)', "return False"),),
        (GENERATED + "[True-STORED]", GENERATED + "[False-VIRTUAL]", GENERATED + "[True-VIRTUAL]"),
    ),
    Protection(
        "catalog before the first change",
        ("table replaced", "publication altered"),
        (
            Edit(
                "cdc/watch.py",
                "self._soon = self._look()\n        self._thread",
                "self._soon = False\n        self._thread",
            ),
        ),
        ("tests/cdc/test_run.py::test_the_catalog_is_looked_at_before_a_change_is_read",),
    ),
    Protection(
        "an unknown cell in the stream",
        ("replica identity",),
        (Edit("cdc/record/change.py", "if not full and None in at.cell(old):", "if False:"),),
        (ASSEMBLER + "an_old_key_that_lacks_the_cell_halts",),
    ),
    Protection(
        "updates while the identity lacked the cell",
        ("replica identity",),
        (Edit("cdc/record/change.py", "    if at.lacking:\n", "    if False:\n"),),
        (ASSEMBLER + "a_change_under_an_identity_that_lacked_the_cell_halts_and_says_the_way_over",),
    ),
    Protection(
        "check: replication right",
        ("bad server",),
        (Edit("widebeam/check/server.py", "    if not may:\n", "    if False:\n"),),
        (CHECK + "a_role_without_rights_hears_of_each_and_the_remedies_mend_them",),
        r"AssertionError|assert |TypeError",
    ),
    Protection(
        "check: SELECT",
        ("bad server",),
        (Edit("widebeam/check/table.py", "if not (readable and readable[0]):", "if False:"),),
        (CHECK + "a_role_without_rights_hears_of_each_and_the_remedies_mend_them",),
    ),
    Protection(
        "check: encoding",
        ("bad server",),
        (Edit("widebeam/check/server.py", 'if found != "UTF8":', "if False:"),),
        (CHECK + "a_database_in_another_encoding_is_found_on_both_sides",),
    ),
    Protection(
        "check: unlogged",
        ("bad key",),
        (Edit("widebeam/check/table.py", 'if persistence != "p":', "if False:"),),
        (BROKEN + "[unlogged]",),
    ),
    Protection(
        "check: unique key",
        ("bad key",),
        (
            Edit(
                "widebeam/check/identity.py",
                "if any(sorted(columns) == cell",
                "if True or any(sorted(columns) == cell",
            ),
        ),
        (BROKEN + "[no_unique_index]",),
    ),
    Protection(
        "check: replica identity",
        ("bad key", "replica identity"),
        (Edit("widebeam/check/identity.py", "if not carried.holds(connector.table):", "if False:"),),
        (
            BROKEN + "[identity_nothing]",
            BROKEN + "[identity_by_a_surrogate_key]",
            BROKEN + "[identity_of_one_partition]",
        ),
    ),
    Protection(
        "a deferrable key is no identity",
        ("replica identity", "update made to fail"),
        (Edit("cdc/source/identity.py", "AND i.indisvalid AND i.indimmediate", ""),),
        (REMEDIES + "whatever_the_identity_after_the_remedies_a_publication_of_ours_breaks_no_write",),
        r"psycopg.errors.ObjectNotInPrerequisiteState|AssertionError|assert ",
    ),
    Protection(
        "FULL meets no column list",
        ("update made to fail",),
        (
            Edit(
                "cdc/source/identity_remedy.py",
                "each.columns is None for each in others\n    )",
                "True for each in others\n    )",
            ),
        ),
        (REMEDIES + "whatever_the_identity_after_the_remedies_a_publication_of_ours_breaks_no_write",),
        r"psycopg.errors|cdc.halt.Halt|AssertionError|assert ",
    ),
    Protection(
        "check: a parent's own rows",
        ("inheritance",),
        (
            Edit(
                "widebeam/check/inheritance.py",
                'if session.execute(sql.SQL("SELECT EXISTS',
                'if False and session.execute(sql.SQL("SELECT EXISTS',
            ),
        ),
        (REMEDIES + "rows_of_a_parents_own_are_not_left_out_and_after_the_remedy_none_is_gone",),
        r"StopIteration|AssertionError|assert ",
    ),
    Protection(
        "check: what is written down",
        ("bad option",),
        (Edit("widebeam/check/made.py", "if halt is not None:", "if False:"),),
        ("tests/widebeam/check/test_made.py::test_a_halt_is_shown_with_its_way_on",),
        r"ValueError|AssertionError|assert ",
    ),
    Protection(
        "check: foreign slot",
        ("foreign slot",),
        (
            Edit(
                "widebeam/check/server.py",
                "(plugin, here, kind, temporary) !=",
                "False and (plugin, here, kind, temporary) !=",
            ),
        ),
        (UNFIT + "[a_slot_of_another_plugin]",),
    ),
    Protection(
        "check: operations published",
        ("bad publication",),
        (Edit("widebeam/check/publication.py", "    if there.lacks_ops:\n", "    if False:\n"),),
        (BROKEN + "[publication_without_deletes]",),
    ),
    Protection(
        "check: row filter",
        ("bad publication",),
        (Edit("widebeam/check/publication.py", "if listed.row_filter is not None:", "if False:"),),
        (BROKEN + "[publication_with_a_row_filter]",),
    ),
    Protection(
        "check: columns published",
        ("bad publication",),
        (Edit("widebeam/check/publication.py", "    if lacking:\n", "    if False:\n"),),
        (BROKEN + "[publication_without_a_column]",),
    ),
    Protection(
        "check: partitions under the table's name",
        ("bad publication", "partition attached"),
        (Edit("widebeam/check/publication.py", "    if roots:\n", "    if False:\n"),),
        (BROKEN + "[publication_of_partitions]",),
    ),
)
