"""Protections of values, names and rows: what is carried as it is, and what has no place."""

from __future__ import annotations

from typing import Final

from tests.protections.protection import ASSERTED, Edit, Protection

CAPTURE: Final = "tests/cdc/test_capture.py::test_"
ASSEMBLER: Final = "tests/cdc/record/test_assembler.py::test_"
PGOUTPUT: Final = "tests/cdc/wire/test_pgoutput.py::test_"
ENVELOPE: Final = "tests/cdc/record/test_envelope.py::test_"
PIVOT: Final = "tests/sink/fold/test_pivot.py::test_"
NAMES: Final = "tests/sink/mapping/test_names.py::test_"
LIFE: Final = "tests/sink/test_key_life.py::test_"
MERGE: Final = "tests/sink/merge/test_merge.py::test_"
SINK: Final = "tests/sink/test_run.py::test_"
REGISTRY: Final = "tests/sink/wide/test_registry.py::test_"
EXPLAINED: Final = "tests/widebeam/verify/test_explained.py::test_"
SUPERSEDED: Final = "tests/sink/state/test_superseded.py::test_"
BACKFILL: Final = "tests/snapshot/test_run.py::test_"
SESSION: Final = "cdc/source/session.py"
PRINTS: Final = "tests/cdc/source/test_pinned.py::test_a_value_has_one_text_whatever_the_role_and_the_database_say"


def _pin(name: str, value: str) -> Protection:
    """A session setting that is pinned."""
    return Protection(
        f"pinned {name}",
        ("odd values",),
        (Edit(SESSION, f'    "{name}": "{value}",', ""),),
        (f"{PRINTS}[{name}]",),
    )


