"""There is one way to give a statement parameters: by a cursor for which a % in a name is a % in a name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from widebeam.lab.postgres import PostgresServer

ROOT = Path(__file__).parents[1]
FILES = [file for package in ("cdc", "sink", "snapshot", "widebeam") for file in sorted((ROOT / package).rglob("*.py"))]
GIVEN = {"execute", "executemany", "stream", "copy"}
WRITTEN_OUT = {"as_string", "as_bytes", "encode"}


def faults(text: str) -> Iterator[tuple[int, str]]:
    """Lines and what is wrong in them."""
    tree = ast.parse(text)
    closed = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "close"}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        connects = ast.unparse(call.func).endswith(("psycopg.connect", "Connection.connect")) and id(call) not in closed
        if connects and all(each.arg != "cursor_factory" for each in call.keywords):
            yield call.lineno, "a connection whose cursors read a name for parameters"
        if ast.unparse(call.func).endswith(("psycopg.Cursor", "ClientCursor", "ServerCursor")):
            yield call.lineno, "a cursor that reads a name for parameters"
        if name in GIVEN and len(call.args) > 1:
            inner = list(ast.walk(call.args[0]))
            if any(isinstance(each, ast.Attribute) and each.attr in WRITTEN_OUT for each in inner) or any(
                isinstance(each, ast.BinOp) and isinstance(each.op, ast.Mod) for each in inner
            ):
                yield call.lineno, "names are written out before the parameters are looked for"


def test_no_statement_with_parameters_reads_a_name_for_them():
    found = {str(file.relative_to(ROOT)): list(faults(file.read_text(encoding="utf-8"))) for file in FILES}
    assert {file: what for file, what in found.items() if what} == {}
    assert len(found) > 200


def test_every_function_of_the_server_that_a_statement_calls_is_there(postgres: PostgresServer):
    """A name that was replaced by mistake is refused by the server alone, and was read as the server's fault."""
    called = {
        name
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for name in re.findall(r"\b(pg_[a-z0-9_]+)\(", node.value)
    }
    with psycopg.connect(postgres.dsn()) as session:
        known = {name for (name,) in session.execute("SELECT proname::text FROM pg_proc")}
    assert called - known == set()
    assert len(called) > 20


def test_nothing_is_locked_by_a_key_that_anybody_who_may_connect_can_hold():
    """Advisory locks are for who trusts all roles of a database: sink/state/claim.py is for us."""
    assert [str(file) for file in FILES if "advisory_" in file.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize(
    "wrong",
    [
        "c = psycopg.connect(dsn, autocommit=True)",
        "psycopg.ClientCursor(c).execute(q)",
        "c.execute(sql.SQL('SELECT {} WHERE a = %s').format(n).as_bytes(c), [1])",
        "c.execute(text.encode(), [1])",
        "c.execute('SELECT %s' % name, [1])",
    ],
)
def test_the_lint_sees(wrong):
    assert len(list(faults(wrong))) == 1
