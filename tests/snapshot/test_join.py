"""New tables join while a worker runs: each of their rows is in a chunk or in the stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event
from typing import Any, TypeAlias

import psycopg
import pytest

from cdc.failpoint import Failpoint, Injected, armed
from cdc.halt import Cause, Halt
from cdc.lsn import Lsn
from cdc.source import publication
from cdc.source.narrow import NarrowTable
from cdc.source.session import connect
from sink.mapping import mapping as wide
from sink.mapping.family import Source
from sink.mapping.rule import Rule
from sink.state import sources
from sink.state.claim import Claim
from snapshot import join
from snapshot.chunks import ledger
from snapshot.join import Joiner
from snapshot.sessions import Sessions, sessions
from snapshot.settings import BackfillSettings
from snapshot.worker import Worker

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

TABLE = NarrowTable("tenant", "data_1", ("ship_id",), ("at",), ("channel",), ("v",))
TYPES = {"ship_id": "text", "at": "timestamp without time zone", "channel": "text", "v": "double precision"}
CREATE = (
    "CREATE TABLE tenant.{} (ship_id text, at timestamp, channel text, v float8, PRIMARY KEY (ship_id, at, channel));"
    " INSERT INTO tenant.{} VALUES ('a', '2024-01-01', 'k{}', 1)"
)


ASKED = "SELECT count(*) FROM pg_locks WHERE mode = 'ShareRowExclusiveLock' AND NOT granted"
REACHED = {Failpoint.JOIN_WRITTEN_DOWN, Failpoint.JOIN_PUBLISHED}


@dataclass(frozen=True)
class Data:
    """Every table tenant.data_..."""

    def narrow(self, schema: str, name: str) -> NarrowTable | None:
        return replace(TABLE, name=name) if (schema, name[:5]) == ("tenant", "data_") else None

    def rule(self, table: NarrowTable, types: Mapping[str, str]) -> Rule:
        return Rule.of(table, types)


@pytest.fixture
def settings(source: Connection, target: Connection, database: str) -> BackfillSettings:
    make(source, "1")
    publication.create(source, "p", TABLE)
    sources.add(target, "ships", Source("tenant", "data_1", 1, TYPES, Lsn(0)))
    ledger.write_plan(target, "ships", [])
    mapping = wide.Mapping("ships", (Rule.of(TABLE, TYPES),), "wide", "{entity}", family=Data())
    return BackfillSettings(mapping, database, database, publication="p")


@pytest.fixture
def connected(settings: BackfillSettings) -> Iterator[Sessions]:
    with sessions(settings, Event()) as made:
        yield made


@pytest.fixture
def joiner(settings: BackfillSettings, connected: Sessions, monkeypatch: pytest.MonkeyPatch) -> Joiner:
    monkeypatch.setattr(join, "LOOK_SECONDS", 0.0)
    return Joiner(settings, connected, Data())


def make(source: Connection, number: str) -> None:
    source.execute(CREATE.replace("{}", f"data_{number}", 2).replace("{}", number))


def gates(target: Connection) -> dict[str, bool]:
    return {each.name: each.gate is not None for each in sources.load(target, "ships")}


def test_a_new_table_is_published_and_its_rows_come_by_chunks(
    source: Connection, target: Connection, joiner: Joiner, settings: BackfillSettings, connected: Sessions
) -> None:
    assert joiner.look() == 0
    make(source, "2")
    assert joiner.look() == 1
    assert joiner.look() == 0
    found = publication.inspect(source, "p", replace(TABLE, name="data_2"))
    assert found is not None
    assert found.whole
    chunk = ledger.claim(target, "ships")
    assert chunk is not None
    assert (chunk.number, chunk.source, chunk.lower, chunk.upper) == (1, "tenant.data_2", None, None)
    assert Worker(settings, connected).do(chunk, Event())
    assert target.execute('SELECT k2 FROM wide."a"').fetchall() == [(1.0,)]


def test_a_table_that_is_being_written_to_is_published_only_when_its_writers_are_done(
    source: Connection, target: Connection, joiner: Joiner, database: str
) -> None:
    make(source, "2")
    with connect(database) as writer:
        writer.execute("INSERT INTO tenant.data_2 VALUES ('a', '2024-01-02', 'k2', 2)")
        assert joiner.look() == 0
        assert gates(target) == {"data_1": True, "data_2": False}
        assert ledger.claim(target, "ships") is None, "its rows would lack what the writer commits"
        writer.commit()
    assert joiner.look() == 1
    assert gates(target) == {"data_1": True, "data_2": True}
    assert ledger.claim(target, "ships") is not None


def test_who_writes_to_a_new_table_waits_for_no_long_transaction_of_another(
    source: Connection, joiner: Joiner, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at all where the transaction was there before, and for no longer than the lock is tried where it came between
    (here: where none are looked for)."""
    make(source, "2")
    with ThreadPoolExecutor() as pool, connect(database) as long:
        long.execute("INSERT INTO tenant.data_2 VALUES ('a', '2024-01-02', 'k2', 2)")
        monkeypatch.setattr(publication, "_LET_END", 0.0)
        with monkeypatch.context() as patched:
            patched.setattr(publication, "_LOCK_TIMEOUT", "not to be asked for")
            assert joiner.look() == 0
        monkeypatch.setattr(publication, "await_writers", lambda *_: None)
        looking = pool.submit(joiner.look)
        with connect(database, autocommit=True) as writer:
            writer.execute("SET lock_timeout = '30s'")
            while not looking.done() and source.execute(ASKED).fetchone() == (0,):
                pass
            writer.execute("INSERT INTO tenant.data_2 VALUES ('b', '2024-01-02', 'k2', 2)")
        assert looking.result() == 0
        long.commit()
    assert joiner.look() == 1


