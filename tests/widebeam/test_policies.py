"""What a connector says of unknown keys and of conflicting types, from chunk and stream to the proof."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.plant import Plant
from tests.readings import SOURCE
from widebeam.cli import app

FILE = (
    SOURCE
    + """
{where}
[source.value]
discriminator = "kind"
columns = {{ {kinds} }}
[target]
dsn = "{dsn}"
[sink]
unknown_key = "{unknown_key}"
type_conflict = "{type_conflict}"
"""
)

TABLE = """
CREATE SCHEMA tenant;
CREATE TABLE tenant.readings (ship text, at timestamp, channel text, kind text, f float8, i int8, t text, b bool,
    n numeric, PRIMARY KEY (ship, channel, at));
INSERT INTO tenant.readings (ship, at, channel, kind, f, i, t, b, n)
SELECT ship, at, ch.*, random() * 10, 9007199254740993 + (random() * 10) :: int8, E'a\\tb\\\\N' || ship, random() < 0.5,
    1.50
FROM unnest('{a,b}'::text[]) AS ship, generate_series('2024-01-01'::timestamp, '2024-01-02', '1 hour') AS at,
    (VALUES ('speed', 'F'), ('count', 'I'), ('state', 'T'), ('on', 'B'), ('exact', 'N')) AS ch (channel, kind);
