"""What the docs name is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from widebeam.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
NOTES = re.compile(r" \([^)]*\)")
NOT_ONE = re.compile(r"^( {4,}.*[│║├┌└].*)$", re.MULTILINE)
"""A line of a drawing."""


def test_each_link_of_a_page_leads_somewhere() -> None:
    for page in PAGES:
        targets = re.findall(r"\]\(([^)#\s]+)", page.read_text())
        assert not [each for each in targets if "://" not in each and not (page.parent / each).exists()], page


def commands(page: Path) -> Iterator[list[str]]:
    """Each code span and each line of code, word by word, up to a comment."""
    text = NOT_ONE.sub("", page.read_text())
    for span, line in re.findall(r"`([^`\n]+)`|^ {4,}(\S.*)$", text, re.MULTILINE):
        words = (span or line).partition("#")[0].split()
        yield [*words, "", ""]


def test_the_readme_can_be_read_in_five_minutes_and_leads_to_every_page() -> None:
    page = (ROOT / "README.md").read_text()
    assert len(page.split()) <= 900
    linked = set(re.findall(r"\]\(([^)#\s]+)", page))
    pages = {str(each.relative_to(ROOT)) for each in PAGES}
    assert pages - linked == {"README.md"}


def test_each_option_that_a_page_names_is_one_of_the_reference_connectors() -> None:
    known = (ROOT / "connectors" / "ships.toml").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        for option in re.findall(r"`([a-z_]+)` (?:in|of) `\[[a-z]+\]`", page.read_text()):
            assert re.search(rf"^#? *{option} = |\[\[?[a-z]+\.{option}\]", known, re.MULTILINE), (page.name, option)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_that_a_page_names_exists_with_its_options(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    verbs = get_command(app)
    for program, verb, *rest in commands(page):
        if program == "make":
            assert verb in targets, verb
        elif program.rpartition("/")[2] == "widebeam" and re.fullmatch(r"[a-z][a-z-]*", verb):
            assert verb in verbs.commands, verb
            options = known_options(verbs.commands[verb], rest)
            strange = [each for each in rest if each.startswith("--") and each.partition("=")[0] not in options]
            assert not strange, (verb, strange)


def known_options(command: Any, words: list[str]) -> set[str]:
    """Of a verb, and of those beneath it that the next word names: one, or one|another."""
    found = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    beneath = words[0].split("|") if hasattr(command, "commands") else []
    return found.union(*(known_options(command.commands[each], words[1:]) for each in beneath))


def test_each_file_and_noun_that_the_architecture_names_exists() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    layers = [ROOT, *(ROOT / layer for layer in ("cdc", "sink", "snapshot", "widebeam"))]
    for file in re.findall(r"[\w/-]+\.(?:py|sql|yml|toml)\b", page):
        assert [layer for layer in layers if (layer / file).exists()], file
    rows = re.findall(r"^\| `([\w/]+)/` \| (.*) \|$", page, re.MULTILINE)
    assert len(rows) == 17
    for package, nouns in rows:
        for noun in re.split(r", |; ", NOTES.sub("", nouns)):
            name = noun.split()[0].strip("`/")
            places = [ROOT / package / place for place in (name, f"{name}.py")]
            assert [place for place in places if place.exists()], f"{package}/ has no {name}"


def test_each_test_that_the_page_on_reliability_names_exists() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    source = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", page)
    assert len(named) > 20
    assert not [name for name in named if f"def {name}(" not in source]
    paths = re.findall(r"`?((?:tests|cdc)/[\w/]+(?:\.py)?)`?", page)
    assert not [path for path in paths if not (ROOT / path).exists()]
