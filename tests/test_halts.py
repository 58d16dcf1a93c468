"""Halts: each named cause is really brought about, the words say the way on, and that way is gone as it is printed.

Nothing resumes by itself over a gap: a second run, and a plain resume, halt with the same cause.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg
import pytest
from _pytest.mark import ParameterSet
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub forgets to export them
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)
from psycopg import sql

from cdc.halt import LASTING, Cause
from tests.pipeline import FILE, NARROW, Pipeline, change_some, command, until
from tests.waiting import PATIENCE
from widebeam.demo.history import load
from widebeam.lab.account import new_directory
from widebeam.lab.kafka import KafkaBroker
from widebeam.lab.postgres import QUICK, PostgresServer

ROWS: Final = 2_000
ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True)
class Scene:
    """A connector that has converged."""

    pipeline: Pipeline
    topic: str = ""

    @property
    def name(self) -> str:
        return self.pipeline.file.stem

    def sql(self, *statements: str) -> None:
        """Run statements; {slot} and {publication} are the connector's, {narrow} is its table."""
        with psycopg.connect(self.pipeline.dsn, autocommit=True) as session:
            for each in statements:
                session.execute(
                    sql.SQL(each).format(  # type: ignore[arg-type]
                        slot=sql.Literal(f"widebeam_{self.name}"), publication=sql.Identifier(f"widebeam_{self.name}"),
                        narrow=NARROW,
                    )
                )  # fmt: skip

    def command(self, *arguments: str) -> tuple[int, str]:
        done = command(self.pipeline, *arguments)
        return done.returncode, done.stderr

    def follow(self, printed: str) -> bool:
        """Run what was printed: every command in backquotes; whether it has converged by the last of them."""
        verb = [""]
        for each in re.findall(r"`widebeam ([^`]*)`", printed):
            verb = shlex.split(each)
            code, said = self.command(*verb, *(["--until-converged"] if verb[0] == "run" else []))
            if code == 1 and "--backfill-gap --clear" in said:  # the scene has deleted rows, and is asked about them
                code, said = self.command(*verb, "--clear")
            assert code == 0, said
        return verb[0] == "run"

    def prove(self, *, converged: bool = False) -> None:
        if not converged:
            code, said = self.command("run", self.name, "--until-converged")
            assert code == 0, said
        assert self.pipeline.wide() == self.pipeline.narrow()


Fault = Callable[[Scene], None]


def slot_ahead(scene: Scene) -> None:
    change_some(scene.pipeline.dsn)
    scene.sql("SELECT pg_replication_slot_advance({slot}, pg_current_wal_lsn())")


def slot_dropped(scene: Scene) -> None:
    scene.sql("SELECT pg_drop_replication_slot({slot})")


def slot_recreated(scene: Scene) -> None:
    scene.sql("SELECT pg_drop_replication_slot({slot})")
    change_some(scene.pipeline.dsn)
    scene.sql("SELECT pg_create_logical_replication_slot({slot}, 'pgoutput')")


def slot_invalidated(scene: Scene) -> None:
    change_some(scene.pipeline.dsn)
    scene.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", "SELECT pg_reload_conf()")
    for _ in range(3):
        scene.sql("SELECT pg_logical_emit_message(false, 'other', repeat('x', 1000))", "SELECT pg_switch_wal()")
    scene.sql("CHECKPOINT", "ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()")


def slot_dropped_under_capture(scene: Scene) -> None:
    """As soon as nobody is in it: capture comes back for it."""
    slots = "FROM pg_replication_slots WHERE database = current_database()"
    while scene.pipeline.one(f"SELECT count(*) {slots}"):
        with contextlib.suppress(psycopg.errors.ObjectInUse):
            scene.sql(f"SELECT pg_terminate_backend(active_pid) {slots} AND active")
            scene.sql(f"SELECT pg_drop_replication_slot(slot_name) {slots}")


def out_of_the_publication_and_back(scene: Scene) -> None:
    scene.sql("ALTER PUBLICATION {publication} DROP TABLE {narrow}")
    change_some(scene.pipeline.dsn)
    scene.sql("ALTER PUBLICATION {publication} ADD TABLE {narrow}")


