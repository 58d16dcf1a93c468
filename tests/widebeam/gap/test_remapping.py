"""Another time for the same wide tables: over a gap every row is read again by it, and nothing is in quarantine."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

import pytest

from cdc.halt import Halt
from snapshot.run import Backfill, BackfillSettings
from tests.plant import Plant
from widebeam.config.config import ConfigError
from widebeam.gap.cross import cross
from widebeam.gap.repair import RangeRepair

FILE = """
[source]
dsn = "{dsn}"
table = "public.states"
entity = []
key = "k"
{time}
several = "last"
order_by = ["id"]
[source.value]
columns = ["v"]
[target]
dsn = "{dsn}"
layout = "single"
name = "states"
[sink]
on_delete = "{on_delete}"
"""
TABLE = """
CREATE TABLE states (id bigserial PRIMARY KEY, k text, at timestamptz, ts float8, v int);
ALTER TABLE states REPLICA IDENTITY FULL;
INSERT INTO states (k, at, v) VALUES ('a', '2024-01-01', 1), ('b', '2024-01-01', 2), ('a', '2024-01-02', 3);
INSERT INTO states (k, ts, v) VALUES ('a', 1704240000.5, 4), ('b', 1704067200, 5), ('b', 1704326400, 6);
"""
BEFORE = 'time = "at"'
EITHER = 'time = ["at", "ts"]\ntime_form = ["native", "epoch_float"]'
ALONE = 'time = "ts"\ntime_form = "epoch_float"'
MOVED = "UPDATE states SET ts = extract(epoch FROM at), at = NULL WHERE at IS NOT NULL"


class States(Plant):
    """The rows of which some have their time in another column, and how they are read."""

    def __init__(self, dsn: str, file: Path) -> None:
        super().__init__(dsn, file, FILE.format(dsn=dsn, time=BEFORE, on_delete="clear"))
        self.execute(TABLE)
        self.prepare()
        self.backfill()

    def say(self, time: str, on_delete: str = "clear") -> None:
        self.configure(FILE.format(dsn=self.dsn, time=time, on_delete=on_delete))

    def cross(self) -> None:
        cross(self.connector, agree=lambda loss: pytest.fail(str(loss)))
        self.prepare()
        mapping = self.ready.mapping
        repairs = BackfillSettings(mapping, self.dsn, self.dsn, repairs=lambda *both: RangeRepair(*both, mapping))
        Backfill(repairs).run(Event())

    def cells(self) -> list[Any]:
        return self.execute("SELECT at::text, a, b FROM wide.states ORDER BY at")

    def quarantined(self) -> list[Any]:
        return self.execute("SELECT reason FROM widebeam.quarantine")


@pytest.mark.parametrize(("time", "change"), [(EITHER, "SELECT"), (EITHER, MOVED), (ALONE, MOVED)])
def test_rows_that_had_no_time_have_one_by_another_mapping(
    database: str, tmp_path: Path, time: str, change: str
) -> None:
    states = States(database, tmp_path / "states.toml")
    assert states.quarantined() == [("null_wide_key",)] * 3
    states.execute(change)
    states.say(time)
    with pytest.raises(ConfigError, match=r"`widebeam resume states --backfill-gap` reads every row again"):
        states.prepare()
    states.cross()
    assert states.quarantined() == []
    assert states.cells() == [
        ("2024-01-01 00:00:00+00", 1, 5),
        ("2024-01-02 00:00:00+00", 3, None),
        ("2024-01-03 00:00:00.5+00", 4, None),
        ("2024-01-04 00:00:00+00", None, 6),
    ]
    with states.streaming():
        states.execute("UPDATE states SET at = NULL, ts = 1704153600.25 WHERE v = 3; DELETE FROM states WHERE v = 5")
        states.execute("INSERT INTO states (k, v) VALUES ('a', 7)")
        report = states.verify()
    assert states.cells()[:2] == [("2024-01-01 00:00:00+00", 1, 2), ("2024-01-02 00:00:00.25+00", 3, None)]
    assert states.quarantined() == [("null_wide_key",)]
    assert (report.differing, report.quarantined) == ([], 1)


def test_a_mapping_that_cannot_be_is_refused_before_anything_is_fenced(database: str, tmp_path: Path) -> None:
    states = States(database, tmp_path / "states.toml")
    before = states.execute("TABLE widebeam.connectors")
    states.say('time = "id"')
    with pytest.raises(ConfigError, match="would be a bigint, and is a timestamp with time zone"):
        cross(states.connector)
    states.say('time = "ts"\ntime_form = "epoch_float"', on_delete="ignore")
    with pytest.raises(ConfigError, match="outlive their rows"):
        cross(states.connector)
    states.say('time = ["at", "gone"]')
    with pytest.raises(Halt, match="has no column gone"):
        cross(states.connector)
    states.execute("ALTER TABLE states REPLICA IDENTITY DEFAULT")
    states.say(EITHER)
    with pytest.raises(Halt, match="does not say which cell it means by the new mapping"):
        cross(states.connector)
    assert states.execute("TABLE widebeam.connectors") == before
