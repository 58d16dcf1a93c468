"""A table's name is two parts, and the one text that stands for both stands for no other two."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.source.table_name import TableName
from widebeam.state.control import install

PARTS = st.text(alphabet='ab."% ', min_size=1, max_size=5)
NAMES = st.builds(TableName, PARTS, PARTS)


@given(NAMES)
def test_the_text_stands_for_that_name_alone(name):
    assert TableName.of(name.text) == name


def test_what_most_people_call_their_tables_stays_as_it_is():
    assert TableName("public", "readings").text == TableName("public", "readings").quoted == "public.readings"
    assert TableName("plant", "Tank 50%.v2").text == "plant.Tank 50%.v2"
    assert TableName("plant", "Tank 50%.v2").quoted == 'plant."Tank 50%.v2"'
    assert TableName("user", "order").quoted == '"user".order'


def test_a_dot_belongs_to_the_part_that_has_it():
    assert TableName("a.b", "c").text == '"a.b".c'
    assert TableName("a", "b.c").text == "a.b.c"
    assert TableName.of('"a"."b.c"') == ("a", "b.c")


@pytest.mark.parametrize("text", ["", "a", ".a", "a.", '"a.b', '"a.b"c', '"a"."b"c', '"a".'])
def test_a_text_that_names_no_table_is_refused(text):
    with pytest.raises(ValueError, match=r"schema\.table"):
        TableName.of(text)


def test_the_control_schema_writes_the_same_text(database):
    names = [TableName(*parts) for parts in (("a.b", "c"), ("a", "b.c"), ('"a', '"b"'), ('a"."b', "c d"), ("p", "n%s"))]
    with psycopg.connect(database, autocommit=True) as session:
        install(session)
        session.execute("SET session_replication_role = replica")  # no connector is needed
        for name in names:
            session.execute(
                "INSERT INTO widebeam.sources (connector, schema_name, table_name, oid, types)"
                " VALUES ('c', %s, %s, 1, '{}')",
                name,
            )
        found = session.execute("SELECT schema_name, table_name, name FROM widebeam.sources").fetchall()
        session.execute("DELETE FROM widebeam.sources")
    assert {(schema, name): text for schema, name, text in found} == {name: name.text for name in names}