def eight_truncates(scene: Scene) -> None:
    """And everything is put back, in the same transaction."""
    with psycopg.connect(scene.pipeline.dsn) as session:
        session.execute(sql.SQL("CREATE TEMPORARY TABLE kept AS SELECT * FROM {}").format(NARROW))
        for _ in range(8):
            session.execute(sql.SQL("TRUNCATE {}").format(NARROW))
        session.execute(sql.SQL("INSERT INTO {} SELECT * FROM kept").format(NARROW))


def column_dropped(scene: Scene) -> None:
    schema, table, column = one_column(scene)
    scene.sql(f'ALTER TABLE "{schema}"."{table}" DROP COLUMN "{column[0]}" CASCADE')


def one_column(scene: Scene) -> tuple[str, str, tuple[str, str]]:
    with psycopg.connect(scene.pipeline.dsn) as session:
        row = session.execute(
            "SELECT schema_name, table_name, column_name, column_type FROM widebeam.tables"
            " JOIN widebeam.columns USING (connector, entity, part) ORDER BY entity, ordinal LIMIT 1"
        ).fetchone()
    assert row is not None
    return row[0], row[1], (row[2], row[3])


def put_back(scene: Scene) -> None:
    schema, table, (column, kind) = one_column(scene)
    scene.sql(f'ALTER TABLE "{schema}"."{table}" ADD COLUMN "{column}" {kind}')


def identity_back(scene: Scene) -> None:
    scene.sql("ALTER TABLE {narrow} REPLICA IDENTITY DEFAULT")


def identity_gone(scene: Scene) -> None:
    scene.sql("ALTER TABLE {narrow} REPLICA IDENTITY NOTHING")


def nothing(_: Scene) -> None:
    """The printed command is all that it takes."""


@dataclass(frozen=True)
class Case:
    """A cause, how it is brought about, what of the remedy is done by hand, and how it is met by a run at work."""

    cause: Cause
    fault: Fault
    words: str
    mend: Fault = nothing
    exhaustive: bool = False
    """Another case has its cause, too, or goes the same way on after a halt that tests/widebeam/setup has."""


def each(cases: Iterable[Case]) -> list[ParameterSet]:
    return [
        pytest.param(case, id=case.fault.__name__, marks=[pytest.mark.exhaustive] if case.exhaustive else [])
        for case in cases
    ]


ON_DIRECT: Final = [
    Case(Cause.SLOT_AHEAD, slot_ahead, "beyond our record", exhaustive=True),
    Case(Cause.SLOT_AHEAD, slot_recreated, "beyond our record", exhaustive=True),
    Case(Cause.SLOT_INVALIDATED, slot_invalidated, "was invalidated"),
    Case(Cause.NOT_PUBLISHED, out_of_the_publication_and_back, "publication", exhaustive=True),
    Case(Cause.REPLICA_IDENTITY, identity_gone, "replica identity", identity_back),
    Case(Cause.TARGET_CHANGED, column_dropped, "is gone", put_back),
    Case(Cause.TRUNCATE, eight_truncates, "more than 7 truncates"),
]


def at_rest(scene: Scene, case: Case) -> tuple[int, str]:
    """The fault is done while nothing runs; what the next run says."""
    case.fault(scene)
    return scene.command("run", scene.name)


def at_work(scene: Scene, case: Case) -> tuple[int, str]:
    """The fault is done while it runs; what it says at its end."""
    scene.pipeline.file.with_suffix(".log").unlink(missing_ok=True)
    with scene.pipeline.start("run") as run:
        until(lambda: scene.pipeline.one("SELECT count(*) FROM pg_stat_replication WHERE application_name ~ 'capture'"))
        case.fault(scene)
        change_some(scene.pipeline.dsn)
        return run.wait(PATIENCE), scene.pipeline.said()


def meet(scene: Scene, case: Case, how: Callable[[Scene, Case], tuple[int, str]]) -> str:
    """It halts with the cause, and says so in `status` too; the remedy, as it was printed."""
    code, said = how(scene, case)
    assert code == 3, said
    assert f"({case.cause.value})" in said
    assert case.words in said
    shown = command(scene.pipeline, "status", scene.name, "--json")
    halt = json.loads(shown.stdout)["halt"]
    assert halt["cause"] == case.cause.value
    assert case.words in halt["what"]
    assert halt["remedy"] in said
    assert scene.name in halt["remedy"]
    return str(halt["remedy"])


