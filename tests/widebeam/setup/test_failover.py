"""Failover: a standby is promoted after the primary's death, with a copy of the slot and without one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from tests.pipeline import FILE, Pipeline, change_some, command, until
from tests.waiting import PATIENCE
from widebeam.demo.history import load
from widebeam.lab.account import grant, new_directory, server_account
from widebeam.lab.kafka import KafkaBroker
from widebeam.lab.postgres import QUICK, PostgresServer, available_binaries

pytestmark = pytest.mark.skipif(
    max(available_binaries(), default=0) < 17, reason="slots fail over from PostgreSQL 17 on: install widebeam[lab]"
)


class Pair:
    """A primary with a standby, and a target of its own; the source's DSN names both, whoever takes writes."""

    def __init__(self, directory: Path, stack: ExitStack, *, synced: bool) -> None:
        self._stack = stack
        self.primary = self._started(directory / "primary", {"synchronized_standby_slots": "sb"} if synced else {})
        with psycopg.connect(self.primary.dsn(), autocommit=True) as session:
            session.execute("SELECT pg_create_physical_replication_slot('sb', true)")
            session.execute("CREATE DATABASE test_narrow")
        self.standby = self._standby(directory / "standby", synced=synced)

    def _started(self, directory: Path, settings: dict[str, str]) -> PostgresServer:
        server = PostgresServer.start(directory, settings={**QUICK, "shared_buffers": "32MB", **settings})
        self._stack.callback(server.stop, "immediate")
        return server

    def _standby(self, directory: Path, *, synced: bool) -> PostgresServer:
        directory.mkdir()
        grant(directory)
        account = server_account()
        subprocess.run(
            [self.primary.binaries / "pg_basebackup", "-d", self.primary.dsn(), "-D", directory / "data", "-c", "fast",
             "--no-sync", "-X", "stream"],
            check=True, cwd=directory, user=account.uid if account else None, group=account.gid if account else None,
            extra_groups=[] if account else None, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        settings = {
            "primary_conninfo": self.primary.dsn("postgres"), "primary_slot_name": "sb", "hot_standby_feedback": "on",
            "sync_replication_slots": "on" if synced else "off", "unix_socket_directories": "",
            "synchronized_standby_slots": "", "wal_retrieve_retry_interval": "200ms",
        }  # fmt: skip
        with (directory / "data" / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        (directory / "data" / "standby.signal").touch()
        server = PostgresServer.start(directory)
        self._stack.callback(server.stop, "immediate")
        return server

    @property
    def both(self) -> str:
        """Whoever of the two takes writes."""
        ports = f"{self.primary.port},{self.standby.port}"
        return f"host=127.0.0.1,127.0.0.1 port={ports} user=postgres dbname=test_narrow target_session_attrs=read-write"

    def copied(self) -> bool:
        """The standby has a copy of the slot that outlives the primary."""
        with psycopg.connect(self.standby.dsn(), autocommit=True) as session:
            return session.execute(
                "SELECT bool_or(synced AND NOT temporary) FROM pg_replication_slots WHERE slot_type = 'logical'"
            ).fetchone() == (True,)

    def fail_over(self) -> str:
        """The primary dies, the standby takes over; the narrow table's new DSN."""
        self.primary.stop("immediate")
        with psycopg.connect(self.standby.dsn(), autocommit=True) as session:
            session.execute("SELECT pg_promote()")
        return self.standby.dsn("test_narrow")


@contextmanager
def pair(*, synced: bool) -> Iterator[Pair]:
    directory = new_directory("wb-failover-")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)
        yield Pair(directory, stack, synced=synced)


@dataclass
class Moved:
    """A connector whose source is a pair, and whose target is another server."""

    servers: Pair
    pipeline: Pipeline

    @property
    def name(self) -> str:
        return self.pipeline.file.stem

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return command(self.pipeline, *arguments, WIDEBEAM_SOURCE__DSN=self.servers.both)

    def converge(self) -> None:
        done = self.command("run", self.name, "--until-converged")
        assert done.returncode == 0, done.stderr

    def prove(self, narrow: str) -> None:
        wanted, there = replace(self.pipeline, dsn=narrow).narrow(), self.pipeline.wide()
        assert {cell: (wanted.get(cell), there.get(cell)) for cell in wanted.keys() ^ there.keys()} == {}
        assert wanted == there
        done = self.command("verify", self.name)
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def moved(target: str, directory: Path, *, synced: bool, kafka: str = "", topic: str = "") -> Iterator[Moved]:
    with pair(synced=synced) as servers:
        narrow = servers.primary.dsn("test_narrow")
        history = load(narrow, 4_000)
        file = directory / "moved.toml"
        section = f'[kafka]\nbootstrap_servers = "{kafka}"\ntopic = "{topic}"\npartitions = 2\n' if kafka else ""
        file.write_text(FILE.format(dsn=target, kafka=section))
        yield Moved(servers, Pipeline(file, target, history, kafka or None, topic))


def test_with_a_synchronised_slot_the_stream_goes_on_after_a_failover(
    database: str, tmp_path: Path, kafka: KafkaBroker, topic: str
) -> None:
    """Behind Kafka, where what was acknowledged may not be applied yet."""
    with moved(database, tmp_path, synced=True, kafka=kafka.bootstrap, topic=topic) as it:
        with it.pipeline.start("run", WIDEBEAM_SOURCE__DSN=it.servers.both) as run:
            until(lambda: it.pipeline.merged() and it.pipeline.one("SELECT converged_at FROM widebeam.connectors"))
            change_some(it.servers.primary.dsn("test_narrow"))
            until(it.servers.copied, 90)
            change_some(it.servers.primary.dsn("test_narrow"))
            narrow = it.servers.fail_over()
            change_some(narrow)
            until(lambda: it.pipeline.one("SELECT timeline FROM widebeam.connectors") == 2, 90)
            run.terminate()
            assert run.wait(PATIENCE) == 0, it.pipeline.said()
        it.converge()
        it.prove(narrow)


@pytest.mark.exhaustive  # to the run that is a slot that was lost: tests/test_halts.py
def test_without_the_slot_a_failover_halts_and_the_gap_is_mended(database: str, tmp_path: Path) -> None:
    with moved(database, tmp_path, synced=False) as it:
        it.converge()
        narrow = it.servers.fail_over()
        change_some(narrow)
        done = it.command("run", it.name)
        assert done.returncode == 3
        assert "other_incarnation" in done.stderr
        assert "did not come along" in done.stderr
        assert f"`widebeam resume {it.name} --backfill-gap`" in done.stderr
        done = it.command("resume", it.name, "--backfill-gap", "--clear")
        assert done.returncode == 0, done.stderr
        change_some(narrow)
        it.converge()
        it.prove(narrow)
