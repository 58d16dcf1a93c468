"""The servers of a bench, on free ports and in a directory of their own, and connectors over them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient
from psycopg import sql

from cdc.source.session import connect
from tests.bench.process import Served
from tests.bench.reference import DDL
from widebeam.config.config import load
from widebeam.config.connector import Connector
from widebeam.lab.account import new_directory
from widebeam.lab.kafka import KafkaBroker
from widebeam.lab.postgres import QUICK, PostgresServer

SETTINGS = {**QUICK, "max_wal_size": "20GB", "max_locks_per_transaction": "1024"}

CONNECTOR = """
[source]
dsn = "{source}"
table = "tenant.tbl_data_timeseries"
entity = ["ship_id"]
time = "created_time"
key = "data_channel_id"
[source.value]
discriminator = "value_format"
columns = {{ Decimal = "double_v", Integer = "long_v", String = "str_v", Boolean = "bool_v" }}
[target]
dsn = "{target}"
layout = "{layout}"
[sink]
columns_per_hour = 1000000
"""
KAFKA = """
[kafka]
bootstrap_servers = "{bootstrap}"
partitions = 4
"""


@dataclass
class Stack:
    """PostgreSQL, and Kafka as soon as somebody asks for it. Databases and connectors get names of their own."""

    directory: Path
    postgres: PostgresServer
    exits: ExitStack
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    histories: dict[int, Any] = field(default_factory=dict)

    @cached_property
    def kafka(self) -> KafkaBroker:
        broker = KafkaBroker.start(self.directory / "kafka")
        self.exits.callback(broker.kill)
        return broker

    @cached_property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.kafka.bootstrap, "log_level": "4"})

    @property
    def servers(self) -> list[Served]:
        """Whose CPU is measured beside the processes'."""
        kafka = [Served("kafka", self.kafka.pid)] if "kafka" in self.__dict__ else []
        return [Served("postgres", self.postgres.pid), *kafka]

    def name(self, what: str) -> str:
        """A name that is not taken."""
        return f"{what}_{next(self.numbers)}"

    def database(self, name: str, ddl: str = DDL) -> str:
        """A new database with the narrow table, empty; its connection string."""
        with psycopg.connect(self.postgres.dsn(), autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        self.session(self.postgres.dsn(name)).execute(ddl.encode())
        return self.postgres.dsn(name)

    def session(self, dsn: str) -> psycopg.Connection[tuple[Any, ...]]:
        """A session that ends with the servers: a look at it costs no new connection."""
        return self.exits.enter_context(connect(dsn, autocommit=True))

    def connector(self, name: str, source: str, target: str, *, layout: str = "per_entity", log: bool) -> Connector:
        """A connector over the narrow table of that database; with `log`, through Kafka."""
        file = self.directory / f"{name}.toml"
        file.write_text(
            CONNECTOR.format(source=source, target=target, layout=layout)
            + (KAFKA.format(bootstrap=self.kafka.bootstrap) if log else "")
        )
        return load(str(file))

    def shares(self, group: str) -> list[int]:
        """How many partitions each member of a consumer group has; none while they are being dealt out."""
        try:
            found = self.admin.describe_consumer_groups([group])[group].result()
        except KafkaException:  # the coordinator of a new group takes a moment
            return []
        stable = found.state == ConsumerGroupState.STABLE
        return [len(member.assignment.topic_partitions) for member in found.members] if stable else []

    def log(self, name: str) -> Path:
        """A file for what a process says."""
        return self.directory / f"{name}.log"


@contextmanager
def stack() -> Iterator[Stack]:
    """Start the servers; they and all their data go at the end."""
    directory = new_directory("wb-bench-")
    with ExitStack() as exits:
        exits.callback(shutil.rmtree, directory)
        postgres = PostgresServer.start(directory / "pg", settings=SETTINGS)
        exits.callback(postgres.stop, "immediate")
        yield Stack(directory, postgres, exits)
