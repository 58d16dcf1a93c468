"""What a Relation message must say so that the rows after it are those of the table that was mapped."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from cdc.event import Relation
from cdc.halt import Cause, Halt
from cdc.record.relations import Relations
from tests.cdc.mapped import OTHER, READINGS, TABLE, relation


def described(*relations: Relation, oids: Mapping[str, int] | None = None) -> Relations:
    found = Relations([TABLE, OTHER], None, oids)
    for each in relations:
        found.describe(each)
    return found


def halted(cause: Cause, said: str, *relations: Relation, oids: Mapping[str, int] | None = None) -> Halt:
    *first, last = relations
    found = described(*first, oids=oids)
    with pytest.raises(Halt, match=said) as caught:
        found.describe(last)
    assert caught.value.cause is cause
    return caught.value


def test_a_relation_that_lacks_a_column_halts() -> None:
    """Which is back in the table does not help: what was written meanwhile stays as it is in the stream."""
    without = READINGS._replace(columns=READINGS.columns[:-1])
    assert "--backfill-gap" in halted(Cause.RELATION_CHANGED, "no longer brings the columns s", without).remedy


def test_another_table_of_the_same_name_halts() -> None:
    halted(Cause.RELATION_CHANGED, r"another table now \(OID 2, it was 1\)", READINGS, relation(oid=2))


def test_another_table_of_the_name_that_was_written_down_halts_at_its_first_change() -> None:
    halted(Cause.RELATION_CHANGED, r"another table \(OID 2\)", relation(oid=2), oids={TABLE.qualified: 1})


def test_a_table_that_was_renamed_away_halts() -> None:
    renamed = READINGS._replace(name="readings_old")
    halted(Cause.RELATION_CHANGED, r"readings \(OID 1\) is named tenant.readings_old", READINGS, renamed)


def test_a_table_that_was_renamed_away_before_this_run_halts_when_it_is_written_to() -> None:
    said = r"tenant.readings \(OID 1\) is named tenant.others"
    halted(Cause.RELATION_CHANGED, said, relation(OTHER, oid=1), oids={TABLE.qualified: 1})


def test_an_altered_type_halts() -> None:
    halted(Cause.RELATION_CHANGED, "the type of channel, ship, v, at, s of", READINGS, relation(types=23))


def test_a_type_whose_precision_was_altered_halts() -> None:
    shorter = tuple(each._replace(type_modifier=9) if each.name == "s" else each for each in READINGS.columns)
    said = "the type of s of tenant.readings was altered"
    halted(Cause.RELATION_CHANGED, said, READINGS, READINGS._replace(columns=shorter))


def test_a_table_that_is_not_ours_has_no_layout() -> None:
    stranger = Relation(9, "public", "stranger", "n", ())
    assert described(stranger).layouts == {9: None}


def test_a_table_that_joins_is_known_by_its_name() -> None:
    found = Relations([TABLE], lambda schema, name: OTHER if (schema, name) == (OTHER.schema, OTHER.name) else None, {})
    found.describe(relation(OTHER, oid=2))
    layout = found.layouts[2]
    assert layout is not None
    assert layout.table == OTHER


def test_the_first_relation_of_a_run_is_compared_with_what_is_written_down() -> None:
    """Later ones are compared with it, and need no question to a database."""
    asked: list[tuple[str, int]] = []
    found = Relations([TABLE, OTHER], None, None, lambda table, now: asked.append((table.name, now.oid)))
    for each in (READINGS, READINGS, relation(OTHER, oid=2), READINGS, READINGS._replace(oid=3, name="strangers")):
        found.describe(each)
    assert asked == [("readings", 1), ("others", 2)]
