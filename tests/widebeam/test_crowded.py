"""Several source rows in one cell: buckets, many ids of one name, rows that do not count, two tables; under a writer.

What there should be is said by SQL that knows nothing of us.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from signal import SIGINT
from typing import NamedTuple

import pytest

from snapshot.chunks.plan import Chunk
from snapshot.fill.merge import ChunkMerger
from snapshot.fill.reader import Reading
from tests.pipeline import until
from tests.plant import Plant
from tests.schemas.fixture import Fixture
from tests.waiting import PATIENCE
from widebeam.config import config
from widebeam.lab.kafka import KafkaBroker

FILE = """
[source]
dsn = "{dsn}"
tables = ["public.a", "public.b"]
entity = []
key = "name"
several = "{several}"
order_by = ["n"]
where = {{ good = ["1"] }}
{time}
[source.dictionary]
column = "id"
query = "SELECT id, name FROM public.names"
[source.value]
columns = ["v"]
nulls = ["-1"]
[target]
dsn = "{dsn}"
layout = "single"
"""

TABLES = """
CREATE TABLE names (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO names VALUES (1, 'speed'), (2, 'speed'), (3, 'heat'), (4, 'unused');
CREATE SEQUENCE serial;
CREATE TABLE a ({columns}, id int, good int, v int, n bigint DEFAULT nextval('serial') PRIMARY KEY);
CREATE TABLE b ({columns}, id int, good int, v int, n bigint DEFAULT nextval('serial') PRIMARY KEY);
ALTER TABLE a REPLICA IDENTITY FULL;
ALTER TABLE b REPLICA IDENTITY FULL;
CREATE INDEX ON a ({axis});
CREATE INDEX ON b ({axis});
"""


class Form(NamedTuple):
    """A way to say the time: its columns, a moment for the n-th second, the wide time in SQL, and the options."""

    columns: str
    second: Callable[[float], str]
    wide: str
    options: str
    moment: str = ""
    """Where one of the columns has the time: which."""

    @property
    def names(self) -> list[str]:
        return [each.split()[0] for each in self.columns.split(", ")]

    @property
    def shown(self) -> list[str]:
        """The wide columns."""
        return self.names[:1] if self.moment else self.names


BASE = 1_729_987_000  # some minutes before the clocks of Oslo are put back
EITHER = "coalesce(extract(epoch FROM at), ts::text::numeric)"
BUCKETED = "to_timestamp(floor(({} + 7.5) / 15) * 15)::text"
FORMS = {
    "as it is": Form(
        "at timestamptz", lambda s: f"to_timestamp({BASE + int(s)})", "at::text", 'time = "at"'
    ),
    "a timestamptz in buckets": Form(
        "at timestamptz", lambda s: f"to_timestamp({BASE + s:.3f})", BUCKETED.format("extract(epoch FROM at)"),
        'time = "at"\ntime_bucket = "15 s"',
    ),
    "local time in buckets": Form(
        "at timestamp", lambda s: f"to_timestamp({BASE + s * 60:.3f}) AT TIME ZONE 'Europe/Oslo'",
        BUCKETED.format("extract(epoch FROM at AT TIME ZONE 'Europe/Oslo')"),
        'time = "at"\ntime_zone = "Europe/Oslo"\ntime_bucket = "15 s"',
    ),
    "texts in buckets": Form(
        "at text",
        lambda s: f"to_char(to_timestamp({BASE + s:.3f}) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')",
        BUCKETED.format("extract(epoch FROM at::timestamptz)"),
        'time = "at"\ntime_form = "YYYY-MM-DDTHH:MM:SS.fffZ"\ntime_bucket = "15 s"',
    ),
    "seconds with a fraction": Form(
        "at float8", lambda s: f"{BASE + int(s)}.25",
        "(timestamptz 'epoch' + round(at::text::numeric * 1000000)::bigint * interval '1 us')::text",
        'time = "at"\ntime_form = "epoch_float"',
    ),
    "seconds and nanoseconds": Form(
        "clock int, ns int", lambda s: f"{BASE + int(s)}, {int(s) % 2 * 500}",
        "concat_ws('|', to_timestamp(clock), ns)", 'time = ["clock", "ns"]\ntime_form = "s_ns"',
    ),
    "one of two columns": Form(
        "at timestamptz, ts float8",
        lambda s: (f"to_timestamp({BASE + int(s)}), NULL", f"NULL, {BASE + int(s)}.25",
                   f"to_timestamp({BASE + int(s)}.5), {BASE}")[int(s * 100) % 3],
        BUCKETED.format(EITHER), 'time = ["at", "ts"]\ntime_form = ["native", "epoch_float"]\ntime_bucket = "15 s"',
        EITHER,
    ),
}  # fmt: skip


class Crowd(Plant):
    """Two narrow tables, their connector, and a writer's changes."""

    def __init__(self, dsn: str, file: Path, form: Form, several: str) -> None:
        super().__init__(dsn, file, FILE.format(dsn=dsn, several=several, time=form.options))
        self.form, self.several, self.random, self.deletes = form, several, Random(5), True
        self.execute(TABLES.format(columns=form.columns, axis=form.names[0]))
        for _ in range(400):
            self.execute(self.insert())

    def insert(self) -> str:
        r = self.random
        when = self.form.second(r.random() * 200)
        return (
            f"INSERT INTO {r.choice('ab')} ({', '.join(self.form.names)}, id, good, v) VALUES"
            f" ({when}, {r.choice([1, 1, 2, 3, 3])}, {r.choice([0, 1, 1, 1])}, {r.choice([-1, *range(20)])})"
        )

    def change(self) -> str:
        r = self.random
        table = r.choice("ab")
        some = (
            f"WHERE n IN (SELECT n FROM {table} ORDER BY md5(n::text || {r.random()}::text) LIMIT {r.choice([1, 3])})"
        )
        when = f"({', '.join(self.form.names)}) = ROW({self.form.second(r.random() * 200)})"
        return r.choice(
            [
                self.insert(),
                f"DELETE FROM {table} {some}" if self.deletes else self.insert(),
                f"UPDATE {table} SET v = v + 1 {some}",
                f"UPDATE {table} SET v = NULL {some}",
                f"UPDATE {table} SET good = 1 - good {some}",
                f"UPDATE {table} SET id = 4 - id {some} AND id < 4",
                f"UPDATE {table} SET {when} {some}",
                f"UPDATE {table} SET n = nextval('serial') {some}",
            ]
        )

    def write(self) -> None:
        for _ in range(60):
            self.execute("; ".join(["BEGIN", *(self.change() for _ in range(self.random.choice([1, 4]))), "COMMIT"]))

    def should(self) -> set[tuple[str, str, str]]:
        times = [self.form.moment] if self.form.moment else self.form.names
        order = ", ".join(f"{each} {'DESC' if self.several == 'last' else 'ASC'}" for each in (*times, "n"))
        rows = self.execute(
            "SELECT place, name, v::text FROM (SELECT DISTINCT ON (name, place) * FROM"
            f" (SELECT *, {self.form.wide} AS place FROM (TABLE a UNION ALL TABLE b) AS u JOIN names USING (id)"
            f" WHERE good = 1) AS r ORDER BY name, place, {order}) AS holds WHERE v IS NOT NULL AND v <> -1"
        )
        return set(rows)

    def there(self) -> set[tuple[str, str, str]]:
        place = f"concat_ws('|', {', '.join(self.form.shown)})"
        cells = [
            row
            for (name,) in self.execute("SELECT column_name FROM widebeam.columns")
            for row in self.execute(
                f'SELECT {place}, \'{name}\', "{name}"::text FROM wide.crowd WHERE "{name}" IS NOT NULL'
            )
        ]
        return set(cells)


@pytest.mark.parametrize(
    ("form", "several", "backfill_first"),
    [
        ("as it is", "last", True),
        ("a timestamptz in buckets", "first", False),
        ("local time in buckets", "last", False),
        ("texts in buckets", "last", False),
        ("seconds with a fraction", "first", True),
        ("seconds and nanoseconds", "last", False),
        ("one of two columns", "last", False),
    ],
)
def test_each_cell_has_what_its_rows_come_to_under_a_writer(
    database: str, tmp_path: Path, form: str, several: str, backfill_first: bool
) -> None:
    crowd = Crowd(database, tmp_path / "crowd.toml", FORMS[form], several)
    crowd.prepare()
    if backfill_first:
        crowd.backfill()
        assert crowd.there() == crowd.should()
    with crowd.streaming():
        crowd.write()
        if not backfill_first:
            crowd.verify()  # all of it is applied, and the chunks come late
            crowd.backfill()
        report = crowd.verify()
        assert (report.differing, report.in_motion, report.quarantined, report.fenced) == ([], 0, 0, True)
    assert crowd.there() == crowd.should()
    assert report.cells == len(crowd.there()) > 20


def test_cells_that_are_cleared_after_a_chunk_was_read_and_before_it_is_merged_stay_clear(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = Crowd(database, tmp_path / "crowd.toml", FORMS["texts in buckets"], "last")
    crowd.prepare()
    merge, late = ChunkMerger.merge, list[str]()

    def merge_late(self: ChunkMerger, chunk: Chunk, reading: Reading, began: float) -> bool:
        if chunk.source == "public.b":  # those of a are merged by now
            crowd.execute("DELETE FROM a WHERE id < 3; DELETE FROM b WHERE id < 3")
            crowd.pass_all()
            late.append(chunk.source)
        return merge(self, chunk, reading, began)

    monkeypatch.setattr(ChunkMerger, "merge", merge_late)
    with crowd.streaming():
        crowd.backfill()
    assert late
    assert crowd.there() == crowd.should() != set()


def test_a_chunk_that_writes_over_what_is_there_meets_the_rows_of_the_other_table_too(
    database: str, tmp_path: Path
) -> None:
    crowd = Crowd(database, tmp_path / "crowd.toml", FORMS["texts in buckets"], "last")
    crowd.prepare()
    crowd.backfill()
    crowd.execute("UPDATE wide.crowd__1 SET speed = -7, heat = -7; UPDATE widebeam.progress SET barrier = 'F/0'")
    crowd.execute("UPDATE widebeam.chunks SET state = 'planned', reads = source")  # as for an attached partition
    crowd.backfill()
    left = {(place, key) for place, key, value in crowd.there() if value == "-7"}
    assert {each for each in crowd.there() if each[:2] not in left} == crowd.should() != set()


@pytest.mark.parametrize("query", ["SELECT id, name", "SELECT id, name, 7 AS place"])
def test_without_a_time_cells_are_read_again_by_their_entity_real_or_virtual(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    crowd = Crowd(database, tmp_path / "crowd.toml", FORMS["as it is"], "last")
    text = crowd.connector.file.read_text().replace("entity = []", 'entity = ["place"]')
    text = text.replace('time = "at"', "time = []").replace("SELECT id, name", query)
    text += "[backfill]\nchunk_rows = 100\n"
    crowd.connector.file.write_text(text)
    crowd.execute("ALTER TABLE a ADD place int DEFAULT 7; ALTER TABLE b ADD place int DEFAULT 7")
    crowd.connector = config.load(str(crowd.connector.file), {})
    crowd.execute("INSERT INTO a (at, id, good, v) VALUES (now(), 2, 1, 99); ANALYZE a; ANALYZE b")
    crowd.prepare()
    if "place" in query:  # ids of one name in different ranges of the ids
        crowd.backfill()
        assert crowd.execute("SELECT speed FROM wide.crowd") == [(99,)]
        crowd.execute("UPDATE widebeam.chunks SET state = 'planned'; TRUNCATE wide.crowd__1")
    merge = ChunkMerger.merge

    def merge_late(self: ChunkMerger, chunk: Chunk, reading: Reading, began: float) -> bool:
        crowd.execute("DELETE FROM a WHERE id = 3; DELETE FROM b WHERE id = 3")
        first = "(SELECT min(n) FROM a WHERE id = 1)"
        crowd.execute(f"UPDATE a SET v = 77, n = nextval('serial'), good = 1 WHERE n = {first}")
        crowd.pass_all()
        return merge(self, chunk, reading, began)

    monkeypatch.setattr(ChunkMerger, "merge", merge_late)
    with crowd.streaming():
        crowd.backfill()
        assert crowd.verify().right
    found = crowd.execute("SELECT place::int, speed, to_jsonb(c) ->> 'heat' FROM wide.crowd c")
    assert found == [(7, 77, None)]


def test_verify_names_the_cells_that_differ_and_those_alone(database: str, tmp_path: Path) -> None:
    crowd = Crowd(database, tmp_path / "crowd.toml", FORMS["texts in buckets"], "last")
    crowd.prepare()
    crowd.backfill()
    assert crowd.verify(0.05).right
    (place, key, value), *_ = sorted(crowd.there())
    crowd.execute(f"UPDATE wide.crowd__1 SET {key} = {key} + 1 WHERE at = '{place}'")
    crowd.execute("INSERT INTO wide.crowd__1 (at, _lsn, heat) VALUES ('1999-01-01', '0/0', 7)")
    crowd.execute(f"INSERT INTO a (at, id, good, v) VALUES ({FORMS['texts in buckets'].second(9999)}, 99, 1, 5)")
    report = crowd.verify(0.05)
    cells = {(each.time[0], each.key, each.narrow, each.wide) for each in report.differing if len(each.key) < 6}
    assert cells == {
        (place, key, value, str(int(value) + 1)),
        ("1999-01-01 00:00:00+00", "heat", None, "7"),
    }
    assert [each.key.split(": ")[:2] for each in report.differing if len(each.key) > 5] == [["public.a", "unknown_id"]]
    assert report.differences == 3


SINKS = """
[sink]
workers = 2
on_delete = "{on_delete}"
[kafka]
bootstrap_servers = "{kafka}"
topic = "{topic}"
partitions = 4
[backfill]
chunk_rows = 100
"""


@pytest.mark.parametrize(("several", "on_delete"), [("last", "clear"), ("first", "ignore")])
def test_two_sinks_behind_kafka_come_to_what_the_rows_come_to_under_a_writer(
    database: str, tmp_path: Path, kafka: KafkaBroker, topic: str, several: str, on_delete: str
) -> None:
    file = tmp_path / "crowd.toml"
    crowd = Crowd(database, file, FORMS["as it is"], several)
    file.write_text(file.read_text() + SINKS.format(on_delete=on_delete, kafka=kafka.bootstrap, topic=topic))
    crowd.deletes = on_delete == "clear"
    command = Fixture("crowd", database, tmp_path, connector=file)
    run = command.start("run")
    try:
        until(lambda: run.poll() is not None or command.chunks("merged"))
        crowd.write()
        until(lambda: run.poll() is not None or (command.chunks("merged") and not command.chunks("planned")))
        crowd.pass_all()
        should = crowd.should()
        assert crowd.there() == should
        for table in "ab" if on_delete == "ignore" else "":  # the wide history outlives all of it
            crowd.execute(f"DELETE FROM {table}")
            crowd.pass_all()
            assert crowd.there() == should
    finally:
        run.send_signal(SIGINT)
        run.wait(PATIENCE)
    assert len(should) > 20


IGNORING = '[sink]\non_delete = "ignore"\n'


def ignoring(dsn: str, file: Path, several: str, more: str = "") -> Crowd:
    """A crowd whose deletes are ignored, with no rows."""
    crowd = Crowd(dsn, file, FORMS["as it is"], several)
    file.write_text(file.read_text() + IGNORING + more)
    crowd.connector = config.load(str(file), {})
    crowd.execute("TRUNCATE a, b")
    return crowd


def put(crowd: Crowd, table: str, second: int, v: int, n: int) -> None:
    crowd.execute(f"INSERT INTO {table} VALUES ({crowd.form.second(second)}, 1, 1, {v}, {n})")


def test_where_deletes_are_ignored_a_cell_stays_until_one_of_its_rows_changes(database: str, tmp_path: Path) -> None:
    crowd = ignoring(database, tmp_path / "crowd.toml", "last")
    crowd.prepare()

    def values() -> list[int | None]:
        crowd.pass_all()
        return [v for (v,) in crowd.execute("SELECT speed FROM wide.crowd ORDER BY at")]

    put(crowd, "a", 1, 10, 1001)  # gone before anybody has read it
    put(crowd, "a", 2, 20, 1002)
    put(crowd, "b", 2, 21, 1003)
    crowd.execute("DELETE FROM a WHERE n = 1001; DELETE FROM b WHERE n = 1003")
    with crowd.streaming():
        assert values() == [10, 21]
        put(crowd, "b", 3, 30, 1004)
        put(crowd, "b", 3, 31, 1005)
        assert values() == [10, 21, 31]
        crowd.execute("DELETE FROM b WHERE n IN (1004, 1005)")
        assert values() == [10, 21, 31]
        crowd.execute("UPDATE a SET v = 22 WHERE n = 1002")  # 1003 is gone by now
        assert values() == [10, 22, 31]
        crowd.execute(f"UPDATE a SET at = {crowd.form.second(4)} WHERE n = 1002")  # a row that moves is no delete
        assert values() == [10, 31, 22]
        crowd.execute("UPDATE a SET good = 0 WHERE n = 1002")  # nor is one that does not count any more
        assert values() == [10, 31]
