"""Where the schema leaves something open, `widebeam init` takes what loses nothing, and asks."""

from __future__ import annotations

import tomllib
from typing import Any

import psycopg
import pytest

from cdc.source.session import connect
from widebeam.init.survey import survey


def run(database: str, script: str) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(script.encode())


def looked(database: str, *tables: str) -> str:
    with connect(database, autocommit=True) as session:
        return survey(session, database, tables)


def source(said: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(said)["source"]
    return found


def asked(said: str, option: str) -> bool:
    """Whether a question stands in the comment above an option."""
    lines = said.splitlines()
    at = next(at for at, line in enumerate(lines) if line.removeprefix("# ").startswith(f"{option} = "))
    above: list[str] = []
    while lines[at - 1].startswith("# ") and not lines[at - 1].startswith("# ASK:"):
        at -= 1
        above.append(lines[at])
    return lines[at - 1].startswith("# ASK:") and len(above) < 6


def test_columns_named_in_another_alphabet_are_columns_like_others(database):
    run(
        database,
        'CREATE TABLE "서울날씨" ("월" date, "항목" text, "값" numeric, PRIMARY KEY ("항목", "월"));'
        "INSERT INTO \"서울날씨\" SELECT date '2005-01-01' + n * 31, 's' || k, n"
        " FROM generate_series(1, 30) n, generate_series(1, 3) k",
    )
    found = source(looked(database))
    assert (found["key"], found["time"], found["value"]["columns"]) == ("항목", "월", ["값"])


@pytest.mark.parametrize("name", ["값", "größe", "#", "__", "٣"])
def test_a_column_of_any_name_beside_a_narrow_table_stops_nothing(database, name):
    run(
        database,
        "CREATE TABLE readings (site text, channel text, ts timestamptz, value float8,"
        " PRIMARY KEY (site, channel, ts));"
        "INSERT INTO readings SELECT 's', 'c' || n % 3, now() + n * interval '1 s', n FROM generate_series(1, 20) n;"
        f'CREATE TABLE "{name}" (note text, "{name}" float8, who text, at timestamptz, PRIMARY KEY (who, note, at));'
        f"INSERT INTO \"{name}\" SELECT 'm' || n % 7, n, 'w', now() + n * interval '1 s' FROM generate_series(1, 50) n",
    )
    assert "public.readings" in looked(database)