def go_on(scene: Scene, case: Case, how: Callable[[Scene, Case], tuple[int, str]] = at_rest) -> None:
    remedy = meet(scene, case, how)
    case.mend(scene)
    if "--backfill-gap" in remedy:
        # What stands in the way is in the stream itself: only a run meets it.
        code, said = scene.command("run" if case.cause is Cause.TRUNCATE else "resume", scene.name)
        assert (code, f"({case.cause.value})" in said) == (3, True), said
        remedy = next(each for each in re.findall(r"`[^`]*`", remedy) if "--backfill-gap" in each)
    scene.prove(converged=scene.follow(remedy))


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    directory = new_directory("wb-halts-")
    server = PostgresServer.start(directory / "pg", settings={**QUICK, "shared_buffers": "32MB"})
    yield server
    server.stop("immediate")
    shutil.rmtree(directory)


def scene_over(server: PostgresServer, directory: Path, kafka: str = "", topic: str = "") -> Scene:
    name = f"halts_{topic or 'direct'}".replace(".", "_")
    with psycopg.connect(server.dsn(), autocommit=True) as session:
        session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    dsn = server.dsn(name)
    section = f'[kafka]\nbootstrap_servers = "{kafka}"\ntopic = "{topic}"\npartitions = 2\n' if kafka else ""
    file = directory / f"{name}.toml"
    file.write_text(FILE.format(dsn=dsn, kafka=section).replace("[source]", "[source]\nwatch_seconds = 1"))
    scene = Scene(Pipeline(file, dsn, load(dsn, ROWS), kafka or None, topic), topic)
    scene.prove()
    return scene


