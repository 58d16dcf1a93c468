"""Steps that a running pipeline does not reach by itself: setting up, attached partitions, going back, gaps, dropping.

Each step fails once, in its order, and the next attempt goes on from there. In the end all is as if nothing had failed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from cdc.failpoint import Failpoint, Injected, armed
from cdc.source.session import connect
from sink.fold.progress import Progress
from sink.state import sources
from snapshot.run import Backfill, BackfillSettings
from tests.readings import FILE as PLAIN
from tests.snapshot.test_join import REACHED as JOINING
from tests.snapshot.test_orders import REACHED as ORDERS
from tests.test_failpoints import REACHED as RUNNING
from tests.widebeam.quarantine.test_quarantine import REACHED as DISCARDED
from tests.widebeam.quarantine.test_retry_crashes import REACHED as RETRIED
from tests.widebeam.test_refused import REACHED as REFUSED
from widebeam.config.config import load
from widebeam.config.connector import Connector
from widebeam.gap.cross import cross
from widebeam.gap.repair import RangeRepair
from widebeam.replay.plan import Step
from widebeam.replay.point import Offsets
from widebeam.replay.replay import Plan, rewind
from widebeam.setup.drop import drop
from widebeam.setup.prepare import prepare
from widebeam.setup.prepared import Prepared
from widebeam.setup.survey import Survey

NARROW = """
CREATE SCHEMA tenant;
CREATE TABLE tenant.readings (ship text, channel text, at timestamp, f float8, PRIMARY KEY (ship, channel, at))
    PARTITION BY RANGE (at);
CREATE TABLE tenant.jan PARTITION OF tenant.readings FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE tenant.mar (LIKE tenant.readings INCLUDING ALL);
INSERT INTO tenant.readings SELECT 's', 'c', '2024-01-01'::timestamp + n * interval '1 h', n
FROM generate_series(1, 50) n;
INSERT INTO tenant.mar VALUES ('s', 'c', '2024-03-01', 3), ('t', 'new', '2024-03-02', 4);
"""
ATTACH = "ALTER TABLE tenant.readings ATTACH PARTITION tenant.mar FOR VALUES FROM ('2024-03-01') TO ('2024-04-01')"
CELLS = """
SELECT {ship}, key, at, value::float8
FROM {} AS w, jsonb_each_text(to_jsonb(w) - 'at' - '_lsn') AS cell (key, value) WHERE value IS NOT NULL
"""
DROP_SLOT = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"
FILE = (
    PLAIN
    + """\
partition_by = "month"
[kafka]
bootstrap_servers = "{kafka}"
topic = "{topic}"
partitions = 2
"""
)

PREPARE = [point for point in Failpoint if point.name.startswith("PREPARE_")]
GAP = [point for point in Failpoint if point.name.startswith("GAP_")]
REPAIR = [Failpoint.REPAIR_HELD, Failpoint.REPAIR_MERGED]
ATTACHED = [Failpoint.ATTACHED_PLANNED, Failpoint.ATTACHED_HELD]
REPLAY = [Failpoint.REPLAY_REWOUND, Failpoint.REPLAY_COMMITTED]
DROP = [point for point in Failpoint if point.name.startswith("DROP_")]
HERE = {*PREPARE, *GAP, *REPAIR, *ATTACHED, *REPLAY, *DROP, Failpoint.PARTITIONS_MADE}


def test_each_failpoint_has_a_test_that_reaches_it() -> None:
    assert set(Failpoint) == HERE | RUNNING | ORDERS | JOINING | REFUSED | RETRIED | DISCARDED
    page = (Path(__file__).parents[1] / "docs" / "reliability.md").read_text()
    assert f"({len(Failpoint)} named failpoints," in page


def failing(work: Callable[[], object], *points: Failpoint) -> None:
    """The work fails at each of these points, one after the other; each of them is reached."""
    for point in points:
        with armed(f"{point}=error"), pytest.raises(Injected, match=point.replace(".", r"\.")):
            work()


class Case:
    """A connector, its databases' session, and what its parts do."""

    def __init__(self, connector: Connector, session: psycopg.Connection[Any]) -> None:
        self.connector, self.session = connector, session
        self.dsn = connector.options.target.conninfo()

    def prepare(self) -> Prepared:
        return prepare(self.connector)

    def backfill(self) -> None:
        mapping = self.connector.mapping(sources.load(self.session, self.connector.name))
        settings = BackfillSettings(mapping, self.dsn, self.dsn, repairs=lambda *both: RangeRepair(*both, mapping))
        Backfill(settings).run(Event())

    def look(self) -> None:
        """As the watch of capture does, while sinks pass every barrier."""
        survey = Survey(self.connector)
        while survey.look(self.session):
            self.session.execute("UPDATE widebeam.progress SET barrier = pg_current_wal_insert_lsn()")

    def rewind(self) -> None:
        rewind(self.connector, Plan(Offsets({0: 0}), [Step(Progress(0, self.epoch() + 1), 0, 0, None, None)]))

    def epoch(self) -> int:
        return self.one("SELECT epoch FROM widebeam.progress WHERE partition = 0")

    def one(self, query: str) -> Any:
        row = self.session.execute(query.encode()).fetchone()
        return row and row[0]

    def equal(self) -> None:
        """Each reading is in its wide table, and nothing else is."""
        narrow = set(self.session.execute("SELECT ship, channel, at, f FROM tenant.readings").fetchall())
        wide = set()
        for ship in {row[0] for row in narrow}:
            rows = self.session.execute(sql.SQL(CELLS).format(sql.Identifier("wide", ship), ship=sql.Literal(ship)))
            wide |= set(rows.fetchall())
        assert wide == narrow


def test_whatever_step_fails_the_next_attempt_goes_on_from_it(
    database: str, kafka: Any, topic: str, tmp_path: Path
) -> None:
    """One connector from its first set-up to its end."""
    file = tmp_path / f"case_{uuid4().hex[:8]}.toml"
    file.write_text(FILE.format(dsn=database, kafka=kafka.bootstrap, topic=topic))
    with closing(connect(database, autocommit=True)) as session:
        session.execute(NARROW.encode())
        case = Case(load(str(file), {}), session)
        failing(case.prepare, *PREPARE)
        case.prepare()
        assert case.one("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == 1
        failing(case.backfill, Failpoint.PARTITIONS_MADE)
        case.backfill()
        case.equal()

        case.look()
        session.execute(ATTACH.encode())
        failing(case.look, Failpoint.ATTACHED_PLANNED)
        case.look()
        failing(case.backfill, Failpoint.ATTACHED_HELD)
        case.backfill()
        case.equal()

        before = case.epoch()
        failing(case.rewind, Failpoint.REPLAY_REWOUND)
        assert case.epoch() == before
        failing(case.rewind, Failpoint.REPLAY_COMMITTED)
        assert case.epoch() == before + 1

        session.execute(DROP_SLOT)
        session.execute("DELETE FROM tenant.readings WHERE f = 7; UPDATE tenant.readings SET f = -1 WHERE f = 8")
        failing(lambda: cross(case.connector), *GAP)
        cross(case.connector)
        failing(case.backfill, *REPAIR)
        case.backfill()
        case.equal()

        failing(lambda: drop(case.connector), *DROP)
        drop(case.connector)
        assert case.one("SELECT to_regnamespace('wide') IS NULL AND to_regnamespace('widebeam') IS NULL")
        assert case.one("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == 0
        assert case.one("SELECT count(*) FROM pg_publication") == 0
        assert case.one("SELECT count(*) FROM tenant.readings") == 51
