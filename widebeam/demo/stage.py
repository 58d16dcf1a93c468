"""What the demo runs on: a directory of its own, a PostgreSQL server, a Kafka broker, a connector's file."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, Final

import psutil
import psycopg

from cdc.bindable import Cursor
from widebeam.lab.account import new_directory
from widebeam.lab.kafka import KafkaBroker
from widebeam.lab.postgres import QUICK, PostgresServer

CONNECTOR: Final = "ships"
"""The demo's connector, and its database."""

_NOTE: Final = "demo.json"
_CONNECTOR_FILE: Final = Template(
    """\
# The demo's connector. connectors/ships.toml explains each option.
[source]
dsn = "host=127.0.0.1 port=$port dbname=ships user=postgres"
table = "tenant.tbl_data_timeseries"
entity = ["ship_id"]
time = "created_time"
key = "data_channel_id"

[source.value]
discriminator = "value_format"
columns = { Decimal = "double_v", Integer = "long_v", String = "str_v", Boolean = "bool_v" }

[target]
dsn = "host=127.0.0.1 port=$port dbname=ships user=postgres"

[sink]
workers = 2

[backfill]
workers = 2
"""
)
_KAFKA_SECTION: Final = Template('\n[kafka]\nbootstrap_servers = "$bootstrap"\n')


@dataclass(slots=True)
class Stage:
    """Running servers and the connector's file. `kafka` is None on the direct transport."""

    directory: Path
    postgres: PostgresServer
    kafka: KafkaBroker | None

    @classmethod
    def set(cls, *, direct: bool, leashed: bool, watch: Callable[[str], None] = lambda _: None) -> Stage:
        """Start everything; what was started is stopped again if something fails. `leashed`: it ends with us.

        `watch` hears what is being started.
        """
        directory = new_directory("widebeam-demo-")
        stage = None
        try:
            watch("a new PostgreSQL cluster")
            postgres = PostgresServer.start(directory / "postgres", settings=QUICK, leashed=leashed)
            stage = cls(directory, postgres, None)
            if not direct:
                watch("Kafka; its jars are fetched the first time (44 MB)")
                stage.kafka = KafkaBroker.start(directory / "kafka", leashed=leashed)
            stage._write_connector()
        except BaseException:
            stage.strike() if stage else shutil.rmtree(directory)
            raise
        return stage

    @property
    def dsn(self) -> str:
        """The database with the narrow and the wide tables."""
        return self.postgres.dsn(CONNECTOR)

    @property
    def connector_file(self) -> Path:
        """The connector, for `widebeam run` and the other verbs."""
        return self.directory / f"{CONNECTOR}.toml"

    def strike(self) -> None:
        """Stop the servers and remove the directory."""
        if self.kafka is not None:
            self.kafka.kill()
        self.postgres.stop("immediate")
        shutil.rmtree(self.directory)

    def keep(self, pipeline: int) -> None:
        """Write down what goes on running, for `strike_kept`: the process id of `widebeam run`, and the servers'."""
        pids = {pipeline: "SIGTERM", self.postgres.pid: "SIGINT"}
        if self.kafka is not None:
            pids = {pipeline: "SIGTERM", self.kafka.pid: "SIGTERM", self.postgres.pid: "SIGINT"}
        (self.directory / _NOTE).write_text(json.dumps(pids))

    def _write_connector(self) -> None:
        text = _CONNECTOR_FILE.substitute(port=self.postgres.port)
        if self.kafka is not None:
            text += _KAFKA_SECTION.substitute(bootstrap=self.kafka.bootstrap)
        self.connector_file.write_text(text)
        with psycopg.connect(self.postgres.dsn(), autocommit=True, cursor_factory=Cursor) as connection:
            connection.execute("CREATE DATABASE ships")


def strike_kept(directory: Path) -> None:
    """Stop what `--keep` left running in `directory`, and remove it; FileNotFoundError if it holds no demo."""
    pids: dict[str, str] = json.loads((directory / _NOTE).read_text())
    for pid, how in pids.items():
        _end(int(pid), signal.Signals[how], directory)
    shutil.rmtree(directory)


def _end(pid: int, how: signal.Signals, directory: Path) -> None:
    """End a process if it is still the one that was written down: its command line names the demo's directory."""
    try:
        process = psutil.Process(pid)
        if any(str(directory) in word for word in process.cmdline()):
            process.send_signal(how)
            _wait(process)
    except psutil.NoSuchProcess:
        return


def _wait(process: psutil.Process) -> Any:
    try:
        return process.wait(30)
    except psutil.TimeoutExpired:
        process.kill()
        return process.wait(30)
