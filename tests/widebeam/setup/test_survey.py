"""Changes of the source that make no event: each is met by a halt, a notice or chunks, on old servers and new."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from cdc.halt import Cause, Halt
from cdc.lsn import Lsn
from cdc.source import facts
from cdc.source.narrow import NarrowTable
from cdc.source.session import connect
from sink.state import notices, sources, standstill
from snapshot import attached
from snapshot.run import Backfill, BackfillSettings
from tests.pipeline import until
from tests.readings import KINDS, SOURCE, TARGET
from widebeam.config.config import load
from widebeam.config.connector import Connector
from widebeam.replay.point import Offsets
from widebeam.replay.replay import Plan, rewind
from widebeam.setup import survey
from widebeam.setup.prepare import prepare
from widebeam.setup.prepared import Prepared
from widebeam.setup.survey import Survey, check
from widebeam.status.viewer import Viewer

pytestmark = pytest.mark.parametrize("version", [15, 18])

PLAIN = """
CREATE SCHEMA tenant;
CREATE TABLE tenant.readings (ship text, channel text, at timestamp, f numeric(10, 2), s varchar(20), kind text,
    PRIMARY KEY (ship, channel, at));
INSERT INTO tenant.readings VALUES ('s', 'c', '2024-01-01', 1.25, NULL, 'Decimal');
"""
FULL = PLAIN + "ALTER TABLE tenant.readings REPLICA IDENTITY FULL;"
PARTITIONED = """
CREATE SCHEMA tenant;
CREATE TABLE tenant.readings (ship text, channel text, at timestamp, f numeric(10, 2), s varchar(20), kind text,
    PRIMARY KEY (ship, channel, at)) PARTITION BY RANGE (at);
