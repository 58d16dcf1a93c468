"""Servers and fresh databases for every test that asks for them; a server starts when the first one does."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import settings
from psycopg import sql
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests import faketime, scheduling
from tests.pipeline import Pipeline, pipeline_over
from widebeam.lab.account import new_directory
from widebeam.lab.kafka import KafkaBroker
from widebeam.lab.postgres import QUICK, PostgresServer, binaries_of, newest_binaries
from widebeam.lab.process import ServerFailed

# Else each of the hundreds of processes that tests start compiles all of our modules for itself.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile("patient", deadline=None)  # a busy machine is no fault of what is tested
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """A part that a test runs in this very process blocks signals; processes started later would inherit that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL for the whole run. Do not stop it: start another one for that."""
    directory = new_directory("wb-test-")
    server = PostgresServer.start(directory / "pg", settings=QUICK)
    yield server
    server.stop("immediate")
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[Callable[[int], PostgresServer]]:
    """One PostgreSQL of each major version that is asked for; a test whose version cannot be had here is skipped."""
    directory, started = new_directory("wb-test-"), dict[int, PostgresServer]()

    def of(version: int) -> PostgresServer:
        try:
            binaries = binaries_of(version)
        except ServerFailed as error:
            pytest.skip(str(error))
        if binaries == newest_binaries():
            return request.getfixturevalue("postgres")  # type: ignore[no-any-return]
        if version not in started:
            started[version] = PostgresServer.start(directory / str(version), settings=QUICK, binaries=binaries)
        return started[version]

    yield of
    for server in started.values():
        server.stop("immediate")
    shutil.rmtree(directory)


@contextmanager
def new_broker() -> Iterator[KafkaBroker]:
    """With nothing in it, and gone at the end of the block."""
    directory = new_directory("wb-test-")
    broker = KafkaBroker.start(directory / "kafka")
    try:
        yield broker
    finally:
        broker.kill()
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaBroker]:
    """One Kafka broker for the whole run. Do not stop it: take `broker` for that."""
    with new_broker() as broker:
        yield broker


@pytest.fixture
def broker() -> Iterator[KafkaBroker]:
    """A broker of the test's own, to stop, and whose files are its to cut off."""
    with new_broker() as broker:
        yield broker


@pytest.fixture
def version() -> int | None:
    """The major version of the server of `database`: the newest, unless the test is parametrized by `version`."""
    return None


@pytest.fixture
def database(request: pytest.FixtureRequest, version: int | None) -> Iterator[str]:
    """The connection string of a fresh database; it goes afterwards, with its replication slots."""
    server = request.getfixturevalue("postgres") if version is None else request.getfixturevalue("servers")(version)
    with fresh_database(server) as dsn:
        yield dsn


@contextmanager
def fresh_database(server: PostgresServer) -> Iterator[str]:
    """A database of its own on `server`, which goes afterwards, with its replication slots."""
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        yield server.dsn(name)
        _drop_slots(admin, name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _drop_slots(admin: psycopg.Connection[tuple[object, ...]], database: str) -> None:
    """Drop the slots of `database`, ending whoever still uses them."""
    slots = "FROM pg_replication_slots WHERE database = %s"
    while admin.execute(f"SELECT pg_terminate_backend(active_pid) {slots} AND active", [database]).fetchall():
        pass
    admin.execute(f"SELECT pg_drop_replication_slot(slot_name) {slots}", [database])


@pytest.fixture
def topic(kafka: KafkaBroker) -> Iterator[str]:
    """A topic name that nobody else uses; what is made under it goes afterwards."""
    name = f"test.{uuid4().hex[:12]}"
    yield name
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    if name in admin.list_topics(timeout=60).topics:
        admin.delete_topics([name])[name].result(timeout=60)


@pytest.fixture(params=["kafka", "direct"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pipeline(transport: str, request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Pipeline:
    """A connector over a loaded narrow table, on both transports or on that of an indirect `transport`."""
    if transport == "direct":
        return pipeline_over(database, tmp_path, kafka=None, topic="")
    bootstrap, topic = request.getfixturevalue("kafka").bootstrap, request.getfixturevalue("topic")
    return pipeline_over(database, tmp_path, kafka=bootstrap, topic=topic)


def pytest_configure() -> None:
    faketime.complete()


_OLDEST: Final = 50
"""Tests between two looks at all that the garbage collector knows."""
_ended: Final = count(1)


def pytest_collection_finish() -> None:
    """Garbage is collected between tests, in the thread that runs them: librdkafka aborts where a client that nobody
    has closed is found in a thread of its own, and what is collected where is a matter of chance."""
    gc.collect()
    gc.freeze()  # what is there by now stays, and need not be looked at
    gc.disable()


def pytest_runtest_logfinish() -> None:
    gc.collect(2 if next(_ended) % _OLDEST == 0 else 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: scheduling.place(item.path))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return scheduling.ByFile(config, log)
