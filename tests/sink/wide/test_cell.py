"""What an empty cell is stands once, and is the server's own notion of NULL."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from cdc.source.session import connect
from sink.wide import cell

ROOT = Path(__file__).parents[3]

TEST = re.compile(r"(\}|\bvalue|\bcell\.\w+)\s+(IS\s+(NOT\s+)?NULL|ISNULL|NOTNULL)\b", re.IGNORECASE)
"""A test of what is formatted in, as the names of cells' columns always are, or of a cell's value. (Catalogs and the
control schema have columns with names of their own, and none of them is composite.)"""

VALUES = {"(,)": True, "(1,)": True, "(1,2)": True, None: False}


def texts(tree: ast.AST) -> Iterator[str]:
    """All constant texts; one that is formatted has braces for what is filled in."""
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values):
                yield "".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in values)
            case ast.Constant(str(value)):
                yield value


def test_no_statement_tests_a_cell_for_null_but_by_the_one_piece() -> None:
    files = [path for package in ("cdc", "sink", "snapshot", "widebeam") for path in (ROOT / package).rglob("*.py")]
    found = {
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in files
        for text in texts(ast.parse(path.read_text()))
        for match in TEST.finditer(text)
    }
    assert len(files) > 100
    assert not found, "IS NULL is true for a composite value of NULLs: sink/wide/cell.py says what is empty"


@pytest.mark.parametrize("test", ["{} IS NULL", "wide.{} is not null", "{0} ISNULL", "cell.value IS NOT NULL"])
def test_the_rule_sees_such_a_test(test: str) -> None:
    assert TEST.search(test)


def test_a_value_is_there_whatever_its_fields_are(database: str) -> None:
    with connect(database, autocommit=True) as session:
        session.execute("CREATE TYPE public.pos AS (lat float8, alt float8)")
        session.execute("CREATE DOMAIN public.place AS public.pos")
        for kind in ("public.pos", "public.place"):
            for value, there in VALUES.items():
                given = sql.SQL("{}::{}").format(sql.Literal(value), sql.SQL(kind))
                forms = (
                    cell.filled(given),
                    cell.empty(given),
                    cell.text_of(given),
                    sql.SQL("COALESCE({})").format(given),
                )
                query = sql.SQL("SELECT {}, {}, {}, concat({})").format(*forms)
                assert session.execute(query).fetchone() == (there, not there, value, value or "")
