"""`check` of a connector that is made already says what a run would refuse, and a run's way on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from cdc.halt import Cause, Halt
from cdc.source import publication, slot, slot_waits
from tests.pipeline import Pipeline, pipeline_over
from widebeam.advice.advice import advice
from widebeam.check.check import findings
from widebeam.check.made import made_findings
from widebeam.config.config import ConfigError, load
from widebeam.config.connector import Connector
from widebeam.finding import Finding
from widebeam.setup.prepare import prepare
from widebeam.state import halts


@pytest.fixture
def made(database: str, tmp_path: Path) -> Iterator[tuple[Pipeline, Connector]]:
    pipeline = pipeline_over(database, tmp_path, kafka=None, topic="")
    connector = load(str(pipeline.file), {})
    assert findings(connector) == []
    prepare(connector)
    yield pipeline, connector


def only(connector: Connector) -> Finding:
    (finding,) = made_findings(connector)
    return finding


def test_a_made_connector_as_it_was_made_has_nothing_in_its_way(made: tuple[Pipeline, Connector]) -> None:
    assert made_findings(made[1]) == []


def test_names_of_its_own_tables_are_free_for_it_and_taken_for_another_connector(
    made: tuple[Pipeline, Connector], tmp_path: Path
) -> None:
    pipeline, connector = made
    assert "another name" not in str(advice(connector))
    other = tmp_path / "beside.toml"
    other.write_text(pipeline.file.read_text())
    (said,) = [each.what for each in advice(load(str(other), {})) if "another name" in each.what]
    assert f"(of {connector.name})" in said and "of no connector" not in said and "__1" not in said


def test_an_option_that_a_run_refuses_to_see_changed_is_a_finding(made: tuple[Pipeline, Connector]) -> None:
    pipeline, _ = made
    text = pipeline.file.read_text()
    pipeline.file.write_text(text.replace("[target]\n", '[target]\nlayout = "single"\n'))
    found = made_findings(load(str(pipeline.file), {}))
    assert any("`layout` was per_entity when the connector was made and is single" in each.what for each in found)
    assert all(each.remedy.startswith("set it back, or `widebeam drop") for each in found)


@pytest.mark.parametrize(
    ("begun", "command"),
    [({"dropping": True}, "drop"), ({"gap": {"a": 1}}, "resume"), ({"gap": {"a": 1}, "dropping": True}, "drop")],
)
def test_what_is_half_done_is_one_finding_that_says_what_a_run_says(
    made: tuple[Pipeline, Connector], begun: dict[str, object], command: str
) -> None:
    pipeline, connector = made
    with psycopg.connect(pipeline.dsn, autocommit=True) as session:
        session.execute("UPDATE widebeam.connectors SET settings = settings || %s", [Jsonb(begun)])
    found = only(connector)
    assert f"`widebeam {command} {connector.name}" in found.remedy
    with pytest.raises(ConfigError) as refused:
        prepare(connector)
    assert str(refused.value) == f"{found.what}: {found.remedy}"


def test_a_halt_is_shown_with_its_way_on(made: tuple[Pipeline, Connector]) -> None:
    _, connector = made
    halts.record(connector.options.target.conninfo(), connector.name, Halt(Cause.TRUNCATE, "was truncated", "do this"))
    assert only(connector) == Finding("was truncated", "halt (truncate)", "do this")


def test_a_slot_that_is_gone_is_a_finding_and_no_new_one_is_promised(made: tuple[Pipeline, Connector]) -> None:
    pipeline, connector = made
    with psycopg.connect(pipeline.dsn, autocommit=True) as session:
        slot.drop(session, connector.slot)
    found = only(connector)
    assert (found.what, found.where, found.remedy.split(" begins")[0]) == (
        f"replication slot {connector.slot} is gone", "source", f"`widebeam resume {connector.name} --backfill-gap`"
    )  # fmt: skip


def test_a_standby_for_which_the_stream_waits_is_a_finding(
    made: tuple[Pipeline, Connector], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As status says, whose way on is a check."""
    monkeypatch.setattr(slot_waits, "standbys", lambda *_: ["the stream waits for sb1. Start it; or drop its slot"])
    assert only(made[1]) == Finding("the stream waits for sb1", "source", "Start it; or drop its slot")


def test_a_publication_that_is_gone_is_a_finding_since_changes_were_missed(made: tuple[Pipeline, Connector]) -> None:
    pipeline, connector = made
    with psycopg.connect(pipeline.dsn, autocommit=True) as session:
        publication.drop(session, connector.publication)
    assert "is gone" in only(connector).what and "--backfill-gap" in only(connector).remedy


def test_a_wide_column_that_is_gone_is_a_finding(made: tuple[Pipeline, Connector]) -> None:
    pipeline, connector = made
    with psycopg.connect(pipeline.dsn, autocommit=True) as session:
        row: Any = session.execute(
            "SELECT format('ALTER TABLE %I.%I DROP COLUMN %I CASCADE', schema_name, table_name, column_name)"
            " FROM widebeam.columns JOIN widebeam.tables USING (connector, entity, part) LIMIT 1"
        ).fetchone()
        session.execute(row[0])
    assert ("is gone" in only(connector).what, only(connector).where) == (True, "target")


def test_a_foreign_slot_of_its_name_is_a_finding_for_a_new_connector(database: str, tmp_path: Path) -> None:
    pipeline = pipeline_over(database, tmp_path, kafka=None, topic="")
    connector = load(str(pipeline.file), {})
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [connector.slot])
    assert f"the slot {connector.slot} exists" in only(connector).what
