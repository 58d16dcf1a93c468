"""The rules of time zones are written down: nothing goes on by other ones, and the server's are compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from cdc.clock import zones
from cdc.halt import Cause, Halt
from widebeam.check.check import findings
from widebeam.config.config import load
from widebeam.config.connector import Connector
from widebeam.gap.cross import cross
from widebeam.setup.prepare import prepare
from widebeam.setup.prepared import prepared

FILE = """
[source]
dsn = "{dsn}"
table = "public.m"
entity = ["e"]
time = "t"
time_zone = "America/Mexico_City"
key = "k"
[source.value]
columns = ["v"]
[target]
dsn = "{dsn}"
"""

Make = Callable[[], Connector]


@pytest.fixture
def make(tmp_path: Path, database: str) -> Make:
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("CREATE TABLE public.m (e text, k text, t timestamp, v float8, PRIMARY KEY (e, k, t))")
    file = tmp_path / f"zone_{database.split('dbname=test_')[1][:8]}.toml"
    file.write_text(FILE.format(dsn=database))
    return lambda: load(str(file), {})


def test_other_rules_of_a_zone_halt_every_part_until_the_gap_is_gone_over(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(make())
    monkeypatch.setattr(zones, "fingerprint", lambda name: f"{name} without summer time")
    for look in (prepare, prepared):
        with pytest.raises(Halt) as halt:
            look(make())
        assert halt.value.cause is Cause.ZONE_RULES
        assert "America/Mexico_City" in halt.value.what
    cross(make())
    prepared(make())


def test_a_package_of_the_same_rules_is_written_down_and_no_halt(
    make: Make, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(make())
    monkeypatch.setattr(zones, "rules", lambda: "tzdata 2099.1")
    prepare(make())
    with psycopg.connect(database) as session:
        row = session.execute("SELECT settings -> 'zone_rules' ->> 'by' FROM widebeam.connectors").fetchone()
    assert row == ("tzdata 2099.1",)


def test_check_compares_the_rules_with_the_server_s_answers(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [each for each in findings(make()) if "rules" in each.what]
    offset, later = zones.offset, 1_700_000_000_000_000
    monkeypatch.setattr(zones, "offset", lambda at, name: offset(at, name) + (3_600_000_000 if at > later else 0))
    what = next(each.what for each in findings(make()) if "rules" in each.what)
    assert "America/Mexico_City" in what
    assert "between 2023-11-" in what
