"""The peer: Kafka Connect in one process, with Debezium's PostgreSQL source and its JDBC sink.

It can capture, take a snapshot, and write rows as they are; it cannot pivot. The settings are those that its own
documentation advises for throughput (bigger queue and batches, lz4, the reduction buffer and rewritten inserts).
"""

from __future__ import annotations

import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import NewTopic

from cdc.source.session import connect
from tests.bench import reference
from tests.bench.ends import Ends
from tests.bench.pace import SHARES, steady
from tests.bench.process import Line, Measured, Meter, running, until
from tests.bench.stack import Stack
from widebeam.lab.archives import unpack
from widebeam.lab.jars import cache, fetched_jars
from widebeam.lab.java import java
from widebeam.lab.once import alone
from widebeam.lab.process import free_port

LOCK: Final = Path(__file__).with_name("debezium.lock")
PARTITIONS: Final = 4
TABLE: Final = "tenant.tbl_data_timeseries"
HEAP: Final = ("-Xms256m", "-Xmx2g")
"""What Kafka Connect's own start script gives it."""

WORKER: Final[Mapping[str, str]] = {
    "plugin.discovery": "service_load",
    "offset.flush.interval.ms": "5000",
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    "producer.batch.size": "524288",
    "producer.buffer.memory": "134217728",
    "producer.compression.type": "lz4",
    "producer.enable.idempotence": "true",
    "consumer.max.poll.records": "20000",
    "consumer.max.partition.fetch.bytes": "16777216",
    "consumer.fetch.max.bytes": "67108864",
    "consumer.auto.offset.reset": "earliest",
}
SOURCE: Final[Mapping[str, str]] = {
    "name": "source",
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "tasks.max": "1",
    "plugin.name": "pgoutput",
    "publication.autocreate.mode": "disabled",
    "table.include.list": TABLE,
    "max.batch.size": "16384",
    "max.queue.size": "65536",
    "poll.interval.ms": "10",
    "tombstones.on.delete": "false",
}
SINK: Final[Mapping[str, str]] = {
    "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
    "tasks.max": str(PARTITIONS),
    "connection.username": "postgres",
    "connection.password": "none",
    "connection.pool.min_size": "1",
    "insert.mode": "upsert",
    "primary.key.mode": "record_key",
    "delete.enabled": "false",
    "schema.evolution": "none",
    "collection.name.format": TABLE,
    "batch.size": "5000",
    "use.reduction.buffer": "true",
}


