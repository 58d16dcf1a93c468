"""Whatever a name holds, a parameter goes where the program has put it."""

from __future__ import annotations

import pytest
from psycopg import sql

from cdc.bindable import Verbatim
from cdc.source.session import connect

NAMES = ["tank 50%", "50%s", "%(v)s", "%%", "100%d", '"%"', "plain"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_beside_a_parameter_is_read_as_a_name(postgres, name):
    with connect(postgres.dsn(), autocommit=True) as session:
        query = sql.SQL("SELECT %s::int AS {}, {} WHERE 5 %% 2 = 1 AND {}").format(
            sql.Identifier(name), sql.Literal(name), Verbatim("7 % 4 = 3")
        )
        with session.cursor() as cursor:
            assert cursor.execute(query, [1]).fetchall() == [(1, name)]
            assert cursor.description is not None
            assert cursor.description[0].name == name
            assert list(cursor.stream(query, [2])) == [(2, name)]
            cursor.executemany(query, [[3]], returning=True)
            assert cursor.fetchall() == [(3, name)]
            copied = sql.SQL("COPY (SELECT %s::int AS {}) TO STDOUT").format(sql.Identifier(name))
            with cursor.copy(copied, [4]) as copy:
                assert b"".join(map(bytes, copy)) == b"4\n"


def test_a_named_parameter_has_its_place_beside_a_name(postgres):
    with connect(postgres.dsn(), autocommit=True) as session:
        query = sql.SQL("SELECT {value}::int AS {name}").format(
            value=sql.Placeholder("v"), name=sql.Identifier("%(v)s")
        )
        assert session.execute(query, {"v": 1}).fetchall() == [(1,)]
