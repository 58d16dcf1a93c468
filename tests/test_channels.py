"""As many channels as real ships have: each gets a column of its own, in tables whose full rows fit a page."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from psycopg import sql

from tests.schemas.fixture import Fixture

FILE = """
[source]
dsn = "{dsn}"
table = "public.readings"
entity = ["ship"]
time = "moment"
key = "channel"
[source.value]
columns = ["value"]
[target]
dsn = "{dsn}"
[sink]
columns_per_table = 30000
columns_per_hour = 100000
"""


@pytest.fixture
def pipeline(database: str, tmp_path: Path) -> Fixture:
    file = tmp_path / "channels.toml"
    file.write_text(FILE.format(dsn=database))
    made = Fixture("channels", database, tmp_path, connector=file)
    with made.session() as session:
        session.execute(
            "CREATE TABLE readings (ship text, channel text, moment timestamp, value float8, "
            "PRIMARY KEY (ship, channel, moment))"
        )
    return made


def write(pipeline: Fixture, channels: list[str], first: int, moments: int) -> None:
    """In every moment a reading of every channel, which no other channel has."""
    with pipeline.session() as session:
        session.execute(
            "INSERT INTO readings SELECT 'ship', channel, timestamp '2024-01-01' + m * interval '15 s', "
            "%(first)s + n + m / 128.0 FROM unnest(%(channels)s::text[]) WITH ORDINALITY c (channel, n), "
            "generate_series(1, %(moments)s) m",
            {"channels": channels, "first": first, "moments": moments},
        )


def values(pipeline: Fixture, moment: str) -> dict[str, float]:
    """What a reader sees of one moment, by channel, read from the views."""
    seen: dict[str, float] = {}
    with pipeline.session() as session:
        for view, columns in session.execute(
            "SELECT view_name, jsonb_object_agg(column_name, key) "
            "FROM widebeam.columns JOIN widebeam.tables USING (connector, entity, part) GROUP BY view_name"
        ).fetchall():
            query = sql.SQL("SELECT * FROM {} WHERE moment = %s").format(sql.Identifier("wide", view))
            cursor = session.execute(query, [moment])
            (row,) = cursor.fetchall()
            names = [column.name for column in cursor.description or ()]
            seen |= {columns[name]: value for name, value in zip(names, row, strict=True) if name in columns}
    return seen


def parts(pipeline: Fixture) -> int:
    with pipeline.session() as session:
        row = session.execute("SELECT count(*) FROM widebeam.tables").fetchone()
        return row[0] if row else 0


def test_1037_channels_and_15_more_while_it_runs(pipeline: Fixture) -> None:
    names = [f"/hs4sd_v1/{group}{n:04}//{kind}/value" for n, (group, kind) in enumerate(
        (group, kind) for group in ("me", "ge", "sg") for kind in map(str, range(351)))][:1052]  # fmt: skip
    old, new = names[:1037], names[1037:]
    write(pipeline, old, 0, 20)
    pipeline.converge()
    assert values(pipeline, "2024-01-01 00:00:15") == {name: n + 1 + 1 / 128 for n, name in enumerate(old)}
    assert parts(pipeline) == 2
    write(pipeline, new, 1037, 40)
    pipeline.converge()
    assert values(pipeline, "2024-01-01 00:00:15") == {name: n + 1 + 1 / 128 for n, name in enumerate(names)}
    assert pipeline.ask("verify")["differences"] == 0


def iso_names(count: int) -> list[str]:
    """Local identifiers in the manner of ISO 19848, all different, most too long for a column."""
    chance = random.Random(24_000)
    systems = [f"{a}.{b}" for a in (411, 412, 511, 621, 651, 861) for b in (1, 2, 731, 732)]
    quantities = ["temperature", "pressure", "mass.flow", "Volume", "volume", "rotational.speed", "전력"]
    contents = ["exhaust.gas", "cooling.fresh.water", "marine.fuel.oil", "lubricating.oil", "starting.air"]
    places = ["inlet", "outlet"]
    made: dict[str, None] = {}
    while len(made) < count:
        name = (
            f"/dnv-v2/vis-3-7a/{chance.choice(systems)}/C101.{chance.randrange(1, 20)}/S{chance.randrange(1, 8)}.1/sec"
        )
        name += f"/meta/qty-{chance.choice(quantities)}/cnt-{chance.choice(contents)}/pos-{chance.choice(places)}"
        name += "/detail-" + ".".join(chance.choices(["cylinder", "bearing", "low", "high"], k=chance.randrange(1, 15)))
        made[name.encode()[:200].decode(errors="ignore")] = None
    return list(made)


@pytest.mark.exhaustive  # names that are cut, and views beyond the first: tests/sink/mapping/test_names.py
def test_24000_names_of_up_to_200_bytes_are_24000_columns(pipeline: Fixture) -> None:
    names = iso_names(24_000)
    assert max(len(name.encode()) for name in names) == 200
    assert len({name.encode()[:63] for name in names}) < 20_000
    write(pipeline, names[:23_000], 0, 1)
    pipeline.done("plan", "--apply")
    pipeline.converge()
    write(pipeline, names[23_000:], 23_000, 1)
    pipeline.converge()
    assert values(pipeline, "2024-01-01 00:00:15") == {name: n + 1 + 1 / 128 for n, name in enumerate(names)}
    assert pipeline.ask("verify")["differences"] == 0