"""


class Stage(Plant):
    """A connector whose history is filled in, beside a source that goes on."""

    def __init__(self, dsn: str, file: Path, **options: str) -> None:
        self.options = {"unknown_key": "add_column", "type_conflict": "quarantine", "where": "", "dsn": dsn, **options}
        super().__init__(dsn, file, self.text('F = "f", I = "i", T = "t", B = "b", N = "n"'))
        self.execute(TABLE)

    def text(self, kinds: str) -> str:
        return FILE.format(kinds=kinds, **self.options)

    def change(self) -> None:
        for each in CHANGES:
            self.execute(each)


@pytest.fixture
def stage(database: str, tmp_path: Path) -> Callable[..., Stage]:
    return lambda **options: Stage(database, tmp_path / "ships.toml", **options)


WHERES = pytest.mark.parametrize(
    "where", ["", 'where = { ship = ["a", "b"] }'], ids=["a plain rule", "a rule that is not plain"]
)

CHANGES = (
    "UPDATE tenant.readings SET f = f + 1 WHERE channel = 'speed' AND at < '2024-01-01 12:00'",
    "UPDATE tenant.readings SET i = NULL WHERE channel = 'count' AND at < '2024-01-01 12:00'",
    "DELETE FROM tenant.readings WHERE channel = 'state' AND ship = 'a' AND at > '2024-01-01 06:00'",
    "DELETE FROM tenant.readings WHERE at = '2024-01-01 20:00'",
    "INSERT INTO tenant.readings (ship, at, channel, kind, t) VALUES ('a', '2024-01-03', E'n\u00e9\\\\', 'T', E'\\t')",
)


@pytest.mark.parametrize("backfill_first", [True, False])
def test_chunk_and_stream_fill_the_overflow_by_the_same_rules_as_columns(
    stage: Callable[..., Stage], backfill_first: bool
) -> None:
    made = stage(unknown_key="overflow")
    made.prepare()
    if backfill_first:
        made.backfill()
    with made.streaming():
        made.change()
        if not backfill_first:
            assert made.verify().left_out  # all of it is applied, and the chunks come late
            made.backfill()
        report = made.verify()
    assert (report.differing, report.quarantined, report.cells > 100) == ([], 0, True)
    assert made.execute("SELECT key FROM widebeam.columns") == [("",), ("",)]


@pytest.mark.parametrize("backfill_first", [True, False])
def test_columns_widen_under_chunk_and_stream(stage: Callable[..., Stage], backfill_first: bool) -> None:
    made = stage(type_conflict="widen")
    made.execute(
        "UPDATE tenant.readings SET kind = 'T' WHERE channel = 'on' AND ship = 'b' AND at >= '2024-01-01 12:00'"
    )
    made.prepare()
    if backfill_first:
        made.backfill()
    with made.streaming():
        made.change()
        made.execute("UPDATE tenant.readings SET kind = 'N' WHERE channel = 'count' AND at > '2024-01-01 18:00'")
        made.execute("UPDATE tenant.readings SET kind = 'T' WHERE (channel, ship, at) = ('speed', 'a', '2024-01-01')")
        made.execute(
            "INSERT INTO tenant.readings (ship, at, channel, kind, b) VALUES ('b', '2024-01-04', 'on', 'B', 't')"
        )
        if not backfill_first:
            made.verify()
            made.backfill()
        report = made.verify()
    assert (report.differing, report.quarantined) == ([], 0)
    types = dict(made.execute("SELECT entity || key, column_type FROM widebeam.columns"))
    assert types['["a"]count'] == "numeric"
    assert types['["a"]speed'] == types['["b"]on'] == "text"
    assert types['["b"]speed'] == "double precision"


@WHERES
def test_verify_names_a_wrong_cell_in_the_overflow_and_no_other(stage: Callable[..., Stage], where: str) -> None:
    made = stage(unknown_key="overflow", where=where)
    made.prepare()
    assert made.ready.mapping.plain == (not where)
    made.backfill()
    with made.streaming():
        report = made.verify()
        assert (report.differing, report.cells) == ([], 250)
        made.execute("""UPDATE wide.a__1 SET _overflow = _overflow || '{"state": "wrong"}' WHERE at = '2024-01-01'""")
        made.execute("UPDATE wide.b__1 SET _overflow = _overflow - 'count' WHERE at = '2024-01-02'")
        assert sorted(each.key for each in made.verify().differing) == ["count", "state"]


@WHERES
def test_conflicts_that_are_null_are_no_differences(stage: Callable[..., Stage], where: str) -> None:
    made = stage(type_conflict="null", where=where)
    made.prepare()
    made.backfill()
    with made.streaming():
        made.execute("UPDATE tenant.readings SET kind = 'T' WHERE channel = 'speed' AND at < '2024-01-01 03:00'")
        report = made.verify()
        assert (report.differing, report.quarantined, report.nulled) == ([], 0, 6)
        made.execute("UPDATE wide.a__1 SET exact = NULL WHERE at = '2024-01-01'")
        assert [each.key for each in made.verify().differing] == ["exact"]


def test_the_command_lists_shows_retries_and_discards(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stage()
    made.configure(made.text('F = "f", I = "i", T = "t", B = "b"'))
    made.execute("INSERT INTO tenant.readings (ship, at, channel, kind, f) VALUES ('a', '2024-01-01', '', 'F', 1)")
    made.prepare()
    made.backfill()

    def run(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["quarantine", words[0], str(made.file), *words[1:]])
        assert done.exit_code == code, done.output
        return done.stdout

    listed = json.loads(run("list", "--json", "--limit", "3"))
    assert listed["reasons"] == {"unknown_discriminator": 50, "empty_key": 1}
    assert len(listed["entries"]) == 3
    number = str(listed["entries"][0]["id"])
    assert json.loads(run("show", number, "--json"))["raw"]["table"] == "tenant.readings"
    assert "reason:" in run("show", number)
    run("show", "99999", code=1)
    for verb in (("retry",), ("discard", "--yes")):  # a slip of the pen is no success, and takes nothing along
        run(*verb, number, "99999", code=1)
        run(*verb, number, "--reason", "empty_key", code=1)
    assert "50 unknown_discriminator" in run("list")
    made.configure(made.text('F = "f", I = "i", T = "t", B = "b", N = "f"'))
    made.execute("UPDATE tenant.readings SET f = 3 WHERE kind = 'N'")
    assert "50 placed" in run("retry", code=1)
    assert made.execute("SELECT DISTINCT exact FROM wide.a WHERE at < '2024-01-03'") == [(3.0,)]
    assert "Discarded 1 entry" in run("discard", "--reason", "empty_key", "--yes")
    assert "empty" in run("list")
    assert made.execute("SELECT count(*) FROM widebeam.audit") == [(2,)]
