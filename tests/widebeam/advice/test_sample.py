"""What no catalog shows: a mapping of which, by the rows that are there, nothing or little would come."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from widebeam.advice import sample
from widebeam.advice.advice import advice
from widebeam.config.config import load

TABLE = """
CREATE TABLE l (id bigint PRIMARY KEY, place text, labels jsonb, at timestamptz, kind text, v float8, w float8);
ALTER TABLE l REPLICA IDENTITY FULL;
INSERT INTO l SELECT n, 'p', '{"host": "h"}', '2026-01-01'::timestamptz + n * interval '1 s', 'F', n
    FROM generate_series(1, 40) n;
"""
FILE = """
[source]
dsn = "{dsn}"
table = "public.l"
entity = ["place"]
time = "at"
key = "labels.{label}"
labels = "labels"
several = "last"
{where}
[source.value]
columns = ["{value}"]
[target]
dsn = "{dsn}"
"""
WELL = {"label": "host", "where": 'where = { kind = ["F"] }', "value": "v"}
QUARANTINE = "would go into the quarantine, most of them by "
NONE = "none of the first 40 rows that were looked at has a value"


def told(database: str, file: Path, **options: str) -> str:
    file.write_text(FILE.format(dsn=database, **{**WELL, **options}))
    found = [each for each in advice(load(str(file), {})) if "looked at" in each.what]
    assert all(f"[source] of {file}" in each.remedy for each in found)
    return "\n".join(map(str, found))


def test_a_mapping_that_makes_nothing_of_the_rows_is_told_and_what_helps(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "labelled.toml"
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(TABLE)
        assert told(database, file) == ""
        assert f"40 of the first 40 rows that were looked at {QUARANTINE}" in (
            said := told(database, file, label="hots")
        )
        assert "hots" in said
        assert NONE in (said := told(database, file, where='where = { kind = ["f"] }'))
        assert "`where`: no row passes it" in said
        assert NONE in (said := told(database, file, value="w"))
        assert "[source.value]: its columns are NULL" in said
        session.execute("""UPDATE l SET labels = '{}' WHERE id = 7""")
        assert f"1 of the first 40 rows that were looked at {QUARANTINE}" in told(database, file)
        monkeypatch.setattr(sample, "_MANY", 0.1)
        assert told(database, file) == "", "a few are what a quarantine is for"
        session.execute("TRUNCATE l")
        assert told(database, file, label="hots", value="w") == ""
