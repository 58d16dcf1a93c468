"""Protections of cells in which several source rows can meet, and of tables that join with rows in them."""

from __future__ import annotations

from typing import Final

from tests.protections.protection import ASSERTED, Edit, Protection

ORIGIN: Final = "tests/sink/mapping/test_origin.py::test_"
REFUSED: Final = "tests/widebeam/test_refused.py::test_"
CHECK: Final = "tests/widebeam/check/test_mapping.py::test_"
JOINING: Final = "tests/widebeam/test_crowded_join.py::test_"
JOIN: Final = "tests/snapshot/test_join.py::test_"
BY_STREAM: Final = REFUSED + "rows_that_come_by_the_stream_are_told_and_what_is_left_of_them_holds_the_cell"
VERIFY: Final = REFUSED + "verify_names_a_cell_that_two_tables_fill_with_both_values_whatever_it_holds"
ONE_IS_NAMED: Final = ASSERTED + "|ValueError: (not enough|too many) values to unpack"
"""A test that names the one thing that is found, where there is none or another one, too."""

CELLS: Final = (
    Protection(
        "several tables can share a column",
        ("crowded cell",),
        (Edit("sink/mapping/origin.py", "and (several_tables or made(rule))", "and made(rule)"),),
        (ORIGIN + "rows_may_meet_where_tables_share_columns_or_keys_are_made_of_something",),
    ),
    Protection(
        "made keys can come to one column",
        ("crowded cell",),
        (Edit("sink/mapping/origin.py", "and (several_tables or made(rule))", "and several_tables"),),
        (
            ORIGIN + "rows_may_meet_where_tables_share_columns_or_keys_are_made_of_something",
            CHECK + "two_raw_keys_that_are_joined_to_one_are_found_in_one_table",
        ),
        ONE_IS_NAMED,
    ),
    Protection(
        "raw keys are origins",
        ("crowded cell",),
        (Edit("sink/mapping/origin.py", "if not made(rule):", "if True:"),),
        (REFUSED + "ids_that_come_to_one_name_while_it_runs_are_told_where_they_meet_and_not_where_they_follow",),
    ),
    Protection(
        "a second origin is written down",
        ("crowded cell",),
        (Edit("sink/state/origins.py", "    if several:\n", "    if False:\n"),),
        (ORIGIN + "who_meets_the_second_origin_of_a_column_shares_it_with_all",),
    ),
    Protection(
        "columns that others share are known",
        ("crowded cell",),
        (Edit("sink/state/origins.py", "if count != origins.shared:", "if False:"),),
        (ORIGIN + "who_meets_the_second_origin_of_a_column_shares_it_with_all",),
    ),
    Protection(
        "origins before rows",
        ("crowded cell",),
        (Edit("sink/state/sharing.py", "while self.origins is not None and", "while False and"),),
        (BY_STREAM,),
    ),
    Protection(
        "shared columns are read again",
        ("crowded cell",),
        (Edit("sink/fold/pivot.py", "if several or self._shared(reading, interpreter.rule, odd):", "if several:"),),
        (BY_STREAM,),
    ),
    Protection(
        "chunks know other origins",
        ("crowded cell", "chunk meets stream"),
        (
            Edit(
                "snapshot/fill/others.py",
                "return cls(target, source_dsn, mapping, dictionary) if may_meet(mapping) else None",
                "return None",
            ),
        ),
        (REFUSED + "a_chunk_tells_of_rows_that_the_stream_has_brought_of_another_table",),
    ),
    Protection(
        "copies are no conflict",
        ("crowded cell",),
        (Edit("sink/mapping/several.py", "if len({reading.value for _, reading in rows}) > 1:", "if len(rows) > 1:"),),
        (VERIFY, CHECK + "tables_that_fill_other_cells_or_the_same_with_the_same_are_no_finding[an archive]"),
        ONE_IS_NAMED,
    ),
    Protection(
        "rows without a value are no conflict",
        ("crowded cell",),
        (Edit("sink/mapping/several.py", "*others) if each[1].value is not None]", "*others)]"),),
        (VERIFY,),
        ONE_IS_NAMED,
    ),
    Protection(
        "verify: rows that meet are no right cell",
        ("crowded cell",),
        (Edit("widebeam/verify/verify_rows.py", "for cell, rows in found.crowded.items():", "for cell, rows in ():"),),
        (VERIFY,),
        ONE_IS_NAMED,
    ),
    Protection(
        "verify: quarantine does not explain a crowded cell",
        ("crowded cell",),
        (
            Edit(
                "widebeam/verify/verify_rows.py",
                "explained = proven.keys() - found.crowded.keys()",
                "explained = set(proven)",
            ),
        ),
        (VERIFY,),
        ONE_IS_NAMED,
    ),
    Protection(
        "check: entities that are equal",
        ("bad key",),
        (Edit("widebeam/check/types.py", "        if loose(kind):", "        if False:"),),
        (CHECK + "entities_that_can_be_equal_without_being_the_same_text_are_refused[interval]",),
        ONE_IS_NAMED,
    ),
    Protection(
        "series with other labels have other names",
        ("crowded cell",),
        (Edit("sink/mapping/interpret.py", "return special.sub(", "return text or special.sub("),),
        ("tests/sink/mapping/test_interpret.py::test_series_whose_labels_hold_what_joins_them_are_not_the_same",),
    ),
    Protection(
        "check: one row a cell",
        ("crowded cell",),
        (Edit("widebeam/check/cells.py", "    if found:\n        cell, rows", "    if False:\n        cell, rows"),),
        (CHECK + "two_tables_that_fill_one_cell_are_found_with_both_values_and_the_way_out",),
        ONE_IS_NAMED,
    ),
    Protection(
        "check: suspects are looked up",
        ("crowded cell",),
        (
            Edit(
                "widebeam/check/cells.py",
                "return _looked_up(session, mapping, interpreters, wanted) if wanted else {}",
                "return {}",
            ),
        ),
        (CHECK + "tables_that_are_too_big_to_be_read_are_looked_up_by_their_keys",),
        ONE_IS_NAMED,
    ),
    Protection(
        "a retry leaves what still meets",
        ("crowded cell", "unplaceable"),
        (Edit("widebeam/quarantine/found.py", "if cell in rows and (met :=", "if False and (met :="),),
        (BY_STREAM,),
    ),
    Protection(
        "a row does not meet itself",
        ("crowded cell",),
        (
            Edit(
                "sink/reread.py",
                "return any((each.table, each.head, each.row[:width]) == name for each in meeting.rows(cell))",
                "return False",
            ),
        ),
        (ORIGIN + "where_deletes_are_ignored_a_row_that_was_changed_since_does_not_meet_itself",),
    ),
    Protection(
        "cells are read once their change is visible",
        ("rows meet",),
        (
            Edit(
                "sink/reread.py",
                "await_visible(source, {touch.xid for touch in fold.touched.values()})",
                "pass",
            ),
        ),
        (ORIGIN + "a_cell_is_read_again_only_once_the_transaction_that_touched_it_is_visible",),
    ),
    Protection(
        "unpublished rows hold no cell",
        ("joining table",),
        (Edit("sink/mapping/mapping.py", "if rule.table.qualified not in self.joining)", "if True)"),),
        (JOINING + "rows_of_a_table_that_is_not_published_yet_hold_no_cell[sink]",),
    ),
    Protection(
        "joining rows are written over what is there",
        ("joining table",),
        (Edit("snapshot/join.py", '        if rule.several != "refuse":', "        if False:"),),
        (JOINING + "a_row_that_was_there_before_its_table_joined_holds_its_cell_if_it_comes_in_the_order",),
    ),
    Protection(
        "joining chunks wait for a barrier",
        ("joining table",),
        (Edit("snapshot/attached.py", "if not barrier.passed(target, self._connector, mark):", "if False:"),),
        (JOINING + "a_sink_that_has_read_its_cells_before_a_table_joined_does_not_undo_its_rows",),
    ),
    Protection(
        "the barrier is looked at under the lock",
        ("joining table", "replay"),
        (
            Edit(
                "snapshot/attached.py",
                "begin()\n        if barriers is not None:\n            barriers.check(target, chunk.source)",
                "begin()",
            ),
        ),
        (JOINING + "a_replay_that_begins_while_a_chunk_is_read_holds_it_up",),
    ),
    Protection(
        "a table that is made again has another barrier",
        ("joining table",),
        (Edit("snapshot/attached.py", "published = table, gates.get(table)", "published = table, None"),),
        (JOINING + "a_table_that_is_dropped_and_made_again_is_waited_for_again",),
    ),
    Protection(
        "what fills comes before what is written over",
        ("joining table", "chunk meets stream"),
        (Edit("snapshot/chunks/ledger.py", "AND (reads = '' OR NOT EXISTS (", "AND (true OR NOT EXISTS ("),),
        (JOINING + "a_chunk_that_was_read_before_a_table_joined_does_not_fill_what_its_rows_have_cleared",),
    ),
    Protection(
        "no replay below a joined table's rows",
        ("joining table", "replay"),
        (
            Edit(
                "snapshot/fill/merge.py",
                'return self._mapping.rule.several == "refuse" or self._mapping.on_delete == "ignore"',
                "return False",
            ),
        ),
        (JOINING + "no_replay_goes_below_a_chunk_that_it_would_undo[ignore]",),
    ),
    Protection(
        "tables are known under the lock",
        ("joining table",),
        (
            Edit(
                "snapshot/worker.py",
                "            self._know_tables()\n            reader",
                "            reader",
            ),
        ),
        (JOINING + "tables_that_join_at_once_meet_each_other",),
    ),
    Protection(
        "sinks know tables that they had no record of",
        ("joining table",),
        (
            Edit(
                "sink/apply.py",
                "if new or (self._mapping.family is not None and self._cells is not None):",
                "if new:",
            ),
        ),
        (JOINING + "a_sink_knows_a_table_that_it_had_no_record_of",),
    ),
    Protection(
        "no chunk before the gate is open",
        ("joining table", "chunk meets stream"),
        (Edit("snapshot/chunks/ledger.py", "c.connector AND gate_lsn IS NULL", "c.connector AND false"),),
        (
            JOIN + "a_table_that_is_being_written_to_is_published_only_when_its_writers_are_done",
            JOIN + "after_a_failure_at_either_step_of_joining_the_next_look_goes_on_from_it",
        ),
    ),
    Protection(
        "one lets tables join",
        ("joining table",),
        (Edit("snapshot/join.py", "if not new or not self._turn.take(self._target):", "if not new:"),),
        (JOIN + "one_worker_lets_tables_join_at_a_time",),
    ),
)
