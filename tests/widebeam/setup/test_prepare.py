"""Set-up: made once, the same twice, crash-safe, and never against what is written down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from cdc.failpoint import Failpoint, doing
from cdc.halt import Cause, Halt
from cdc.source import slot as slots
from tests.readings import KINDS, SOURCE, TARGET
from widebeam.config.config import ConfigError, load
from widebeam.config.connector import Connector
from widebeam.setup import prepare as module
from widebeam.setup.prepare import prepare
from widebeam.setup.prepared import prepared
from widebeam.state import control, lock
from widebeam.state.lock import Busy, alone
from widebeam.state.recorded import NotSetUp

NARROW = """
CREATE SCHEMA tenant;
CREATE TABLE tenant.readings (ship text, channel text, at timestamp, f float8, s varchar(20), kind text,
    PRIMARY KEY (ship, channel, at));
INSERT INTO tenant.readings SELECT 's', 'c', '2024-01-01'::timestamp + n * interval '1 h', n, NULL, 'Decimal'
FROM generate_series(1, 100) n;
ANALYZE tenant.readings;
"""

FILE = SOURCE + KINDS + TARGET

Make = Callable[..., Connector]


@pytest.fixture
def make(tmp_path: Path, database: str) -> Make:
    """A connector over a narrow table with 100 readings; `change` rewrites its file, `more` goes at its end."""
    file = tmp_path / f"prep_{uuid4().hex[:8]}.toml"
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(NARROW)

    def make(more: str = "", change: tuple[str, str] = ("", "")) -> Connector:
        file.write_text(FILE.format(dsn=database).replace(*change) + more)
        return load(str(file), {})

    return make


@pytest.fixture
def ask(database: str):
    with psycopg.connect(database, autocommit=True) as session:

        def ask(query: str, *parameters: object) -> tuple:
            cursor = session.execute(query, parameters or None)
            return cursor.fetchone() if cursor.description else ()

        yield ask


def halted(connector: Connector) -> Halt:
    with pytest.raises(Halt) as caught:
        prepare(connector)
    return caught.value


def test_everything_is_made_and_recorded(make, ask):
    connector = make()
    found = prepare(connector)
    assert found.partitions == 8
    assert found.mapping.types == {
        "ship": "text", "at": "timestamp without time zone", "channel": "text",
        "f": "double precision", "s": "character varying(20)", "kind": "text",
    }  # fmt: skip
    cutoff, snapshot, planned, generation = ask(
        "SELECT cutoff::text, cutoff_snapshot, planned_at, generation FROM widebeam.connectors WHERE connector = %s",
        connector.name,
    )
    assert (cutoff,) == ask(
        "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s", connector.slot
    )
    assert snapshot and planned and generation == 0
    assert ask("SELECT count(*) FROM widebeam.progress WHERE connector = %s", connector.name) == (8,)
    assert ask("SELECT sum(estimated) FROM widebeam.chunks WHERE connector = %s", connector.name) >= (90,)
    assert ask("SELECT count(*) FROM pg_publication WHERE pubname = %s", connector.publication) == (1,)
    assert ask("SELECT count(*) FROM pg_namespace WHERE nspname = 'wide'") == (1,)


STATE = (
    "SELECT to_jsonb(c), (SELECT jsonb_agg(to_jsonb(p) ORDER BY partition) FROM widebeam.progress p), "
    "(SELECT jsonb_agg(to_jsonb(h) ORDER BY chunk) FROM widebeam.chunks h), "
    "(SELECT jsonb_agg(pubname) FROM pg_publication), "
    "(SELECT jsonb_agg(to_jsonb(s) - 'active_pid' ORDER BY slot_name) FROM pg_replication_slots s "
    "WHERE database = current_database()) FROM widebeam.connectors c"
)


def test_twice_is_a_no_op(make, ask):
    first = prepare(make())
    before = ask(STATE)
    assert prepare(make()) == first
    assert ask(STATE) == before
    assert prepared(make()) == first


def test_a_crash_at_any_step_is_made_good_by_the_next_time(make, ask, monkeypatch):
    connector = make()

    class Crash(BaseException):
        pass

    steps = ["_wide_schema", "_topic", "_publication", "_slot", "_plan"]
    for step in steps:
        with monkeypatch.context() as patched:
            patched.setattr(module, step, lambda *_: (_ for _ in ()).throw(Crash()))
            with pytest.raises(Crash):
                prepare(connector)
    prepare(connector)
    assert ask("SELECT count(*) FROM widebeam.connectors WHERE planned_at IS NOT NULL") == (1,)


def test_a_crash_between_slot_and_record_makes_the_slot_anew(make, ask, monkeypatch):
    connector, create = make(), slots.create

    class Crash(BaseException):
        pass

    def dies_after(dsn: str, name: str, **how: bool):
        create(dsn, name, **how)
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(slots, "create", dies_after)
        with pytest.raises(Crash):
            prepare(connector)
    (orphan,) = ask("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s", connector.slot)
    assert ask("SELECT cutoff FROM widebeam.connectors") == (None,)
    ask("INSERT INTO tenant.readings VALUES ('s', 'd', '2024-01-01', 1, NULL, 'Decimal')")
    prepare(connector)
    made = ask("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s", connector.slot)
    assert made == ask("SELECT cutoff::text FROM widebeam.connectors")
    assert made != (orphan,)


def test_a_recorded_slot_that_is_gone_halts(make, ask):
    connector = make()
    prepare(connector)
    ask("SELECT pg_drop_replication_slot(%s)", connector.slot)
    assert halted(connector).cause is Cause.SLOT_GONE


def test_a_recorded_publication_that_is_gone_halts(make, ask):
    connector = make()
    prepare(connector)
    ask(f"DROP PUBLICATION {connector.publication}")
    assert halted(connector).cause is Cause.NOT_PUBLISHED


def test_a_slot_that_somebody_else_moved_halts(make, ask):
    connector = make()
    prepare(connector)
    ask("INSERT INTO tenant.readings VALUES ('s', 'd', '2024-01-01', 1, NULL, 'Decimal')")
    ask("SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())", connector.slot)
    assert halted(connector).cause is Cause.SLOT_AHEAD


def test_a_capture_at_work_may_move_the_slot_while_it_is_looked_at(make, ask, monkeypatch):
    """It writes its record, then moves the slot; a second run that looks meanwhile must not take that for a halt."""
    connector, inspect = make(), slots.inspect
    prepare(connector)

    def inspect_later(source, slot):
        ask("INSERT INTO tenant.readings VALUES ('s', 'd', '2024-01-01', 1, NULL, 'Decimal')")
        ask("UPDATE widebeam.connectors SET acknowledged = pg_current_wal_lsn()")
        ask("SELECT pg_replication_slot_advance(%s, (SELECT acknowledged FROM widebeam.connectors))", slot)
        return inspect(source, slot)

    monkeypatch.setattr(slots, "inspect", inspect_later)
    prepare(connector)
    assert ask("SELECT acknowledged > cutoff FROM widebeam.connectors") == (True,)


def test_a_connector_that_is_dropped_while_its_slot_is_made_is_set_up_by_the_run_that_the_halt_names(make, ask):
    connector = make()
    with doing(Failpoint.PREPARE_SLOT_MADE, lambda: ask("DELETE FROM widebeam.connectors") and None):
        halt = halted(connector)
    assert f"`widebeam run {connector.name}` sets it up anew" in halt.remedy
    assert ask("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == (0,)
    prepare(connector)
    assert ask("SELECT cutoff IS NOT NULL FROM widebeam.connectors") == (True,)
    assert ask("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == (1,)


def test_another_table_of_the_same_name_halts(make, ask):
    prepare(make())
    ask("ALTER TABLE tenant.readings RENAME TO old")
    ask("CREATE TABLE tenant.readings (LIKE tenant.old INCLUDING ALL)")
    halt = halted(make())
    assert halt.cause is Cause.RELATION_CHANGED
    assert "another table" in halt.what


def test_a_column_whose_type_changed_halts(make, ask):
    connector = make()
    ask(f"CREATE PUBLICATION {connector.publication} FOR TABLE tenant.readings")  # one with a column list forbids it
    prepare(connector)
    ask("ALTER TABLE tenant.readings ALTER f TYPE numeric")
    assert "f was double precision and is numeric" in halted(connector).what


def test_another_system_halts(make, ask):
    prepare(make())
    ask("UPDATE widebeam.connectors SET system_id = '1'")
    assert halted(make()).cause is Cause.OTHER_INCARNATION


def test_a_foreign_slot_of_our_name_is_left_alone(make, ask):
    connector = make()
    ask("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", connector.slot)
    with pytest.raises(ConfigError, match="pg_drop_replication_slot"):
        prepare(connector)
    assert ask("SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s", connector.slot) == (1,)
    assert ask("SELECT count(*) FROM widebeam.connectors") == (0,)


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ('table = "tenant.readings"', 'table = "tenant.other"', "`table`"),
        ('time = "at"', 'time = "at2"', "`time`"),
        ('Decimal = "f"', 'Decimal = "s"', "`choices`"),
        (
            'discriminator = "kind"\ncolumns = { Decimal = "f", String = "s" }',
            'columns = ["f", "s"]',
            "`discriminator`",
        ),
        ("[target]", '[target]\nlayout = "single"', "`layout`"),
        ("[target]", '[target]\nschema = "elsewhere"', "`schema`"),
        ("[target]", '[kafka]\nbootstrap_servers = "x:1"\n[target]', "`transport`"),
    ],
)
def test_an_unsafe_change_of_the_mapping_is_refused(make, ask, before, after, named):
    prepare(make())
    ask("CREATE TABLE tenant.other (LIKE tenant.readings INCLUDING ALL)")
    ask("ALTER TABLE tenant.readings ADD at2 timestamp")
    with pytest.raises(ConfigError, match=named) as caught:
        prepare(make(change=(before, after)))
    assert ("resume" if named == "`time`" else "widebeam drop") in str(caught.value)  # rows can be read again under it


def test_safe_changes_are_taken_over(make):
    prepare(make())
    change = ('String = "s"', 'String = "s", Text = "s"')
    found = prepare(make('[sink]\non_delete = "ignore"\nworkers = 2\n', change))
    assert found.mapping.on_delete == "ignore"
    assert prepare(make(change=change)).mapping.rule.choices == {"Decimal": "f", "String": "s", "Text": "s"}
    with pytest.raises(ConfigError, match="`choices`"):
        prepare(make())


def test_a_part_without_set_up_says_which_command_does_it(make, ask):
    connector = make()
    with pytest.raises(NotSetUp, match=f"widebeam run {connector.name}"):
        prepared(connector)


def test_only_one_sets_up_at_a_time(make, database, monkeypatch):
    connector = make()
    monkeypatch.setattr(lock, "_WAIT", 0.1)
    with psycopg.connect(database, autocommit=True) as other:
        control.install(other)
        with alone(other, connector.name), pytest.raises(Busy):
            prepare(connector)


def test_the_topic_is_made_and_its_id_recorded(make, ask, kafka, topic):
    section = f'[kafka]\nbootstrap_servers = "{kafka.bootstrap}"\ntopic = "{topic}"\npartitions = 3\n'
    connector = make(section)
    assert prepare(connector).partitions == 3
    (topic_id,) = ask("SELECT topic_id FROM widebeam.connectors")
    assert topic_id
    prepare(connector)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_topics([topic])[topic].result(timeout=30)
    assert halted(connector).cause is Cause.TOPIC_RECREATED


def test_a_topic_with_records_of_somebody_else_is_refused(make, kafka, topic):
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    by_broker = {"message.timestamp.type": "LogAppendTime"}  # whose clock may be another one
    admin.create_topics([NewTopic(topic, 1, 1, config=by_broker)])[topic].result(timeout=30)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(topic, b"hello")
    assert producer.flush(30) == 0
    section = f'[kafka]\nbootstrap_servers = "{kafka.bootstrap}"\ntopic = "{topic}"\npartitions = 1\n'
    with pytest.raises(ConfigError, match="holds records"):
        prepare(make(section))


GROUP = '[[target.groups]]\nname = "engine"\npattern = "^ME"\n'


def test_other_groups_of_keys_are_taken_and_said_once(make, ask, caplog):
    said = "the groups of keys are others than before"
    prepare(make(GROUP))
    prepare(make(GROUP))
    assert said not in caplog.text
    prepare(make(GROUP.replace("^ME", "^AE")))
    assert caplog.text.count(said) == 1
    prepare(make(GROUP.replace("^ME", "^AE")))
    assert caplog.text.count(said) == 1
    assert ask("SELECT settings -> 'groups' -> 0 ->> 'pattern' FROM widebeam.connectors") == ("^AE",)
