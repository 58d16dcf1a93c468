"""Protections of what a reading means: its time, its unit, its name, its type."""

from __future__ import annotations

from typing import Final

from tests.protections.protection import Edit, Protection

RULES: Final = "tests/widebeam/setup/test_zone_rules.py::test_"
RENAME: Final = "tests/sink/wide/test_rename.py::test_"
INTERPRET: Final = "tests/sink/mapping/test_interpret.py::test_"
GUESSES: Final = "tests/widebeam/init/test_guesses.py::test_"

READINGS: Final = (
    Protection(
        "a border parts no bucket",
        ("local time",),
        (
            Edit(
                "snapshot/chunks/chunk_key.py",
                "border = self.rule.borders(min(max(position, EARLIEST), LATEST))[0]",
                "border = min(max(position, EARLIEST), LATEST)",
            ),
        ),
        ("tests/snapshot/chunks/test_chunk_key.py::test_a_bound_of_local_time_parts_no_bucket",),
    ),
    Protection(
        "rules of a zone are written down",
        ("local time",),
        (Edit("widebeam/setup/zone_rules.py", "if changed:", "if False:"),),
        (RULES + "other_rules_of_a_zone_halt_every_part_until_the_gap_is_gone_over",),
    ),
    Protection(
        "check: rules of a zone",
        ("local time",),
        (Edit("widebeam/check/zones.py", "        if count:", "        if False:"),),
        (RULES + "check_compares_the_rules_with_the_server_s_answers",),
        r"StopIteration",
    ),
    Protection(
        "types before the first row",
        ("type rewritten",),
        (Edit("cdc/record/relations.py", "self._vouch(table, relation)", "pass"),),
        ("tests/cdc/record/test_relations.py::test_the_first_relation_of_a_run_is_compared_with_what_is_written_down",),
    ),
    Protection(
        "known keys need no dictionary",
        ("dictionary",),
        (Edit("sink/lookup.py", "if error.sqlstate is None or (", "if True or ("),),
        (RENAME + "known_keys_go_on_while_the_dictionary_cannot_be_read",),
        r"psycopg\.errors\.UndefinedTable",
    ),
    Protection(
        "a name that is taken over is another key",
        ("dictionary",),
        (Edit("sink/wide/rename.py", " and name not in new", ""),),
        (RENAME + "a_name_that_a_new_id_takes_over_in_the_same_transaction_leaves_the_column_to_the_old_one",),
    ),
    Protection(
        "readings before their entry heal",
        ("dictionary",),
        (
            Edit(
                "widebeam/quarantine/heal.py",
                "return self._heal(mapping, [number for (number,) in found]) if found else 0",
                "return 0",
            ),
        ),
        (
            "tests/widebeam/quarantine/test_heal.py"
            "::test_a_reading_that_came_before_its_id_heals_when_the_dictionary_has_it",
        ),
    ),
    Protection(
        "printed floats are numbers",
        ("odd values",),
        (Edit("sink/mapping/interpret.py", "or (digits <= _DIGITS and", "or (False and"),),
        (INTERPRET + "a_number_is_what_a_double_holds_without_losing_a_digit",),
    ),
    Protection(
        "what fills up a name is no part of it",
        ("odd texts",),
        (Edit("sink/mapping/interpret.py", "if name in self._padded and", "if False and"),),
        (INTERPRET + "the_spaces_that_fill_up_a_character_n_are_no_part_of_a_name",),
    ),
    Protection(
        "labels are remembered within bounds",
        ("odd texts",),
        (Edit("sink/mapping/labels.py", "if self._bytes + size > MOST_BYTES:", "if False:"),),
        ("tests/sink/mapping/test_labels.py::test_what_is_remembered_of_labels_is_bounded_in_bytes",),
    ),
    Protection(
        "init: a unit of measure is no entity",
        ("proposal",),
        (
            Edit(
                "widebeam/init/cell.py",
                "unit = _unit(table, sample, rest) if index is None else None",
                "unit = None",
            ),
        ),
        (GUESSES + "a_unit_of_measure_is_no_entity_where_it_tells_nothing_apart",),
    ),
)
