"""Texts that are numbers as a rule: of which type a key's column is, and what becomes of each reading, on every path.

Each narrow row is accounted for by hand: its cell holds the same text, or the same number; or it is in quarantine; or
the connector wants NULL there, and verify counts it. Whatever comes first, and in whatever portions: it is the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

import widebeam.setup.prepare
from tests.plant import Plant

FILE = """
[source]
dsn = "{dsn}"
table = "public.states"
entity = ["house"]
time = "at"
key = "sensor"
[source.value]
columns = ["f", "v"]
numbers = ["v"]
[target]
dsn = "{dsn}"
[sink]
type_conflict = "{policy}"
"""

TABLE = """
CREATE TABLE public.states (
    house text, at timestamp, sensor text, f float8, v text, PRIMARY KEY (house, sensor, at));
"""

LONG = "0.1000000000000000055511151231257827"
"""A number with more digits than a double precision holds: it is stored as a text, or not at all."""

FIRST = [("n", "1.50"), ("t", "on"), ("f", 2.5)]  # a number, a text and a float come first
LATER = [
    ("n", "on"), ("n", "-2e3"), ("n", LONG), ("n", "off"),
    ("t", "1.50"), ("t", "+.5"), ("t", LONG),
    ("f", "1.50"), ("f", "on"),
]  # fmt: skip
MISFITS = {("n", "on"), ("n", "off"), ("n", LONG), ("t", "on"), ("t", LONG), ("f", "on")}
"""What is no number; it makes its column a text, if that is allowed."""


NUMBERS = {"1.50": "1.5", "-2e3": "-2000", "+.5": "0.5", "2.5": "2.5"}
"""Each number as the server prints it, in a text column, too."""


class Cell(NamedTuple):
    """One narrow row with its cell."""

    sensor: str
    at: str
    narrow: str
    wide: str | None

    @property
    def same(self) -> bool:
        if (self.sensor, self.narrow) in MISFITS or self.wide is None:
            return self.wide == self.narrow
        return self.wide == NUMBERS[self.narrow]


class House(Plant):
    """The source, and the pipeline of one connector of it."""

    def __init__(self, dsn: str, file: Path, policy: str) -> None:
        super().__init__(dsn, file, FILE.format(dsn=dsn, policy=policy))
        self.seconds = 0
        self.execute(TABLE)

    def write(self, readings: list[tuple[str, Any]]) -> None:
        """Each in a transaction of its own, later than those before it."""
        for sensor, value in readings:
            column = "v" if isinstance(value, str) else "f"
            self.execute(
                f"INSERT INTO public.states (house, at, sensor, {column})"
                " VALUES ('h', timestamp '2024-01-01' + %s * interval '1 s', %s, %s)",
                self.seconds, sensor, value,
            )  # fmt: skip
            self.seconds += 1

    def types(self) -> dict[str, str]:
        return dict(self.execute("SELECT key, column_type FROM widebeam.columns"))

    def cells(self) -> list[Cell]:
        rows = self.execute(
            "SELECT s.sensor, s.at::text, coalesce(s.v, s.f::text),"
            " CASE s.sensor WHEN 'n' THEN w.n::text WHEN 't' THEN w.t::text ELSE w.f::text END"
            " FROM public.states s LEFT JOIN wide.h w USING (at)"
        )
        return [Cell(*row) for row in rows]

    def quarantined(self) -> set[tuple[str, str]]:
        rows = self.execute(
            "SELECT raw::jsonb -> 'row' ->> 1, raw::jsonb -> 'wide' ->> 'at', reason FROM widebeam.quarantine"
        )
        assert {reason for *_, reason in rows} <= {"type_conflict", "not_widened"}
        return {(sensor, at) for sensor, at, _ in rows}


@pytest.mark.parametrize("by", ["stream", "backfill", "late backfill", "both"])
@pytest.mark.parametrize("policy", ["quarantine", "widen", "null"])
def test_no_reading_of_a_text_that_is_a_number_as_a_rule_is_lost(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, by: str
) -> None:
    monkeypatch.setattr(widebeam.setup.prepare, "make_ahead", lambda *_: None)  # the keys appear while it runs
    house = House(database, tmp_path / "house.toml", policy)
    history = {"backfill": FIRST + LATER, "late backfill": LATER, "both": FIRST}.get(by, [])
    house.write(history)
    house.prepare()
    if by != "late backfill":
        house.backfill()
    with house.streaming():
        house.write([each for each in FIRST if each not in history])
        house.verify()  # what was first is applied: rows of different times come in any order
        house.write([each for each in LATER if each not in history])
        if by == "late backfill":
            house.backfill()
        report = house.verify()
    assert house.types() == dict.fromkeys("ntf", "text" if policy == "widen" else "double precision")
    wrong = [each for each in house.cells() if not each.same]
    assert {(each.sensor, each.narrow) for each in wrong} == (set() if policy == "widen" else MISFITS)
    assert {each.wide for each in wrong} <= {None}
    assert report.differing == []
    shelved = set() if policy == "null" else {(each.sensor, each.at) for each in wrong}
    assert house.quarantined() == shelved
    assert (report.quarantined, report.nulled) == ((0, len(wrong)) if policy == "null" else (len(wrong), 0))
