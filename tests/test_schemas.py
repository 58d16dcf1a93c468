"""Ten public schemas, each with the connector that we ship for it: from the narrow tables through a run with writers to
what a pivot in plain SQL says."""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.schemas.fixture import CONNECTORS, HERE, NAMES, Fixture


def half(first: int) -> list[ParameterSet]:
    """Every second schema, and the others as exhaustive: each of them is in one of both halves."""
    return [
        pytest.param(name, marks=[] if number % 2 == first else [pytest.mark.exhaustive])
        for number, name in enumerate(NAMES)
    ]


@pytest.fixture(params=half(0))
def schema(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Fixture:
    """A schema with its history; ships goes through Kafka, the others through memory."""
    made = Fixture(request.param, database, tmp_path)
    if request.param == "ships":
        made.environment = {
            "WIDEBEAM_KAFKA__BOOTSTRAP_SERVERS": request.getfixturevalue("kafka").bootstrap,
            "WIDEBEAM_KAFKA__TOPIC": request.getfixturevalue("topic"),
            "WIDEBEAM_KAFKA__PARTITIONS": "4",
        }
    made.create()
    return made


def test_each_schema_has_a_connector() -> None:
    assert {path.stem for path in CONNECTORS.glob("*.toml")} == set(NAMES)
    assert {path.stem for path in HERE.glob("*.sql")} == set(NAMES)


def test_a_run_beside_its_writers_comes_to_the_pivot(schema: Fixture) -> None:
    schema.mend()
    planned = schema.plan()
    assert planned
    schema.live()
    schema.converge()
    assert schema.prove() > 3000
    made = schema.columns()
    assert {cell: made.get(cell) for cell in planned} == planned
    assert len(made) > len(planned)  # keys that came while it ran


@pytest.mark.parametrize("schema", half(1), indirect=True)
def test_what_init_proposes_runs_as_it_is(schema: Fixture) -> None:
    schema.write("then")
    schema.write("later")
    schema.environment = {}
    schema.propose()
    schema.mend()
    planned = schema.plan()
    schema.converge()
    assert schema.prove() > 3000
    assert schema.columns() == planned
