"""The servers of a bench, on free ports and in a directory of their own, and connectors over them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from tests.bench.reference import DDL
from widebeam.config import Connector, load
from widebeam.lab.account import new_directory
from widebeam.lab.kafka import KafkaBroker
from widebeam.lab.postgres import QUICK, PostgresServer

CONNECTOR = """
[source]
dsn = "{dsn}"
table = "tenant.tbl_data_timeseries"
entity = ["ship_id"]
time = "created_time"
key = "data_channel_id"
[source.value]
discriminator = "value_format"
columns = {{ Decimal = "double_v", Integer = "long_v", String = "str_v", Boolean = "bool_v" }}
[target]
dsn = "{dsn}"
[sink]
batch_rows = 20000
[kafka]
bootstrap_servers = "{kafka}"
partitions = 4
topic = "{name}"
"""


@dataclass(frozen=True)
class Stack:
    """PostgreSQL and Kafka."""

    directory: Path
    postgres: PostgresServer
    kafka: KafkaBroker

    def database(self, name: str, ddl: str = DDL) -> str:
        """A new database with the narrow table, empty; its connection string."""
        with psycopg.connect(self.postgres.dsn(), autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        with psycopg.connect(self.postgres.dsn(name), autocommit=True) as session:
            session.execute(ddl.encode())
        return self.postgres.dsn(name)

    def connector(self, name: str, dsn: str) -> Connector:
        """A connector over the narrow table of that database."""
        file = self.directory / f"{name}.toml"
        file.write_text(CONNECTOR.format(dsn=dsn, kafka=self.kafka.bootstrap, name=name))
        return load(str(file))

    def log(self, name: str) -> Path:
        """A file for what a process says."""
        return self.directory / f"{name}.log"


@contextmanager
def stack() -> Iterator[Stack]:
    """Start the servers; they and all their data go at the end."""
    directory = new_directory("wb-bench-")
    postgres = PostgresServer.start(directory / "pg", settings={**QUICK, "max_wal_size": "20GB"})
    try:
        kafka = KafkaBroker.start(directory / "kafka")
        try:
            yield Stack(directory, postgres, kafka)
        finally:
            kafka.kill()
    finally:
        postgres.stop("immediate")
        shutil.rmtree(directory)