@dataclass
class Debezium:
    """The peer over one narrow table; a publication of its own is there already."""

    stack: Stack
    dsn: str
    database: str
    publication: str

    def source(self, name: str, snapshot: str, **more: str) -> dict[str, str]:
        """The connector's settings; its topic is `name`.tenant.tbl_data_timeseries."""
        server = {"hostname": "127.0.0.1", "port": str(self.stack.postgres.port), "user": "postgres",
                  "password": "none", "dbname": self.database}  # fmt: skip
        return {
            **SOURCE,
            **{f"database.{key}": value for key, value in server.items()},
            "publication.name": self.publication,
            "slot.name": name,
            "topic.prefix": name,
            "snapshot.mode": snapshot,
            **more,
        }

    @contextmanager
    def connect(
        self, name: str, connector: Mapping[str, str], *, schemas: bool = False, linger_ms: int = 20
    ) -> Iterator[Measured]:
        """A Connect worker with one connector."""
        directory = self.stack.directory / f"connect-{name}"
        directory.mkdir()
        worker = {
            **WORKER,
            "bootstrap.servers": self.stack.kafka.bootstrap,
            "listeners": f"http://127.0.0.1:{free_port()}",
            "plugin.path": str(_plugins()),
            "offset.storage.file.filename": str(directory / "offsets"),
            "key.converter.schemas.enable": str(schemas).lower(),
            "value.converter.schemas.enable": str(schemas).lower(),
            "producer.linger.ms": str(linger_ms),
        }
        files = [_properties(directory / "worker", worker), _properties(directory / "connector", connector)]
        command = [
            str(java()),
            *HEAP,
            "-cp",
            f"{fetched_jars(LOCK)}/*",
            "org.apache.kafka.connect.cli.ConnectStandalone",
        ]
        with running("connect", [*command, *files], directory / "log") as process:
            yield process

    def stream(self, slot: str, rows: int) -> Line:
        """WAL that lies there -> Kafka, from the slot of that name."""
        return self._until_in_kafka(slot, self.source(slot, "no_data"), rows)

    def snapshot(self, name: str, rows: int, *, schemas: bool = False, **more: str) -> Line:
        """The table as it is -> Kafka."""
        return self._until_in_kafka(name, self.source(name, "initial_only", **more), rows, schemas=schemas)

    def _until_in_kafka(self, name: str, connector: Mapping[str, str], rows: int, *, schemas: bool = False) -> Line:
        self.topic(name)
        ends = Ends(self.stack.admin, f"{name}.{TABLE}", PARTITIONS)
        with self.connect(name, connector, schemas=schemas) as process:
            return self._filled(process, ends, rows)

    def sink(self, source: str, rows: int, target: str, target_dsn: str) -> Line:
        """Records of a snapshot that lie in Kafka -> a table of the same shape."""
        url = f"jdbc:postgresql://127.0.0.1:{self.stack.postgres.port}/{target}?reWriteBatchedInserts=true"
        connector = {**SINK, "name": f"sink-{target}", "topics": f"{source}.{TABLE}", "connection.url": url}
        with (
            self.connect(f"sink-{target}", connector, schemas=True) as process,
            connect(target_dsn, autocommit=True) as session,
        ):

            def count() -> int:
                row = session.execute("SELECT count(*) FROM tenant.tbl_data_timeseries").fetchone()
                return int(row[0]) if row else 0

            return self._filled(process, count, rows)

    def latency(self, low: int, per_second: int, seconds: float) -> Line:
        """Commit -> Kafka, as the broker stamps the records, while an application writes so many rows a second."""
        name = "debezium_latency"
        self.topic(name, **{"message.timestamp.type": "LogAppendTime"})
        ends = Ends(self.stack.admin, f"{name}.{TABLE}", PARTITIONS)
        with self.connect(name, self.source(name, "no_data"), linger_ms=5) as process:
            until(lambda: self._active(name), [process])
            low += steady(self.dsn, low, per_second, seconds / 4)
            until(lambda: ends() > 0, [process])
            meter, measured_from = Meter([process], self.stack.servers), time.time()
            count = steady(self.dsn, low, per_second, seconds)
            cores = meter.cores()
            ended = until(lambda: ends() >= count + round(per_second * seconds / 4), [process])
            line = meter.line(count, ended)
        found = sorted(self._delays(name, ends(), measured_from * 1000))
        shown = {key: found[min(len(found) - 1, int(len(found) * share))] for key, share in SHARES.items()}
        kept = {key: line[key] for key in ("peak_mb", "processes", "servers_cpu_us_row")}
        return {"rows": count, "rows_s": per_second} | shown | {"cores": round(cores, 3)} | kept

    def _filled(self, process: Measured, count: Callable[[], int], rows: int) -> Line:
        """Rates from the first rows on: the start of the JVM is not counted."""
        until(lambda: count() > 0, [process])
        first, meter = count(), Meter([process], self.stack.servers)
        return meter.line(rows - first, until(lambda: count() >= rows, [process]))

    def topic(self, name: str, **config: str) -> None:
        """The topic of the source called `name`."""
        self.stack.admin.create_topics([NewTopic(f"{name}.{TABLE}", PARTITIONS, 1, config=config)])[
            f"{name}.{TABLE}"
        ].result()

    def _active(self, slot: str) -> bool:
        with connect(self.dsn, autocommit=True) as session:
            query = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"
            return session.execute(query, [slot]).fetchone() == (True,)

    def _delays(self, name: str, records: int, since_ms: float) -> Iterator[float]:
        """Milliseconds from the commit to the broker's stamp, of what was committed since then."""
        reader = Consumer(
            {"bootstrap.servers": self.stack.kafka.bootstrap, "group.id": name, "enable.auto.commit": False}
        )
        reader.assign([TopicPartition(f"{name}.{TABLE}", number, 0) for number in range(PARTITIONS)])
        seen = 0
        while seen < records:
            for message in reader.consume(10_000, 5):
                seen += 1
                committed = orjson.loads(message.value() or b"")["source"]["ts_ms"]
                if committed >= since_ms:
                    yield message.timestamp()[1] - committed
        reader.close()


def _plugins() -> Path:
    """The plugins, unpacked."""
    archives = fetched_jars(LOCK)
    place = cache() / LOCK.stem / f"{archives.name}-plugins"
    with alone(place):
        if not place.exists():
            for archive in archives.glob("*-plugin.tar.gz"):
                with tarfile.open(archive) as files:
                    unpack(files, place)
    return place


def _properties(path: Path, values: Mapping[str, str]) -> str:
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return str(path)


def prepare(stack: Stack, database: str) -> Debezium:
    """A database with the narrow table, empty, and a publication for the peer."""
    dsn = stack.database(database)
    with connect(dsn, autocommit=True) as session:
        session.execute(f"CREATE PUBLICATION {database} FOR TABLE {TABLE}".encode())
    return Debezium(stack, dsn, database, database)


def make_slot(debezium: Debezium, slot: str) -> None:
    """A slot that is there before the rows are."""
    with connect(debezium.dsn, autocommit=True) as session:
        session.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])


def fill(debezium: Debezium, rows: int) -> None:
    """Write the rows."""
    reference.write(debezium.dsn, 0, rows)
