"""Signs of life of a connector's processes."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from cdc.trouble import Troubles
from tests.readings import FILE, NARROW
from widebeam.config.config import load
from widebeam.config.connector import Connector
from widebeam.setup.prepare import prepare
from widebeam.state import signs
from widebeam.state.sign import Sign
from widebeam.state.signs import SignWriter


@pytest.fixture
def plant(database: str, tmp_path: Path) -> Connector:
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(NARROW)
    file = tmp_path / f"signs_{uuid4().hex[:8]}.toml"
    file.write_text(FILE.format(dsn=database))
    return load(str(file), {})


def seen(plant: Connector) -> tuple[Sign, ...]:
    with psycopg.connect(plant.options.target.conninfo(), autocommit=True) as session:
        return signs.load(session, plant.name)


def test_a_process_says_that_it_lives_and_what_it_fails_at_and_takes_its_sign_away(plant: Connector) -> None:
    board = Troubles()
    writer = SignWriter(plant.options.target.conninfo, plant.name, "sink 2", lambda: "at work", board)
    assert not writer.write()
    prepare(plant)
    board.hold("sink", "no")
    assert writer.write()
    (found,) = seen(plant)
    assert (found.part, found.kind, found.how, found.fresh) == ("sink 2", "sink", "at work", True)
    assert [(each.where, each.what) for each in found.troubles] == [("sink", "no")]
    writer.begin()
    writer.end()
    assert seen(plant) == ()


def test_a_sign_of_a_process_that_was_killed_grows_old_and_is_forgotten_after_a_day(plant: Connector) -> None:
    prepare(plant)
    SignWriter(plant.options.target.conninfo, plant.name, "capture", lambda: "at work").write()
    with psycopg.connect(plant.options.target.conninfo(), autocommit=True) as session:
        session.execute("UPDATE widebeam.signs SET seen_at = now() - interval '1 h', pid = 1")
        assert not seen(plant)[0].fresh
        session.execute("UPDATE widebeam.signs SET seen_at = now() - interval '25 h'")
    SignWriter(plant.options.target.conninfo, plant.name, "sink", lambda: "at work").write()
    assert [one.part for one in seen(plant)] == ["sink"]