def test_a_crash_after_a_table_is_published_opens_its_gate_at_the_next_look(
    source: Connection, target: Connection, joiner: Joiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(source, "2")

    def crash(*_: object) -> None:
        raise psycopg.OperationalError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(sources, "open_gate", crash)
        with pytest.raises(psycopg.OperationalError):
            joiner.look()
    assert gates(target) == {"data_1": True, "data_2": False}
    assert joiner.look() == 1
    assert target.execute("SELECT count(*) FROM widebeam.chunks").fetchone() == (1,)


def test_after_a_failure_at_either_step_of_joining_the_next_look_goes_on_from_it(
    source: Connection, target: Connection, joiner: Joiner
) -> None:
    make(source, "2")
    for point in sorted(REACHED, reverse=True):
        with armed(f"{point}=error"), pytest.raises(Injected):
            joiner.look()
        assert ledger.claim(target, "ships") is None, "its chunks are not to be read before its gate is open"
    assert joiner.look() == 1
    assert target.execute("SELECT count(*) FROM widebeam.chunks").fetchone() == (1,)


def test_one_worker_lets_tables_join_at_a_time(
    source: Connection, joiner: Joiner, settings: BackfillSettings, database: str
) -> None:
    make(source, "2")
    with connect(database, autocommit=True) as other:
        assert Claim("ships", "join").take(other)
        assert joiner.look() == 0
    assert joiner.look() == 1


def test_a_table_that_lacks_a_column_only_matches_the_name(
    source: Connection, target: Connection, joiner: Joiner
) -> None:
    source.execute("CREATE TABLE tenant.data_log (at timestamp)")
    assert joiner.look() == 0
    assert gates(target) == {"data_1": True}


def test_a_table_that_cannot_join_gets_a_while_and_then_halts_with_what_is_amiss(
    source: Connection, joiner: Joiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.execute("CREATE TABLE tenant.data_2 (ship_id text, at timestamp, channel text, v float8)")
    assert joiner.look() == 0
    monkeypatch.setattr(join, "_PATIENCE", 0.0)
    with pytest.raises(Halt) as halted:
        joiner.look()
    assert halted.value.cause is Cause.REPLICA_IDENTITY
    assert "tenant.data_2" in halted.value.what
    source.execute(halted.value.remedy.partition(" Then ")[0].encode())
    assert joiner.look() == 1


def test_a_table_of_another_time_cannot_join(
    source: Connection, joiner: Joiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.execute(
        "CREATE TABLE tenant.data_2 (ship_id text, at date, channel text, v float8, PRIMARY KEY (ship_id, at, channel))"
    )
    monkeypatch.setattr(join, "_PATIENCE", -1.0)
    with pytest.raises(Halt, match="other types"):
        joiner.look()
