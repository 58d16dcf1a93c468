"""What a finding tells to write into the connector's file is written there, and then nothing is found any more.

The last step is a person's: the finding says the option and where it stands, and what there is to choose from.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from widebeam.check.check import findings
from widebeam.config.config import load

TABLES = """
CREATE TABLE "Odd one" (place text, tag int, at timestamp, v float8, PRIMARY KEY (place, tag, at));
CREATE TABLE a (place text, tag int, at timestamp, v float8, note text, PRIMARY KEY (place, tag, at));
CREATE TABLE l (place text, j jsonb, note text, at timestamp, v float8, PRIMARY KEY (place, j, at));
CREATE TABLE two (at timestamptz, tag int, place text, v float8, PRIMARY KEY (place, tag, at));
CREATE VIEW seen AS SELECT * FROM a;
CREATE TABLE tags (id int, name text, unit text);
INSERT INTO tags VALUES (1, 'speed', 'm'), (2, 'power', 'W');
"""
REST = """
time = "at"
[source.value]
columns = ["v"]
{value}
[target]
dsn = "{dsn}"
"""
LIKE_A = 'entity = ["place"]\nkey = "tag"\n'
NAMED = 'table = "public.a"\nentity = ["place"]\nkey = ["name", "unit"]\ndictionary = {{ column = "tag", {} }}\n'
THREE = 'query = "SELECT id, name, unit FROM public.tags"'
LABELLED = 'table = "public.l"\nentity = ["place"]\nkey = "labels.host"\nlabels = "{}"\nseveral = "last"\n'
PATTERN = "table_pattern = '(?P<host>o+)_.*'\n"

Written = Callable[[str], str]


def always(text: str) -> Written:
    return lambda _: text


def first(pattern: str, text: str) -> Written:
    """What the finding has proposed goes into the text."""

    def written(remedy: str) -> str:
        found = re.search(pattern, remedy)
        assert found is not None, remedy
        return text.replace("<>", found[1])

    return written


CASES: dict[str, tuple[str, str, Written]] = {
    "a table that is not there": (
        f'table = "public.b"\n{LIKE_A}',
        "the table public.b does not exist",
        first(r"there is .*?(public\.a)\b", f'table = "<>"\n{LIKE_A}'),
    ),
    "a view": (
        f'table = "public.seen"\n{LIKE_A}',
        "public.seen is a view",
        always(f'table = "public.a"\n{LIKE_A}'),
    ),
    "a column that is not there": (
        'table = "public.a"\nentity = ["plaice"]\nkey = "tag"\n',
        "public.a has no column plaice",
        first(r"it has .*?\b(place)\b", 'table = "public.a"\nentity = ["<>"]\nkey = "tag"\n'),
    ),
    "a pattern that matches nothing": (
        f'tables = ["public.z_%"]\n{LIKE_A}',
        "no table matches public.z_%",
        always(f'tables = ["public.a"]\n{LIKE_A}'),
    ),
    "labels that are no jsonb": (
        LABELLED.format("note"),
        "`labels` note of public.l is a text",
        always(LABELLED.format("j")),
    ),
    "a dictionary of too many columns": (
        'table = "public.a"\nentity = ["place"]\nkey = ["name"]\n'
        f'dictionary = {{ column = "tag", columns = ["name"], {THREE} }}\n',
        "the dictionary's query brings 3 columns",
        always(NAMED.format(f'columns = ["name", "unit"], {THREE}')),
    ),
    "a dictionary whose table is named without its schema": (
        NAMED.format(f'columns = ["name", "unit"], {THREE.replace("public.", "")}'),
        "the dictionary cannot be read",
        first(r"(public)\.", NAMED.format(f'columns = ["name", "unit"], {THREE.replace("public", "<>")}')),
    ),
    "a zone for a time that has one": (
        f'table = "public.two"\n{LIKE_A}time_zone = "Europe/Paris"\n',
        "`time_zone` is for timestamp without time zone",
        always(f'table = "public.two"\n{LIKE_A}'),
    ),
    "days of a zone of a time without one": (
        f'table = "public.a"\n{LIKE_A}several = "last"\ntime_bucket = "1 day @ Europe/Paris"\n',
        "has no place in the days of Europe/Paris",
        first(
            r"Set `(time_zone)` in \[source\]",
            f'table = "public.a"\n{LIKE_A}several = "last"\ntime_bucket = "1 day @ Europe/Paris"\n'
            '<> = "Europe/Paris"\n',
        ),
    ),
}
"""What [source] says, what is found, and what it says as the finding has it."""


@pytest.fixture
def found(database: str, tmp_path: Path) -> Callable[..., list[tuple[str, str]]]:
    """What is found with this in [source] (and this in [source.value]), each with its remedy."""

    def found(source: str, value: str = "") -> list[tuple[str, str]]:
        file = tmp_path / "written.toml"
        file.write_text(f'[source]\ndsn = "{database}"\n{source}{REST.format(dsn=database, value=value)}')
        return [(each.what, each.remedy) for each in findings(load(str(file), {}))]

    with psycopg.connect(database, autocommit=True) as session:
        session.execute(TABLES.encode())
    return found


def test_what_is_to_stand_in_the_file_is_what_mends_it(found: Callable[..., list[tuple[str, str]]]) -> None:
    for name, (before, said, written) in CASES.items():
        remedies = [remedy for what, remedy in found(before) if said in what]
        assert len(remedies) == 1, (name, found(before))
        assert "[source" in remedies[0], (name, remedies)
        assert found(written(remedies[0])) == [], name


def test_texts_that_are_to_be_numbers_and_are_numbers_are_taken_out(
    found: Callable[..., list[tuple[str, str]]],
) -> None:
    source = f'table = "public.a"\n{LIKE_A}'
    ((what, remedy),) = found(source, 'numbers = ["v"]')
    assert "`numbers` v of public.a is a double precision" in what
    assert remedy.startswith("take v out of `numbers` in [source.value] of ")
    assert found(source) == []
