"""The watch names a dictionary that cannot be read, though no reading asks for it."""

from __future__ import annotations

from pathlib import Path

from cdc.source.session import connect
from cdc.trouble import TROUBLES
from sink.lookup import DICTIONARY
from widebeam.config.config import load
from widebeam.setup.survey import Survey

FILE = """
[source]
dsn = "{dsn}"
table = "public.m"
entity = ["e"]
time = "t"
key = "name"
[source.dictionary]
column = "k"
query = "SELECT id, name FROM public.names"
[source.value]
columns = ["v"]
[target]
dsn = "{dsn}"
"""


def test_a_dictionary_that_was_renamed_is_named_and_forgotten_when_it_is_back(database: str, tmp_path: Path) -> None:
    file = tmp_path / "watched.toml"
    file.write_text(FILE.format(dsn=database))
    survey = Survey(load(str(file), {}))

    def said() -> list[str]:
        return [each.what for each in TROUBLES.all() if each.where == DICTIONARY]

    with connect(database, autocommit=True) as source:
        source.execute("CREATE TABLE public.elsewhere (id int, name text)")
        survey._dictionary(source)
        assert said() == ['relation "public.names" does not exist']
        source.execute("ALTER TABLE public.elsewhere RENAME TO names")
        survey._dictionary(source)
    assert TROUBLES._held[DICTIONARY].over is not None
