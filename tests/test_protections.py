"""The list of protections fits the code, the tests and the page; `make protections` shows that each is needed."""

from __future__ import annotations

import ast
import re
from itertools import chain
from pathlib import Path

import pytest

from tests.protections.every import PROTECTIONS
from tests.protections.matrix import LINES, table
from tests.protections.protection import ROOT, Edit, Protection

PAGE = ROOT / "docs" / "reliability.md"
KINDS = 29


def test_each_protection_has_a_name_of_its_own() -> None:
    names = [each.name for each in PROTECTIONS]
    assert not [name for name in names if names.count(name) > 1]


def test_what_is_switched_off_stands_once_in_the_code_and_leaves_code() -> None:
    wrong = {each.name: said for each in PROTECTIONS if (said := not_switched_off(each))}
    assert not wrong


def not_switched_off(protection: Protection) -> str:
    """Why its edits do not do what they are for."""
    texts: dict[str, str] = {}
    try:
        for edit in protection.edits:
            texts[edit.path] = edit.applied(texts.get(edit.path) or (ROOT / edit.path).read_text())
        for path, text in texts.items():
            if path.endswith(".py"):
                ast.parse(text, path)
    except (OSError, ValueError, SyntaxError) as error:
        return repr(error)
    return ", ".join(f"{path} is as before" for path, text in texts.items() if text == (ROOT / path).read_text())


def test_each_test_that_shows_a_protection_exists() -> None:
    for test in chain.from_iterable(each.tests for each in PROTECTIONS):
        path, _, name = test.partition("::")
        function = re.sub(r"\[.*", "", name, flags=re.DOTALL)
        assert f"def {function}(" in (ROOT / path).read_text(), test


def test_each_line_of_the_matrix_has_a_protection_or_a_reason_why_it_has_none() -> None:
    kept = set(chain.from_iterable(each.keeps for each in PROTECTIONS))
    assert not [line.name for line in LINES if (line.name in kept) == bool(line.reason)]
    assert not kept - {line.name for line in LINES}


def test_the_page_on_reliability_shows_the_matrix_as_it_is() -> None:
    shown = table(PROTECTIONS)
    assert shown in PAGE.read_text(), "put there what `.venv/bin/python -m tests.protections.prove --table` prints"


def test_each_kind_of_fault_that_the_page_tells_of_has_a_test_and_a_protection_that_are_there() -> None:
    rows = re.findall(r"^\| [A-G]\d+ \| .* \| (.*) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == KINDS
    names = {each.name for each in PROTECTIONS}
    for tests, protections in rows:
        assert re.findall(r"`test_\w+`", tests), protections
        assert set(protections.split("; ")) <= names, protections


def test_an_edit_that_has_no_place_or_two_is_refused() -> None:
    edit = Edit("x", "old", "new")
    assert edit.applied("an old one") == "an new one"
    for text in ("none", "old and old"):
        with pytest.raises(ValueError, match="places"):
            edit.applied(text)


def test_the_page_is_where_it_is_looked_for() -> None:
    assert Path(PAGE).exists()