VALUES: Final = (
    _pin("DateStyle", "ISO, MDY"),
    _pin("IntervalStyle", "postgres"),
    _pin("TimeZone", "UTC"),
    _pin("extra_float_digits", "1"),
    _pin("bytea_output", "hex"),
    _pin("quote_all_identifiers", "off"),
    _pin("standard_conforming_strings", "on"),
    _pin("array_nulls", "on"),
    Protection(
        "pinned search_path",
        ("identifiers", "odd values"),
        (Edit(SESSION, '    "search_path": "pg_catalog",', ""),),
        (
            f"{PRINTS}[search_path]",
            "tests/sink/test_target.py::test_a_session_is_as_careful_as_it_has_to_be_whatever_the_database_says",
        ),
    ),
    Protection(
        "an error rather than fewer rows",
        ("bad server",),
        (Edit(SESSION, '    "row_security": "off",', ""),),
        ("tests/cdc/source/test_pinned.py::test_rows_that_a_policy_hides_are_an_error_and_not_fewer_rows",),
    ),
    Protection(
        "unknown messages",
        ("undecodable stream",),
        (
            Edit(
                "cdc/wire/pgoutput.py",
                "        if reader is None:\n",
                '        if reader is None:\n            return Origin(Lsn(0), "")\n        if reader is None:\n',
            ),
        ),
        (PGOUTPUT + "what_is_not_right_is_named_with_its_place",),
    ),
    Protection(
        "rows of the relation's width",
        ("undecodable stream",),
        (
            Edit("cdc/wire/tuples.py", "if width != len(relation.columns):", "if False:"),
            Edit("cdc/wire/tuples.py", '"big") != width:', '"big") < 0:'),
        ),
        (PGOUTPUT + "what_is_not_right_is_named_with_its_place",),
    ),
    Protection(
        "rows in a run end where they end",
        ("undecodable stream",),
        (Edit("cdc/wire/tuples.py", " or values[width::step].count(_END) != count:", ":"),),
        (PGOUTPUT + "rows_of_another_width_in_a_run_are_not_taken_for_one_more_and_one_less",),
    ),
    Protection(
        "unknown relations",
        ("undecodable stream",),
        (
            Edit(
                "cdc/record/assembler.py",
                "if relation.oid not in self._layouts:",
                "if self._layouts.setdefault(relation.oid):",
            ),
        ),
        (ASSEMBLER + "a_stream_out_of_order_halts",),
    ),
    Protection(
        "transactions end as they began",
        ("undecodable stream",),
        (
            Edit(
                "cdc/record/assembler.py",
                "if self._begin is None or self._begin.final_lsn != commit.commit_lsn:",
                "if self._begin is None:",
            ),
        ),
        (ASSEMBLER + "a_stream_out_of_order_halts",),
    ),
    Protection(
        "big transactions are cut",
        ("large transaction",),
        (
            Edit(
                "cdc/record/assembler.py",
                "if self._rows >= self._most_rows or self._bytes >= self._most_bytes:",
                "if False:",
            ),
        ),
        (ASSEMBLER + "a_big_transaction_is_cut_and_memory_stays_flat",),
    ),
    Protection(
        "a truncate raises the position",
        ("truncate",),
        (Edit("cdc/record/assembler.py", "self._position = Lsn(self._position + 1)", "pass"),),
        (ASSEMBLER + "a_truncate_stands_in_every_partition_and_raises_the_position",),
    ),
    Protection(
        "no eighth truncate",
        ("truncate",),
        (Edit("cdc/record/assembler.py", "if self._position - begin.final_lsn > _TRUNCATES:", "if False:"),),
        (ASSEMBLER + "an_eighth_truncate_in_a_transaction_halts",),
    ),
    Protection(
        "what came before the truncate goes first",
        ("truncate",),
        (
            Edit(
                "cdc/record/assembler.py",
                "drafts = self._flush()\n        self._position",
                "drafts = ()\n        self._position",
            ),
        ),
        (ASSEMBLER + "a_truncate_stands_in_every_partition_and_raises_the_position",),
    ),
    Protection(
        "tables one after the other",
        ("twice in a batch",),
        (Edit("cdc/record/assembler.py", "drafts = self._flush()\n        table =", "drafts = ()\n        table ="),),
        (ASSEMBLER + "order_is_kept_between_two_tables",),
    ),
    Protection(
        "a move leaves its old place",
        ("unchanged TOAST",),
        (Edit("cdc/record/change.py", "return [_removed(old, event.old_is_full, at, Op.MOVE), (", "return [("),),
        (ASSEMBLER + "a_move_leaves_the_old_place_and_is_an_update_at_the_new_one",),
    ),
    Protection(
        "a move knows the value that stays",
        ("unchanged TOAST",),
        (Edit("cdc/record/change.py", "carried = source.read(at.table, at.cell(new), xid) or carried", "pass"),),
        (
            ASSEMBLER + "a_move_without_a_full_old_row_asks_the_source_for_an_unchanged_value",
            CAPTURE + "a_move_reads_the_unchanged_toast_value_from_the_source",
        ),
    ),
    Protection(
        "unchanged is no NULL",
        ("unchanged TOAST",),
        (Edit("sink/fold/set_or_clear.py", "elif value is not UNCHANGED:\n            row", "else:\n            row"),),
        (PIVOT + "null_clears_and_unchanged_keeps",),
        r"assert |AssertionError|TypeError",
    ),
    Protection(
        "escaped where it may need it",
        ("odd texts",),
        (Edit("sink/fold/batch.py", r'return not value.startswith(b"{") or b"\\" in value', "return False"),),
        (SINK + "changes_become_wide_rows_and_the_log_is_told",),
        r"assert |AssertionError|psycopg",
    ),
    Protection(
        "escaped for COPY",
        ("odd texts",),
        (
            Edit(
                "sink/fold/copytext.py",
                "return value if _SPECIAL.search(value) is None else value.translate(_ESCAPES)",
                "return value",
            ),
        ),
        (MERGE + "every_text_comes_back_as_it_was",),
        ASSERTED + r"|psycopg|ValueError: zip",
    ),
    Protection(
        "the last change of a cell",
        ("twice in a batch",),
        (Edit("sink/fold/rows.py", "if self.bare is not None:\n            self.bare.discard(key)", "pass"),),
        (LIFE + "set_and_cleared_in_one_batch_the_last_one_counts",),
    ),
    Protection(
        "no row without a cell",
        ("twice in a batch",),
        (
            Edit(
                "sink/merge/clears.py",
                '"DELETE FROM {wide} AS wide USING {gone} AS gone WHERE {here} AND {empty}", empty',
                '"SELECT FROM {wide} AS wide, {gone} AS gone WHERE {here} AND {empty}", empty',
            ),
        ),
        (MERGE + "a_cleared_cell_is_null_and_a_row_without_cells_goes",),
    ),
    Protection(
        "long names stay apart",
        ("too many keys",),
        (
            Edit(
                "sink/mapping/names.py",
                "if len(name.encode()) <= limit and folded(name) not in taken:",
                "if folded(name) not in taken:",
            ),
        ),
        (
            NAMES + "keys_that_are_equal_in_their_first_63_bytes_get_two_names",
            NAMES + "a_long_name_is_cut_between_characters",
        ),
    ),
    Protection(
        "alike names stay apart",
        ("too many keys",),
        (
            Edit(
                "sink/mapping/names.py",
                'return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())',
                "return name",
            ),
        ),
        (NAMES + "keys_that_differ_by_case_or_unicode_form_get_two_names_that_do_not",),
    ),
    Protection(
        "reserved names",
        ("too many keys",),
        (Edit("sink/mapping/names.py", "LSN_COLUMN, *SYSTEM_COLUMNS)}", ")}"),),
        (NAMES + "a_reserved_name_gets_a_suffix[_lsn]", NAMES + "a_reserved_name_gets_a_suffix[CTID]"),
    ),
    Protection(
        "rows fit a page",
        ("too many keys",),
        (Edit("sink/mapping/width.py", "and self.row_bytes <= ROW_BYTES", ""),),
        (REGISTRY + "a_full_row_of_each_part_can_be_inserted", NAMES + "1037_floats_make_two_parts"),
        r"assert |AssertionError|psycopg",
    ),
    Protection(
        "columns of a table",
        ("too many keys",),
        (Edit("sink/mapping/width.py", "return self.columns <= MAX_COLUMNS - _SPARE_COLUMNS and", "return"),),
        (NAMES + "a_row_of_booleans_is_limited_by_the_number_of_columns",),
    ),
    Protection(
        "cap of a table",
        ("too many keys",),
        (Edit("sink/wide/column_limits.py", "if sizes[name] >= mapping.columns_per_table:", "if False:"),),
        (LIFE + "no_more_columns_come_about_than_a_table_may_have",),
    ),
    Protection(
        "cap of an hour",
        ("too many keys",),
        (Edit("sink/wide/column_limits.py", "elif lately >= mapping.columns_per_hour:", "elif False:"),),
        (LIFE + "no_more_columns_come_about_in_an_hour_than_are_allowed",),
    ),
    Protection(
        "a wider column fits the page",
        ("too many keys",),
        (Edit("sink/wide/widen.py", ', "pg_lsn", *types]).fits:', ', "pg_lsn", *types]).fits and False:'),),
        (LIFE + "a_wider_column_that_would_not_fit_the_page_is_not_made",),
        r"ValueError: not enough values|assert |AssertionError|psycopg",
    ),
    Protection(
        "staged anew after a widening",
        ("unplaceable",),
        (
            Edit(
                "sink/wide/registry.py", "if widened(connection, self.mapping.connector) != self.changes:", "if False:"
            ),
        ),
        (LIFE + "a_process_that_has_not_heard_of_it_stages_the_new_type",),
        r"assert |AssertionError|psycopg",
    ),
    Protection(
        "keys that are no names",
        ("unplaceable",),
        (Edit("sink/mapping/names.py", "    if not key:\n", "    if False:\n"),),
        (NAMES + "a_key_that_no_column_can_be_named_after_says_why",),
        r"assert |AssertionError",
    ),
    Protection(
        "another type is no cell",
        ("unplaceable",),
        (Edit("sink/fold/set_or_clear.py", "elif not fits:", "elif False:"),),
        (PIVOT + "a_reading_of_another_type_is_quarantined_whole_and_its_cell_cleared",),
        r"ValueError: not enough values",
    ),
    Protection(
        "unknown discriminators",
        ("unplaceable",),
        (Edit("sink/fold/pivot.py", "if index is None and filled:", "if False:"),),
        (PIVOT + "what_cannot_be_placed_is_quarantined_and_the_rest_goes_on",),
    ),
    Protection(
        "records of somebody else",
        ("bad record",),
        (Edit("sink/fold/batch.py", "if record.stamp.connector != self.mapping.connector:", "if False:"),),
        (SINK + "what_is_no_record_of_ours_is_quarantined_once_and_the_rest_goes_on",),
    ),
    Protection(
        "oversize records",
        ("bad record",),
        (Edit("cdc/record/envelope.py", "if len(value) > MAX_BYTES:", "if False:"),),
        (ENVELOPE + "a_record_that_is_longer_than_any_of_ours_is_not_looked_into",),
    ),
    Protection(
        "no NUL in a record",
        ("bad record",),
        (
            Edit(
                "cdc/record/envelope.py", r'suspect_nul = b"\\" in value and b"\\u0000" in value', "suspect_nul = False"
            ),
        ),
        (ENVELOPE + "json_of_another_shape_is_refused_with_its_reason",),
    ),
    Protection(
        "rows of the record's width",
        ("bad record",),
        (Edit("cdc/record/shape.py", "if set(map(len, rows)) != {width}:", "if False:"),),
        (ENVELOPE + "json_of_another_shape_is_refused_with_its_reason",),
    ),
    Protection(
        "refused values are found",
        ("refused value",),
        (Edit("sink/run.py", "self._isolate(left[:taken])", "raise"),),
        (SINK + "a_value_that_the_target_refuses_is_quarantined_and_the_values_and_records_around_it_are_applied",),
    ),
    Protection(
        "only what is refused is left out",
        ("refused value",),
        (Edit("sink/fold/refused.py", "return [Poison(found), Poison(rows), WHOLE]", "return [Poison(rows), WHOLE]"),),
        (
            SINK + "a_value_that_the_target_refuses_is_quarantined_and_the_values_and_records_around_it_are_applied",
            "tests/sink/fold/test_refused.py::test_as_little_as_can_be_is_left_out_and_more_if_that_is_refused_too",
        ),
    ),
    Protection(
        "a composite value of NULLs is a value",
        ("odd values",),
        (Edit("sink/wide/cell.py", '"{} IS NOT DISTINCT FROM NULL"', '"{} IS NULL"'),),
        ("tests/sink/wide/test_cell.py::test_a_value_is_there_whatever_its_fields_are",),
    ),
    Protection(
        "no column is of a domain",
        ("odd values",),
        (
            Edit(
                "cdc/source/described.py",
                "return Described(row[0], types, {",
                "return Described(row[0], {n: d for n, d, _ in found}, {",
            ),
        ),
        (
            "tests/cdc/source/test_described.py::test_a_column_of_a_domain_is_of_what_the_domain_is_made_of[one-numeric(5,2)]",
        ),
    ),
    Protection(
        "a refused value clears its cell",
        ("refused value",),
        (
            Edit(
                "sink/fold/pivot.py",
                "changes._replace(rows=left)",
                "changes._replace(rows=[row for n, row in enumerate(left) if n not in withheld])",
            ),
        ),
        (PIVOT + "what_the_target_refuses_clears_its_cells_and_what_stands_beside_it_counts",),
    ),
    Protection(
        "equal entities are one row",
        ("odd values",),
        (Edit("sink/mapping/mapping.py", "        if not forms:", "        if True:"),),
        (
            PIVOT + "entities_that_are_equal_for_their_type_are_one_row[numeric-texts0-1]",
            "tests/snapshot/fill/test_fold.py::test_entities_of_a_chunk_that_are_equal_for_their_type_are_one_row",
        ),
    ),
    Protection(
        "equal numbers go to one partition",
        ("odd values",),
        (Edit("cdc/source/narrow.py", "        values = tuple(map(_plain, wide))", "        values = tuple(wide)"),),
        ("tests/cdc/source/test_narrow.py::test_numbers_that_are_equal_go_to_one_partition",),
    ),
    Protection(
        "one moment is one place, whichever column has it",
        ("odd values",),
        (
            Edit(
                "cdc/source/time_encoding.py",
                "(self.rounds and fine) or self.either != ()",
                "(self.rounds and fine)",
            ),
        ),
        (
            "tests/widebeam/config/test_language.py"
            "::test_rows_with_their_time_in_another_column_are_in_one_place_if_it_is_the_same_time",
        ),
    ),
    Protection(
        "a row is in the chunk of the first time that it has",
        ("odd values",),
        (
            Edit(
                "snapshot/chunks/between.py",
                "    yield from (empty(sql.Identifier(each)) for each in rule.table.time[:which])\n",
                "",
            ),
        ),
        ("tests/snapshot/fill/test_within.py::test_each_row_is_in_the_chunk_of_the_first_time_that_it_has",),
    ),
    Protection(
        "a column of numbers is one whatever comes first",
        ("odd values",),
        (Edit("sink/mapping/interpret.py", "            if self.rule.strict:", "            if False:"),),
        ("tests/sink/wide/test_portions.py::test_any_cut_of_any_order_comes_to_the_same[quarantine]",),
        ASSERTED + r"|ExceptionGroup: Hypothesis found",
    ),
    Protection(
        "a number is written in one way, in a text column, too",
        ("odd values",),
        (
            Edit(
                "sink/mapping/interpret.py",
                "shown = printed_number(value) if self.rule.canonical else value",
                "shown = value",
            ),
        ),
        ("tests/sink/wide/test_portions.py::test_a_number_stays_what_it_is_when_its_column_becomes_a_text",),
    ),
    Protection(
        "a topic that a broker does not know is looked for",
        ("topic recreated",),
        (Edit("sink/reader.py", "state = topic.sought(", "state = topic.inspect("),),
        (
            "tests/sink/test_reader.py"
            "::test_a_broker_that_knows_nothing_of_the_topic_is_asked_again_before_anything_halts",
        ),
        r"cdc\.halt\.Halt: topic",
    ),
    Protection(
        "a silence is told before it is acted on",
        ("large transaction",),
        (Edit("cdc/wire/stream.py", "self._patience * _TOLD:", "self._patience:"),),
        (
            "tests/cdc/wire/test_silence.py"
            "::test_a_silence_is_told_long_before_anything_is_done_about_it_and_over_once_another_stream_speaks",
        ),
    ),
    Protection(
        "a walsender at work is waited for",
        ("large transaction",),
        (Edit("cdc/wire/stream.py", "        if not self._at_work():", "        if True:"),),
        ("tests/cdc/wire/test_silence.py::test_a_walsender_at_work_is_waited_for_and_named_until_it_speaks",),
        r"cdc\.wire\.stream\.StreamEnded",
    ),
    Protection(
        "what no index takes is refused",
        ("unplaceable",),
        (Edit("sink/mapping/wide.py", "    if size > _INDEXED:", "    if False:"),),
        (
            PIVOT + "a_key_that_no_index_takes_is_quarantined_and_its_delete_is_nothing",
            "tests/snapshot/fill/test_fold.py::test_what_no_index_takes_is_quarantined_beside_the_others",
        ),
    ),
    Protection(
        "large tables are not rewritten by the way",
        ("column waits",),
        (Edit("sink/wide/extension.py", "            if size > self._rewrites:", "            if False:"),),
        (REGISTRY + "a_large_table_is_only_rewritten_for_who_says_so",),
    ),
    Protection(
        "staged rows fit a page",
        ("odd values",),
        (
            Edit(
                "sink/merge/stage.py",
                "    return Width(row.columns - len(shape) + len(room), row.end).row_bytes <= ROW_BYTES",
                "    return True",
            ),
        ),
        (
            "tests/sink/merge/test_sharing_stages.py::test_a_row_that_fills_its_page_is_staged_and_merged[upsert]",
            "tests/sink/merge/test_sharing_stages.py::test_a_row_shares_no_staging_table_in_which_it_outgrows_its_page",
        ),
        r"psycopg.errors.ProgramLimitExceeded",
    ),
    Protection(
        "a view keeps what it was given",
        ("identifiers",),
        (Edit("sink/wide/retype.py", "        if was is not None:", "        if False:"),),
        (REGISTRY + "a_view_keeps_what_somebody_gave_it",),
    ),
    Protection(
        "somebody's comment stays when a key is renamed",
        ("identifiers",),
        (Edit("sink/views/comments.py", " and row[0].startswith(_of_key(before))", ""),),
        (
            "tests/sink/views/test_comments.py::test_a_reader_sees_the_key_of_each_column_which_survives_a_new_one"
            "_a_widening_and_a_renaming",
        ),
    ),
    Protection(
        "an entry explains an empty cell only",
        ("unplaceable",),
        (Edit("widebeam/verify/quarantined.py", "if narrow is not None and wide is None:", "if narrow is not None:"),),
        (EXPLAINED + "an_entry_explains_an_empty_cell_and_not_one_that_holds_something[a plain rule]",),
    ),
    Protection(
        "only what says its row whole closes an entry",
        ("unplaceable", "unchanged TOAST"),
        (Edit("sink/state/superseded.py", " or UNCHANGED not in row", " or True"),),
        (SUPERSEDED + "a_change_that_does_not_say_its_row_whole_closes_nothing",),
    ),
    Protection(
        "types' names are read by the server",
        ("identifiers",),
        (Edit("sink/wide/extension.py", "            build.check_types(self._connection, self._mapping, new)\n", ""),),
        (REGISTRY + "a_type_s_name_that_hides_a_statement_is_refused",),
    ),
    Protection(
        "a % in a name is no place of a parameter",
        ("identifiers",),
        (
            Edit(
                "cdc/bindable.py",
                'yield part.as_bytes(context).replace(b"%", b"%%")',
                "yield part.as_bytes(context)",
            ),
        ),
        ("tests/cdc/test_bindable.py::test_a_name_beside_a_parameter_is_read_as_a_name",),
        r"psycopg.ProgrammingError",
    ),
    Protection(
        "parts of a key are told apart",
        ("identifiers",),
        (Edit("sink/mapping/rule.py", "if len(parts) < 2 or not self.escapes or not separator:", "if True:"),),
        ("tests/sink/mapping/test_interpret.py::test_no_two_keys_of_several_parts_are_one_column",),
    ),
    Protection(
        "no record of ours is passed over in memory",
        ("bad record",),
        (Edit("widebeam/run/parts.py", "patience=0.0, decode=_ours)", "patience=0.0)"),),
        ("tests/widebeam/run/test_forms.py::test_in_memory_a_record_that_cannot_be_read_halts_the_run",),
    ),
)