@pytest.fixture(scope="module")
def direct(own_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return scene_over(own_server, tmp_path_factory.mktemp("halts"))


@pytest.mark.parametrize("case", each(ON_DIRECT))
def test_a_cause_in_the_databases_halts_and_its_remedy_goes_on(direct: Scene, case: Case) -> None:
    go_on(direct, case)


AT_WORK: Final = [
    Case(Cause.SLOT_GONE, slot_dropped_under_capture, "is gone"),
    Case(Cause.NOT_PUBLISHED, out_of_the_publication_and_back, "publication"),
    Case(Cause.TARGET_CHANGED, column_dropped, "is gone", put_back, exhaustive=True),
]


@pytest.mark.parametrize("case", each(AT_WORK))
def test_a_cause_that_comes_about_at_work_ends_the_run_and_its_remedy_goes_on(direct: Scene, case: Case) -> None:
    go_on(direct, case, at_work)


def topic_deleted(scene: Scene) -> None:
    change_some(scene.pipeline.dsn)
    admin(scene).delete_topics([scene.topic])[scene.topic].result(timeout=30)


def records_deleted_before_they_are_applied(scene: Scene) -> None:
    with scene.pipeline.start("capture") as capture:
        change_some(scene.pipeline.dsn)
        end = scene.pipeline.one("SELECT pg_current_wal_lsn()")
        until(lambda: scene.pipeline.one("SELECT acknowledged >= %s::pg_lsn FROM widebeam.connectors", end))
        capture.terminate()
        assert capture.wait(PATIENCE) == 0, scene.pipeline.said()
    wanted = [TopicPartition(scene.topic, number, -1) for number in range(2)]
    for done in admin(scene).delete_records(wanted).values():
        done.result(timeout=30)


def confirmed_records_lost(scene: Scene) -> None:
    """To the recorded ends; tests/cdc/test_lost_records.py cuts a broker's files off."""
    change_some(scene.pipeline.dsn)
    scene.sql("UPDATE widebeam.connectors SET log_ends = log_ends || '{{\"0\": 1000000}}'")


def compaction_on(scene: Scene) -> None:
    _set_policy(scene, "compact")


def compaction_off(scene: Scene) -> None:
    _set_policy(scene, "delete")


def _set_policy(scene: Scene, policy: str) -> None:
    entry = ConfigEntry("cleanup.policy", policy, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, scene.topic, incremental_configs=[entry])
    admin(scene).incremental_alter_configs([resource])[resource].result(timeout=30)


def partition_added(scene: Scene) -> None:
    admin(scene).create_partitions([NewPartitions(scene.topic, 3)])[scene.topic].result(timeout=30)
    until(lambda: len(admin(scene).list_topics(scene.topic, timeout=30).topics[scene.topic].partitions) == 3)


def three_configured(scene: Scene) -> None:
    file = scene.pipeline.file
    file.write_text(file.read_text().replace("partitions = 2", "partitions = 3"))


def admin(scene: Scene) -> AdminClient:
    return _client(str(scene.pipeline.kafka))


@cache  # what it was asked for is lost with it
def _client(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": "0"})


ON_KAFKA: Final = [
    Case(Cause.TOPIC_RECREATED, topic_deleted, "is gone"),
    Case(Cause.RETENTION_GAP, records_deleted_before_they_are_applied, "was never applied"),
    Case(Cause.LOG_INCOMPLETE, confirmed_records_lost, "had confirmed", exhaustive=True),
    Case(Cause.COMPACTION, compaction_on, "is compacted", compaction_off),
    Case(Cause.PARTITIONS_CHANGED, partition_added, "has 3 partitions", three_configured),
]


@pytest.fixture(scope="module")
def on_kafka(
    own_server: PostgresServer, kafka: KafkaBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    scene = scene_over(own_server, tmp_path_factory.mktemp("halts"), kafka.bootstrap, f"test.{uuid4().hex[:12]}")
    yield scene
    admin(scene).delete_topics([scene.topic])[scene.topic].result(timeout=30)


@pytest.mark.parametrize("case", each(ON_KAFKA))
def test_a_cause_in_the_log_halts_and_its_remedy_goes_on(on_kafka: Scene, case: Case) -> None:
    go_on(on_kafka, case)


def test_what_is_killed_in_the_middle_of_going_over_a_gap_or_back_goes_on_at_the_next_attempt(on_kafka: Scene) -> None:
    """SIGKILL of the command itself, at the steps after which least is as it was."""
    slot_dropped(on_kafka)
    change_some(on_kafka.pipeline.dsn)
    for step in ("gap.fenced", "gap.slot_made"):
        killed = command(
            on_kafka.pipeline, "resume", on_kafka.name, "--backfill-gap", "--clear", WIDEBEAM_FAILPOINTS=f"{step}=crash"
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    code, said = on_kafka.command("run", on_kafka.name)
    assert (code, "half crossed" in said, "--backfill-gap" in said) == (2, True, True), said
    on_kafka.follow(f"`widebeam resume {on_kafka.name} --backfill-gap`")
    change_some(on_kafka.pipeline.dsn)
    on_kafka.prove()
    epochs = "SELECT sum(epoch) FROM widebeam.progress"
    began, back = on_kafka.pipeline.one(epochs), ("replay", on_kafka.name, "--from-offset", "{}", "--yes")
    floor = on_kafka.pipeline.one("SELECT string_agg(partition || ':' || floor, ',') FROM widebeam.progress")
    for step, done in (("replay.rewound", False), ("replay.committed", True)):
        verb = [each.format(floor) for each in back]
        killed = command(on_kafka.pipeline, *verb, WIDEBEAM_FAILPOINTS=f"{step}=crash")
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert (on_kafka.pipeline.one(epochs) > began) is done
    on_kafka.prove()


ELSEWHERE: Final = {
    Cause.OTHER_INCARNATION: (
        "widebeam/setup/test_failover.py::test_without_the_slot_a_failover_halts_and_the_gap_is_mended"
    ),
    Cause.UNDECODABLE_STREAM: "cdc/record/test_assembler.py::Cause.UNDECODABLE_STREAM",
    Cause.RELATION_CHANGED: "widebeam/setup/test_survey.py::Cause.RELATION_CHANGED",
    Cause.LOG_INCOMPLETE: "sink/test_run.py::Cause.LOG_INCOMPLETE",
    Cause.RECORD_TOO_LARGE: "cdc/log/test_kafka.py::Cause.RECORD_TOO_LARGE",
    Cause.CHUNKS_FAILED: "snapshot/test_run.py::Cause.CHUNKS_FAILED",
    Cause.REPEATED_FAILURE: "sink/test_run.py::Cause.REPEATED_FAILURE",
    Cause.ZONE_RULES: "widebeam/setup/test_zone_rules.py::Cause.ZONE_RULES",
}
"""Causes that other tests reach: the file, and what is to be found in it."""


def test_every_cause_is_reached_by_a_test() -> None:
    reached = {case.cause for case in [*ON_DIRECT, *AT_WORK, *ON_KAFKA]}
    for cause, place in ELSEWHERE.items():
        file, _, word = place.partition("::")
        assert word in (ROOT / "tests" / file).read_text(), f"{place} is not there any more"
        reached.add(cause)
    assert reached == set(Cause)
    assert reached >= LASTING
