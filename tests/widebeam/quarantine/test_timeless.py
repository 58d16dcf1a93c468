"""A connector without a time: what is in quarantine, or differs after a gap, gets its place all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc.source.session import connect
from sink.target import open_target
from snapshot.chunks.plan import Chunk
from tests.plant import Plant
from widebeam.gap.repair import RangeRepair
from widebeam.quarantine.retry import Retry
from widebeam.quarantine.store import Choice

FILE = """
[source]
dsn = "{dsn}"
table = "public.val"
entity = ["entity"]
time = []
key = "attr"
[source.value]
columns = ["i", "s"]
[target]
dsn = "{dsn}"
"""


@pytest.fixture
def plant(database: str, tmp_path: Path) -> Plant:
    made = Plant(database, tmp_path / "shop.toml", FILE.format(dsn=database))
    made.execute("CREATE TABLE val (entity int, attr text, i int, s text, PRIMARY KEY (entity, attr))")
    made.prepare()
    with made.streaming():
        made.execute("INSERT INTO val VALUES (1, 'size', 42, NULL), (2, 'size', 7, NULL)")
        made.pass_all()
        made.execute("UPDATE val SET i = NULL, s = 'old' WHERE entity = 2")
    return made


def test_a_retry_without_a_time_says_why_an_entry_stays_and_places_what_fits_by_now(plant: Plant) -> None:
    with connect(plant.dsn, autocommit=True) as source, open_target(plant.dsn, "test") as target:
        again = Retry(source, target, plant.ready.mapping).run(Choice("shop"))
        assert [reason for reason, _ in again.unfit.values()] == ["type_conflict"]
        plant.execute("UPDATE val SET i = 9, s = NULL WHERE entity = 2")
        assert len(Retry(source, target, plant.ready.mapping).run(Choice("shop")).placed) == 1
    assert plant.execute("SELECT size FROM wide.shop WHERE entity = 2") == [(9,)]


def test_a_gap_is_mended_without_a_time(plant: Plant) -> None:
    plant.execute("UPDATE val SET i = 43 WHERE entity = 1")
    plant.execute(
        "INSERT INTO widebeam.chunks (connector, chunk, source, estimated) VALUES ('shop', 9, 'public.val', 0)"
    )
    with connect(plant.dsn, autocommit=True) as source, open_target(plant.dsn, "test") as target:
        RangeRepair(source, target, plant.ready.mapping)(Chunk(9, None, None, 0), 0.0)
    assert plant.execute("SELECT size FROM wide.shop WHERE entity = 1") == [(43,)]
