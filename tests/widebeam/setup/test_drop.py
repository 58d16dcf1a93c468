"""Dropping a connector: everything of it goes, in an order in which nothing half-gone can go on working."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from psycopg import sql
from typer.testing import CliRunner

from cdc.halt import Halt
from cdc.log import group
from cdc.log.kafka import KafkaPublisher
from cdc.lsn import Lsn
from cdc.source.session import connect
from cdc.wire.stream import Stream
from sink.mapping.wide import Need
from sink.wide.registry import Registry
from tests.pipeline import until
from tests.readings import FILE, NARROW
from widebeam.check.kafka import broker_findings
from widebeam.check.made import made_findings
from widebeam.cli import app
from widebeam.cli.outcome import explained
from widebeam.config.config import ConfigError, load
from widebeam.config.connector import Connector
from widebeam.config.options.server import Dsn
from widebeam.setup import drop as module
from widebeam.setup.drop import StillRunning, drop, there_is
from widebeam.setup.prepare import prepare
from widebeam.state.signs import SignWriter

FILLED = f"""{NARROW}INSERT INTO tenant.readings SELECT 's', 'c', '2024-01-01'::timestamp + n * interval '1 h', n
FROM generate_series(1, 9) n
"""


@pytest.fixture
def session(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as session:
        yield session


@pytest.fixture
def connector(session: psycopg.Connection, database: str, tmp_path: Path) -> Connector:
    """A connector over a narrow table, of which nothing is set up yet."""
    session.execute(FILLED)
    file = tmp_path / f"drop_{uuid4().hex[:8]}.toml"
    file.write_text(FILE.format(dsn=database))
    return load(str(file), {})


def set_up(connector: Connector) -> Connector:
    """Make all that there is of it, with two wide tables."""
    mapping = prepare(connector).mapping
    with connect(connector.options.target.conninfo(), autocommit=True) as target:
        Registry(mapping).ensure(
            target, [Need(("s",), "c", "f", "double precision"), Need(("t",), "c", "f", "double precision")]
        )
    return connector


@pytest.fixture
def plant(connector: Connector) -> Connector:
    """A connector that is set up."""
    return set_up(connector)


CATALOG = {
    "relations": "SELECT nspname, relname, relkind, relreplident, relacl::text, pg_get_userbyid(relowner) FROM pg_class"
    " JOIN pg_namespace n ON n.oid = relnamespace WHERE relpersistence <> 't' AND nspname NOT LIKE 'pg_toast%%'",
    "schemas": "SELECT nspname, nspacl::text FROM pg_namespace WHERE nspname NOT LIKE 'pg_temp%%'"
    " AND nspname NOT LIKE 'pg_toast_temp%%'",
    "columns": "SELECT attrelid::regclass::text, attname, atttypid::regtype::text, attnotnull FROM pg_attribute"
    " WHERE attnum > 0 AND NOT attisdropped AND attrelid::regclass::text NOT LIKE 'pg_toast%%'",
    "indexes": "SELECT pg_get_indexdef(indexrelid), indisreplident, indisvalid FROM pg_index",
    "constraints": "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint",
    "functions": "SELECT oid::regprocedure::text FROM pg_proc",
    "types": "SELECT oid::regtype::text FROM pg_type WHERE typnamespace::regnamespace::text NOT LIKE 'pg_toast%%'",
    "triggers": "SELECT tgname FROM pg_trigger",
    "event triggers": "SELECT evtname FROM pg_event_trigger",
    "publications": "SELECT pubname, pubviaroot FROM pg_publication",
    "slots": "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()",
    "large objects": "SELECT oid FROM pg_largeobject_metadata",
    "settings": "SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting",
    "rows": "SELECT r::text FROM tenant.readings r",
}


def catalog(session: psycopg.Connection) -> dict[str, set[tuple[object, ...]]]:
    """Everything that a connector could leave in a database, and the narrow rows."""
    return {
        name: {tuple(map(str, row)) for row in session.execute(query, []).fetchall()} for name, query in CATALOG.items()
    }


def left(session: psycopg.Connection, before: dict[str, set[tuple[object, ...]]]) -> dict[str, set[tuple[object, ...]]]:
    """What there is now and was not before, and what was and is not."""
    now = catalog(session)
    return {name: now[name] ^ before[name] for name in now if now[name] != before[name]}


def test_everything_goes_but_what_was_there_before(connector, session):
    before = catalog(session)
    set_up(connector)
    assert len(left(session, before)) >= 8
    session.execute("INSERT INTO widebeam.quarantine (connector, origin, reason, detail, raw) SELECT connector, '', '',"
                    " '', '' FROM widebeam.connectors")  # fmt: skip
    done = drop(connector)
    assert (done.tables, done.slot, done.publication, done.topic, done.control) == (2, True, True, False, True)
    assert left(session, before) == {}


def test_the_audit_log_can_be_kept(plant, session):
    drop(plant, keep_audit=True)
    audit = session.execute("SELECT action, detail, by_role FROM widebeam.audit ORDER BY id").fetchall()
    assert [action for action, _, _ in audit] == ["drop begins", "drop"]
    assert audit[1][1]["tables"] == 2
    assert audit[1][2] == "postgres"
    tables = session.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'widebeam'").fetchall()
    for (table,) in tables:
        if table not in ("audit", "version"):
            count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("widebeam", table))
            assert session.execute(count).fetchone() == (0,), table


def test_the_last_connector_s_audit_goes_into_the_server_s_log(plant, postgres):
    drop(plant)
    assert f"connector {plant.name} was dropped by postgres" in postgres.log.read_text(errors="replace")


def test_the_control_schema_stays_for_other_connectors_and_for_what_is_not_ours(plant, session, database, tmp_path):
    file = tmp_path / f"drop_{uuid4().hex[:8]}.toml"
    file.write_text(FILE.format(dsn=database) + 'name = "other_{entity}"\n')
    other = load(str(file), {})
    prepare(other)
    assert not drop(plant).control
    session.execute("CREATE VIEW public.mine AS SELECT connector FROM widebeam.connectors")
    assert not drop(other).control
    assert session.execute("SELECT count(*) FROM public.mine").fetchone() == (0,)


def test_twice_is_well(plant):
    assert drop(plant) is not None
    assert drop(plant) is None


STEPS = ["_fence", "_wide_tables", "_publication", "_topic", "_group", "_wide_schema", "_forget", "_control"]


@pytest.mark.parametrize("step", STEPS)
def test_interrupted_after_any_step_nothing_goes_on_and_drop_does(step, connector, session, monkeypatch):
    class Crash(BaseException):
        pass

    real, before = getattr(module, step), catalog(session)
    set_up(connector)

    def crash(*arguments: object, **named: object) -> None:
        real(*arguments, **named)
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(module, step, crash)
        with pytest.raises(Crash):
            drop(connector)
    if step != "_forget":
        assert session.execute("SELECT count(*) FROM widebeam.progress").fetchone() == (0,)
        with pytest.raises(ConfigError, match="half dropped"):
            prepare(connector)
    drop(connector)
    assert left(session, before) == {}


def test_it_goes_on_after_each_wide_table(connector, session, monkeypatch):
    before = catalog(session)
    set_up(connector)
    real = sql.Identifier
    names = iter(range(3))

    def crash(*parts: str) -> sql.Identifier:
        if next(names, None) is None:
            raise KeyboardInterrupt
        return real(*parts)

    with monkeypatch.context() as patched:
        patched.setattr(module.sql, "Identifier", crash)
        with pytest.raises(KeyboardInterrupt):
            drop(connector)
    assert session.execute("SELECT count(*) FROM widebeam.tables").fetchone() == (1,)
    drop(connector)
    assert left(session, before) == {}


@pytest.mark.parametrize("existed", [False, True])
def test_topic_and_group_go_if_they_are_ours(existed, session, database, tmp_path, kafka, topic, monkeypatch):
    session.execute(FILLED)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    if existed:
        admin.create_topics([NewTopic(topic, 8, 1)])[topic].result(timeout=30)
    file = tmp_path / f"drop_{uuid4().hex[:8]}.toml"
    section = f'[kafka]\nbootstrap_servers = "{kafka.bootstrap}"\ntopic = "{topic}"\npartitions = 8\n'
    file.write_text(FILE.format(dsn=database) + section)
    connector = load(str(file), {})
    before = catalog(session)
    prepare(connector)
    member = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": connector.group})
    try:
        member.subscribe([topic])
        until(lambda: member.poll(0.1) or member.assignment())
        member.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
        assert not group.awaited_empty(connector.kafka_client(), connector.group, 0.2)
        monkeypatch.setattr(group.awaited_empty, "__defaults__", (0.2,))
        with pytest.raises(StillRunning, match="sinks still read"):
            drop(connector)
    finally:
        member.close()
    done = drop(connector)
    assert (done.topic, done.group) == (not existed, True)
    assert (topic in admin.list_topics(timeout=60).topics) is existed
    assert connector.group not in {one.group_id for one in admin.list_consumer_groups().result(timeout=60).valid}
    assert left(session, before) == {}
    assert not group.delete(connector.kafka_client(), connector.group), "twice is well"


def test_a_running_connector_is_not_dropped(plant, session, database):
    stream = Stream.start(database, plant.slot, plant.publication, Lsn(0))
    try:
        with pytest.raises(StillRunning, match="stop `widebeam run`"):
            drop(plant)
    finally:
        stream.close()
    assert session.execute("SELECT count(*) FROM widebeam.tables").fetchone() == (2,)


def test_what_others_made_in_the_schema_stays(plant, session):
    session.execute("CREATE TABLE wide.mine (a int)")
    drop(plant)
    assert session.execute("SELECT relname FROM pg_class WHERE relnamespace = 'wide'::regnamespace").fetchall() == [
        ("mine",)
    ]


def test_a_publication_that_was_there_before_stays(session, database, tmp_path):
    session.execute(FILLED)
    file = tmp_path / f"drop_{uuid4().hex[:8]}.toml"
    file.write_text(FILE.format(dsn=database))
    connector = load(str(file), {})
    session.execute(f"CREATE PUBLICATION {connector.publication} FOR TABLE tenant.readings")
    prepare(connector)
    drop(connector)
    assert session.execute("SELECT count(*) FROM pg_publication").fetchone() == (1,)


def test_a_topic_that_a_person_made_after_ours_was_refused_stays_and_the_remedy_for_a_long_record_works(
    session, database, tmp_path, kafka, topic
):
    session.execute(FILLED)
    file = tmp_path / f"drop_{uuid4().hex[:8]}.toml"
    section = f'[kafka]\nbootstrap_servers = "{kafka.bootstrap}"\ntopic = "{topic}"\npartitions = 1\n'
    file.write_text(FILE.format(dsn=database) + section + "replication_factor = 3\n")
    with pytest.raises(ConfigError, match=r"replication_factor 3.*or make the topic yourself"):
        prepare(load(str(file), {}))
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1, config={"max.message.bytes": "1000000"})])[topic].result()
    connector = load(str(file), {})
    assert any("takes records of 1,000,000 bytes at most" in each.what for each in broker_findings(connector))
    prepare(connector)
    drop(connector)
    assert topic in admin.list_topics(timeout=10).topics


def test_a_record_that_is_too_long_goes_on_by_what_its_halt_says(session, database, tmp_path, kafka, topic):
    session.execute(FILLED)
    file = tmp_path / f"drop_{uuid4().hex[:8]}.toml"
    section = f'[kafka]\nbootstrap_servers = "{kafka.bootstrap}"\ntopic = "{topic}"\npartitions = 1\n'
    text = FILE.format(dsn=database) + section
    file.write_text(text + "record_megabytes = 1\n")
    connector = load(str(file), {})
    prepare(connector)
    long = bytes(range(256)) * 12_000  # it does not get shorter by much
    publisher = KafkaPublisher(connector.kafka_client("capture"), topic, 1)
    with pytest.raises(Halt) as halt:
        publisher.publish(0, b"key", long, 0)
    publisher.close()
    wanted = re.match(r"(record_megabytes = \d+) in \[kafka\]", halt.value.remedy)
    assert wanted is not None, halt.value.remedy
    file.write_text(text + wanted[1] + "\n")
    connector = load(str(file), {})
    prepare(connector)
    publisher = KafkaPublisher(connector.kafka_client("capture"), topic, 1)
    assert publisher.publish(0, b"key", long, 0)
    until(lambda: publisher.delivered(0.5))
    publisher.close()
    drop(connector)


def elsewhere(connector: Connector) -> Connector:
    """The same connector, whose source does not answer any more."""
    source = connector.options.source.model_copy(update={"dsn": Dsn("host=127.0.0.1 port=1 dbname=x")})
    return replace(connector, options=connector.options.model_copy(update={"source": source}))


def test_a_connector_whose_source_is_gone_for_good_is_dropped_and_what_stays_there_is_told(
    plant: Connector, session: psycopg.Connection
) -> None:
    with pytest.raises(psycopg.OperationalError):
        drop(elsewhere(plant))
    done = drop(elsewhere(plant), source_gone=True)
    assert done is not None
    assert (done.tables, done.slot, done.publication, done.control) == (2, False, False, True)
    for statement in done.left:  # the source comes back after all
        session.execute(statement.encode())
    assert session.execute(
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s", [plant.slot]
    ).fetchone() == (0,)
    assert session.execute("SELECT FROM pg_publication WHERE pubname = %s", [plant.publication]).fetchone() is None


def test_a_source_is_not_taken_for_gone_while_a_process_says_that_it_lives(plant: Connector) -> None:
    SignWriter(plant.options.target.conninfo, plant.name, "sink 1", lambda: "at work").write()
    with pytest.raises(StillRunning, match="sink 1 on "):
        drop(elsewhere(plant), source_gone=True)


def test_drop_says_before_it_asks_that_there_is_nothing(connector: Connector) -> None:
    said = CliRunner().invoke(app, ["drop", str(connector.file)])
    assert (said.exit_code, "nothing to drop" in said.output, "[y/N]" in said.output) == (0, True, False)


def test_a_renamed_file_is_noticed_listed_and_the_connector_dropped_by_its_old_name(plant: Connector) -> None:
    renamed = replace(plant, name="renamed", file=plant.file.rename(plant.file.with_name("renamed.toml")))
    runner = CliRunner()
    assert plant.name in runner.invoke(app, ["status", str(renamed.file)]).output
    assert any(plant.name in each.what for each in made_findings(renamed))
    with pytest.raises(ConfigError, match=f"connector {plant.name} of this target .* maps the same tables"):
        prepare(renamed)  # as check says
    listed = json.loads(runner.invoke(app, ["list", str(renamed.file), "--json"]).output)
    assert [(one["connector"], one["slot"], one["state"]) for one in listed] == [(plant.name, plant.slot, "stopped")]
    said = runner.invoke(app, ["drop", "--yes", str(renamed.file), "--named", plant.name])
    assert said.output.startswith(f"Dropped {plant.name}: 2 wide tables, the slot, the publication")
    assert "knows no connector" in runner.invoke(app, ["list", "--target", plant.options.target.conninfo()]).output


def test_what_needs_a_connector_that_is_not_set_up_ends_with_one_code(connector: Connector) -> None:
    for verb in (
        ["status"],
        ["verify"],
        ["quarantine", "list"],
        ["quarantine", "retry"],
        ["replay", "--from-offset", "0"],
    ):
        said = CliRunner().invoke(app, [*verb, str(connector.file)])
        code = explained(said.exception)[1] if isinstance(said.exception, Exception) else said.exit_code
        assert code == 1, verb


def test_drop_asks_before_anything_goes(plant: Connector) -> None:
    said = CliRunner().invoke(app, ["drop", str(plant.file)], input="n\n")
    assert (said.exit_code, "[y/N]" in said.output, there_is(plant)) == (1, True, True)