CREATE TABLE tenant.jan PARTITION OF tenant.readings FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE tenant.feb PARTITION OF tenant.readings FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
CREATE TABLE tenant.mar (LIKE tenant.readings INCLUDING ALL);
INSERT INTO tenant.readings SELECT 's', 'c', at, n, NULL, 'Decimal'
FROM (VALUES ('2024-01-01'::timestamp, 1), ('2024-02-01', 2)) AS v (at, n);
INSERT INTO tenant.mar SELECT 's', channel, at, n, NULL, 'Decimal'
FROM (VALUES ('c', '2024-03-01'::timestamp, 3), ('new', '2024-03-02', 4)) AS v (channel, at, n);
"""
ATTACH = "ALTER TABLE tenant.readings ATTACH PARTITION tenant.mar FOR VALUES FROM ('2024-03-01') TO ('2024-04-01')"
FILE = SOURCE + KINDS + TARGET


@dataclass
class Source:
    """A prepared connector over a source whose catalog can be changed and looked at."""

    connector: Connector
    session: psycopg.Connection[tuple[Any, ...]]
    ready: Prepared

    def __post_init__(self) -> None:
        self.survey = Survey(self.connector)

    def do(self, *statements: str) -> None:
        for statement in statements:
            self.session.execute(statement)

    def look(self) -> bool:
        return self.survey.look(self.session)

    def halts(self, cause: Cause, words: str) -> None:
        with pytest.raises(Halt, match=words) as caught:
            self.look()
        assert caught.value.cause is cause
        assert caught.value.remedy
        with pytest.raises(Halt, match=words):  # nor does `resume` take it for mended
            check(self.session, self.session, self.connector)

    def notices(self) -> set[tuple[str, str]]:
        return {(one.kind, one.subject) for one in notices.load(self.session, self.connector.name)}

    def backfill(self) -> None:
        dsn = self.connector.options.source.conninfo()
        Backfill(BackfillSettings(self.ready.mapping, dsn, dsn)).run(Event())

    def pass_barriers(self) -> None:
        """As sinks do that have applied everything."""
        self.do("UPDATE widebeam.progress SET barrier = pg_current_wal_insert_lsn()")

    def wide(self) -> dict[str, list[Any]]:
        rows = self.session.execute("SELECT at::date::text, to_jsonb(w) - 'at' - '_lsn' FROM wide.\"s\" w").fetchall()
        return dict(rows)


Make = Callable[[str], Source]


@pytest.fixture
def make(tmp_path: Path, database: str) -> Iterator[Make]:
    file = tmp_path / f"survey_{uuid4().hex[:8]}.toml"
    file.write_text(FILE.format(dsn=database))
    with connect(database, autocommit=True) as session:

        def make(schema: str) -> Source:
            session.execute(schema.encode())
            connector = load(str(file), {})
            made = Source(connector, session, prepare(connector))
            assert not made.look(), "all is as it was written down"
            return made

        yield make


UNDONE = [
    # what is done, what is said of it, and what puts it right
    ("ALTER TABLE tenant.readings RENAME TO old", Cause.RELATION_CHANGED, "tenant.readings is gone",
     "ALTER TABLE tenant.old RENAME TO readings"),
    ("ALTER TABLE tenant.readings RENAME TO old; CREATE TABLE tenant.readings (LIKE tenant.old INCLUDING ALL)",
     Cause.RELATION_CHANGED, "another table",
     "DROP TABLE tenant.readings; ALTER TABLE tenant.old RENAME TO readings"),
    ("ALTER TABLE tenant.readings ALTER f TYPE numeric(10, 1)", Cause.RELATION_CHANGED,
     r"f of tenant.readings was numeric\(10,2\) and is numeric\(10,1\)",
     "ALTER TABLE tenant.readings ALTER f TYPE numeric(10, 2)"),
    ("ALTER TABLE tenant.readings RENAME f TO g", Cause.RELATION_CHANGED, "no column f",
     "ALTER TABLE tenant.readings RENAME g TO f"),
    ("CREATE TABLE tenant.child () INHERITS (tenant.readings)", Cause.RELATION_CHANGED,
     "child inherits from.*as `widebeam check .* prints it.*Or, if nobody reads its rows by",
     "ALTER TABLE tenant.child NO INHERIT tenant.readings"),
    ("ALTER TABLE tenant.readings REPLICA IDENTITY NOTHING", Cause.REPLICA_IDENTITY, "UPDATE and DELETE fail",
     "ALTER TABLE tenant.readings REPLICA IDENTITY FULL"),
]  # fmt: skip


def test_what_can_be_undone_halts_and_once_undone_goes_on(make: Make, version: int) -> None:
    source = make(FULL)
    for change, cause, words, undo in UNDONE:
        source.session.execute(change.encode())
        source.halts(cause, words)
        source.session.execute(undo.encode())
        source.look()
    assert source.notices() == {("doubt", "tenant.readings")}, "its rows were written anew when the type was altered"


ALTERED = [
    ("ALTER PUBLICATION {} SET (publish = 'insert')", "lacks update, delete, truncate",
     "ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate')"),
    ("ALTER PUBLICATION {} SET TABLE tenant.readings WHERE (f > 0)", "has a row filter",
     "ALTER PUBLICATION {} SET TABLE tenant.readings"),
    ("ALTER PUBLICATION {} SET TABLE tenant.readings (ship, channel, at)", "lacks f, s, kind",
     "ALTER PUBLICATION {} SET TABLE tenant.readings"),
    ("ALTER PUBLICATION {} DROP TABLE tenant.readings", "not in publication",
     "ALTER PUBLICATION {} ADD TABLE tenant.readings"),
]  # fmt: skip


def test_a_publication_that_was_altered_halts_even_when_it_was_put_right_before_anybody_looked(
    make: Make, version: int
) -> None:
    source = make(FULL)
    name = source.connector.publication
    for change, words, undo in ALTERED:
        source.do(change.format(name))
        source.halts(Cause.NOT_PUBLISHED, words)
        source.do(undo.format(name))
        source.halts(Cause.NOT_PUBLISHED, "was altered")
        survey.accept(source.session, source.session, source.connector)
        source.look()
    source.do(f"CREATE TABLE tenant.other (x int); ALTER PUBLICATION {name} ADD TABLE tenant.other")
    source.do("VACUUM FULL FREEZE pg_publication", "VACUUM FULL FREEZE pg_publication_rel")
    source.look()  # what else is in it is nobody's business, nor where its entries lie
    source.do(f"DROP PUBLICATION {name}")
    source.halts(Cause.NOT_PUBLISHED, "is gone")


@pytest.mark.parametrize("column", ["f numeric(10, 2)", "f numeric(10, 2) GENERATED ALWAYS AS (1.0) STORED"])
def test_a_column_that_is_dropped_and_made_anew_halts(make: Make, version: int, column: str) -> None:
    source = make(FULL)
    source.do("ALTER TABLE tenant.readings DROP f", f"ALTER TABLE tenant.readings ADD {column}")
    source.halts(Cause.RELATION_CHANGED, "dropped and made anew")


def test_an_identity_that_makes_the_applications_own_update_fail_halts_with_what_mends_it(
    make: Make, version: int
) -> None:
    source = make(PLAIN)
    source.do("ALTER TABLE tenant.readings REPLICA IDENTITY FULL")
    with pytest.raises(psycopg.Error, match="cannot update"):
        source.do("UPDATE tenant.readings SET f = 2")
    source.halts(Cause.REPLICA_IDENTITY, "makes the application's own UPDATE and DELETE fail")
    source.do("ALTER TABLE tenant.readings REPLICA IDENTITY DEFAULT", "UPDATE tenant.readings SET f = 2")
    source.look()


def test_the_server_refuses_what_a_column_list_or_a_publication_forbids(make: Make, version: int) -> None:
    source = make(PLAIN)
    for change in ("ALTER f TYPE numeric(10, 1)", "DROP f", "SET UNLOGGED"):
        with pytest.raises(psycopg.Error, match="publication"):
            source.do(f"ALTER TABLE tenant.readings {change}")
    source.look()


def test_partitions_that_go_leave_their_rows_and_a_notice(make: Make, version: int) -> None:
    source = make(PARTITIONED)
    source.backfill()
    source.do("ALTER TABLE tenant.readings DETACH PARTITION tenant.jan")
    source.look()
    assert source.notices() == {("gone", "tenant.jan")}
    source.do("TRUNCATE tenant.feb")
    source.look()
    assert source.notices() == {("gone", "tenant.jan"), ("gone", "tenant.feb")}
    source.do("DROP TABLE tenant.feb")
    source.look()
    assert source.wide() == {"2024-01-01": {"c": 1.00}, "2024-02-01": {"c": 2.00}}
    viewer = Viewer(source.connector)
    seen = viewer.read()
    viewer.close()
    assert [words for words in seen.notices if "stays in the wide tables" in words] == list(seen.notices)
    assert len(seen.notices) == 2


def test_a_truncate_of_the_whole_table_leaves_no_notice_of_its_partitions(make: Make, version: int) -> None:
    source = make(PARTITIONED)
    name, table = source.connector.name, "tenant.readings"
    source.do("TRUNCATE tenant.readings")
    sources.note_truncated(source.session, name, [table], Lsn.parse(facts.position(source.session)))
    source.look()
    assert source.notices() == set(), "the sink had applied it already"
    source.do("TRUNCATE tenant.feb")
    source.look()
    assert source.notices() == {("gone", "tenant.feb")}, "by itself, of which the stream does not tell"
    notices.truncated(source.session, name, [table])
    assert source.notices() == set(), "nothing stays once the whole is truncated"


def test_rows_that_are_written_anew_are_a_doubt(make: Make, version: int) -> None:
    source = make(PARTITIONED)
    source.do("VACUUM FULL tenant.jan", "ALTER TABLE tenant.feb SET UNLOGGED")
    source.halts(Cause.RELATION_CHANGED, "feb is not logged")
    source.do("ALTER TABLE tenant.feb SET LOGGED")
    source.look()
    assert source.notices() == {("doubt", "tenant.jan"), ("doubt", "tenant.feb")}
    source.look()
    notices.settle(source.session, source.connector.name, source.session.execute("SELECT now()").fetchone()[0])
    assert source.notices() == set()


def test_values_that_are_rewritten_within_their_type_are_a_doubt(make: Make, version: int) -> None:
    source = make(FULL)
    source.do("ALTER TABLE tenant.readings ALTER f TYPE numeric(10, 2) USING f * 2")
    source.look()
    assert source.notices() == {("doubt", "tenant.readings")}


def test_an_attached_partition_that_would_make_updates_fail_halts(make: Make, version: int) -> None:
    source = make(PARTITIONED)
    source.do("ALTER TABLE tenant.mar REPLICA IDENTITY FULL", ATTACH)
    source.halts(Cause.REPLICA_IDENTITY, r"full of tenant\.mar, as it is published, makes the application's own UPDATE")


def test_a_partition_that_is_being_detached_is_gone_with_the_first_half(
    make: Make, version: int, database: str
) -> None:
    source = make(PARTITIONED)
    with connect(database) as reader:
        reader.execute("SELECT FROM tenant.readings")
        source.do("SET statement_timeout = '300ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            source.do("ALTER TABLE tenant.readings DETACH PARTITION tenant.jan CONCURRENTLY")
        source.do("RESET statement_timeout")
        source.look()
    assert source.notices() == {("gone", "tenant.jan")}


def test_a_partition_that_is_no_plain_table_halts(make: Make, version: int) -> None:
    source = make("CREATE SCHEMA tenant; CREATE TABLE tenant.readings (ship text, channel text, at timestamp, "
                  "f numeric, s text, kind text, PRIMARY KEY (ship, channel, at))")  # fmt: skip
    source.do(
        "CREATE TABLE tenant.root (at timestamp) PARTITION BY RANGE (at)",
        "CREATE FOREIGN DATA WRAPPER nothing", "CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing",
        "CREATE FOREIGN TABLE tenant.far PARTITION OF tenant.root DEFAULT SERVER nowhere",
    )  # fmt: skip
    with pytest.raises(Halt, match="far, which is no plain table"):
        facts.look(source.session, "p", NarrowTable("tenant", "root", (), ("at",), (), ()))


def test_rows_of_an_attached_partition_come_by_chunks_once_all_that_is_older_is_applied(
    make: Make, version: int
) -> None:
    source = make(PARTITIONED)
    source.backfill()
    source.do(ATTACH)
    assert source.look(), "it wants to look again soon"
    assert source.look(), "the barrier has not passed"
    assert source.notices() == {("filling", "tenant.mar")}
    viewer = Viewer(source.connector)
    assert viewer.read().phase == "backfilling"
    viewer.close()
    source.backfill()
    assert "2024-03-01" not in source.wide(), "a change that is older than the attaching may still be on its way"
    source.pass_barriers()
    assert not source.look()
    assert source.notices() == set()
    source.backfill()
    assert source.wide() == {
        "2024-01-01": {"c": 1.00, "new": None}, "2024-02-01": {"c": 2.00, "new": None},
        "2024-03-01": {"c": 3.00, "new": None}, "2024-03-02": {"c": None, "new": 4.00},
    }  # fmt: skip
    assert not source.look(), "once is enough"
    assert source.session.execute("SELECT sum(rows) FROM widebeam.chunks WHERE reads <> ''").fetchone() == (2,)


def test_a_partition_that_comes_back_with_other_values_is_written_over_the_old_ones(make: Make, version: int) -> None:
    source = make(PARTITIONED)
    source.backfill()
    source.do("ALTER TABLE tenant.readings DETACH PARTITION tenant.feb", "UPDATE tenant.feb SET f = 22")
    source.look()
    assert source.notices() == {("gone", "tenant.feb")}
    source.do(
        "ALTER TABLE tenant.readings ATTACH PARTITION tenant.feb FOR VALUES FROM ('2024-02-01') TO ('2024-03-01')"
    )
    assert source.look()
    source.pass_barriers()
    assert not source.look()
    assert source.notices() == set(), "it is back"
    source.session.execute("UPDATE widebeam.progress SET next_offset = 7")
    source.backfill()
    assert source.wide()["2024-02-01"] == {"c": 22.00}
    floors = source.session.execute("SELECT DISTINCT floor FROM widebeam.progress").fetchall()
    assert floors == [(7,)], "a replay of what is older would bring the old values back"


def test_an_empty_partition_needs_no_chunk(make: Make, version: int) -> None:
    source = make(PARTITIONED)
    source.do("CREATE TABLE tenant.apr PARTITION OF tenant.readings FOR VALUES FROM ('2024-04-01') TO ('2024-05-01')")
    assert not source.look()
    source.do("INSERT INTO tenant.readings VALUES ('s', 'c', '2024-04-01', 1, NULL, 'Decimal')")
    assert not source.look(), "what is in it now came by the stream"
    assert source.notices() == set()


def with_attached_rows(make: Make) -> Source:
    """A partition that holds rows is attached, and all that is older is applied: its chunks may be read."""
    source = make(PARTITIONED)
    source.backfill()
    source.do(ATTACH)
    source.look()
    source.pass_barriers()
    source.look()
    return source


def test_a_chunk_of_an_attached_partition_rests_while_somebody_writes(
    make: Make, version: int, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = with_attached_rows(make)
    monkeypatch.setattr(attached, "_PATIENCE", 0.0)
    monkeypatch.setattr(attached, "REST", 0.1)
    with connect(database) as writer:
        writer.execute("UPDATE tenant.readings SET f = 33 WHERE at = '2024-03-01'")
        stop = Event()
        waiting = "SELECT error FROM widebeam.chunks WHERE reads <> '' AND attempts = 0 AND state = 'failed'"
        dsn = source.connector.options.source.conninfo()
        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(Backfill(BackfillSettings(source.ready.mapping, dsn, dsn)).run, stop)
            until(lambda: running.done() or source.session.execute(waiting).fetchone())
            told = source.session.execute(waiting).fetchone()
            assert told is not None
            assert "have been writing" in told[0]
            writer.commit()
            running.result(60)
    assert source.wide()["2024-03-01"] == {"c": 33.00, "new": None}


def test_a_replay_has_attached_rows_filled_in_once_more(make: Make, version: int) -> None:
    source = with_attached_rows(make)
    source.backfill()
    # What a replay does, and the stream: it brings an older change of a cell that no event has filled.
    rewind(source.connector, Plan(Offsets({}), []))
    source.do("UPDATE wide.\"s\" SET c = NULL WHERE at = '2024-03-01'", "UPDATE widebeam.progress SET barrier = '0/0'")
    assert source.look(), "it waits until the replay is over"
    source.backfill()
    assert source.wide()["2024-03-01"]["c"] is None
    source.pass_barriers()
    assert not source.look()
    source.backfill()
    assert source.wide()["2024-03-01"]["c"] == 3.00
    assert source.session.execute("SELECT sum(rows) FROM widebeam.chunks WHERE reads <> ''").fetchone() == (4,)


def test_where_rows_can_meet_in_a_cell_the_whole_table_is_read_again(make: Make, version: int) -> None:
    source = make(PARTITIONED)
    rule = replace(source.ready.mapping.rule, several="last", order_by=("at",))
    for leaf in ("tenant.jan", "tenant.feb"):
        chunks = attached.plan_attached(source.session, rule, leaf, 1000, 24.0)
        assert {(chunk.source, chunk.reads) for chunk in chunks} == {("tenant.readings", "tenant.readings")}


def test_a_table_of_a_growing_family_may_go_and_leaves_a_notice(make: Make, version: int) -> None:
    source = make(PLAIN)
    file = source.connector.file
    file.write_text(file.read_text().replace('table = "tenant.readings"', 'tables = ["tenant.read%"]'))
    grown = Source(load(str(file), {}), source.session, source.ready)
    source.do("DROP TABLE tenant.readings")
    assert not grown.look()
    assert grown.notices() == {("gone", "tenant.readings")}


def test_a_partition_that_may_only_be_read_through_its_table_is_filled_in_all_the_same(
    make: Make, version: int, database: str
) -> None:
    source = make(PARTITIONED)
    source.backfill()
    role = f"lean_{uuid4().hex[:8]}"
    source.do(
        f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA tenant TO {role}; GRANT SELECT ON tenant.readings TO {role}",
        "CREATE TABLE tenant.apr PARTITION OF tenant.readings FOR VALUES FROM ('2024-04-01') TO ('2024-05-01')",
        f"SET ROLE {role}",
    )
    try:
        assert not source.look(), "an empty one is no more than that"
        source.do("RESET ROLE", ATTACH, f"SET ROLE {role}")
        assert source.look()
        source.do("RESET ROLE")
        source.pass_barriers()
        source.do(f"SET ROLE {role}")
        assert not source.look()
    finally:
        source.do(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")
    source.backfill()
    assert source.wide()["2024-03-02"] == {"c": None, "new": 4.00}


def test_a_look_is_of_one_moment(make: Make, version: int, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make(FULL)
    look = facts.look

    def look_while_it_is_replaced(*given: Any) -> facts.Facts:
        found = look(*given)
        with connect(database, autocommit=True) as other:
            other.execute("ALTER TABLE tenant.readings RENAME TO old; CREATE TABLE tenant.readings (LIKE tenant.old)")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(facts, "look", look_while_it_is_replaced)
        source.look()  # and does not say that tenant.readings was taken out of the publication
    source.halts(Cause.RELATION_CHANGED, "another table")


def test_no_sink_can_advance_while_attached_rows_are_read_and_written(
    make: Make, version: int, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = with_attached_rows(make)
    refused = []

    def advance(*_: object) -> None:
        with connect(database, autocommit=True) as sink:
            sink.execute("SET lock_timeout = '10ms'")
            try:
                sink.execute("UPDATE widebeam.progress SET next_offset = next_offset + 1")
            except psycopg.errors.LockNotAvailable as error:
                refused.append(error)

    monkeypatch.setattr(standstill, "await_writers", advance)
    source.backfill()
    assert refused
    assert source.wide()["2024-03-01"]["c"] == 3.00
