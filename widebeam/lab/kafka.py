"""A Kafka broker of our own: KRaft, one node, one data directory, free loopback ports."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from widebeam.lab.account import grant, readable
from widebeam.lab.jars import fetched_jars
from widebeam.lab.java import java
from widebeam.lab.process import ServerFailed, ServerProcess, free_port, run_once, server_environment

SETTINGS: Final[Mapping[str, str]] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "num.partitions": "1",
    "default.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # A broker comes back only when the controller has given up its former life, and a lone controller first waits for
    # voters: the times that suit a cluster make a restart here take ten seconds.
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "2000",
    "controller.quorum.election.timeout.ms": "200",
    "controller.quorum.fetch.timeout.ms": "400",
}
"""Settings of every broker; those given to `start` come on top."""

_JVM: Final = (
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # a broker that lives for minutes does not earn back what the second compiler takes
    "-Xshare:auto",
    "-Djava.awt.headless=true",
)
_ATTEMPTS: Final = 5


@dataclass(slots=True)
class KafkaBroker:
    """A running broker without authentication, but at `secure_port`, if there is one: SASL_SSL there.

    Start and stop it from the main thread.
    """

    directory: Path
    port: int
    process: ServerProcess
    leashed: bool
    secure_port: int | None = None

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        settings: Mapping[str, str] | None = None,
        leashed: bool = True,
        secured: bool = False,
    ) -> KafkaBroker:
        """Start a broker on `directory`, which must hold no other broker's data.

        Its jars come over the network the first time. With `leashed=False` it goes on after us.
        `secured` adds a listener for SASL_SSL, whose keys and mechanisms are in `settings`.
        """
        directory.mkdir(parents=True, exist_ok=True)
        for attempt in range(_ATTEMPTS):
            port, controller, secure = free_port(), free_port(), free_port() if secured else None
            _format(directory, {**SETTINGS, **_listeners(directory, port, controller, secure), **(settings or {})})
            try:
                return cls(directory, port, _run(directory, port, leashed=leashed), leashed, secure)
            except ServerFailed as error:
                if attempt == _ATTEMPTS - 1 or "Address already in use" not in str(error):
                    raise
                shutil.rmtree(directory / "data")
        raise AssertionError("unreachable")

    @property
    def bootstrap(self) -> str:
        """`bootstrap.servers` for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """Everything that the broker says."""
        return self.directory / "log"

    @property
    def pid(self) -> int:
        """The broker's process id."""
        return self.process.pid

    def stop(self) -> None:
        """Shut down in order (SIGTERM). No error if it runs no more."""
        self.process.end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does (SIGKILL)."""
        self.process.end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop if it runs, and start again on the same ports and data."""
        self.stop()
        self.process = _run(self.directory, self.port, leashed=self.leashed)


def tool(main_class: str, *arguments: str) -> list[str]:
    """The command line of one of Kafka's own tools, e.g. org.apache.kafka.tools.BrokerApiVersionsCommand."""
    return [*_java("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"), main_class, *arguments]


def _listeners(directory: Path, port: int, controller: int, secure: int | None) -> dict[str, str]:
    clients = f"PLAINTEXT://127.0.0.1:{port}" + ("" if secure is None else f",SASL_SSL://127.0.0.1:{secure}")
    return {
        "listeners": f"{clients},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": clients,
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL",
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
        "log.dirs": str(directory / "data"),
    }


def _format(directory: Path, properties: Mapping[str, str]) -> None:
    """Make the data directory of a new cluster of one."""
    if (directory / "data").exists():
        raise ServerFailed(f"{directory}/data holds a broker's data already: give each broker a new directory")
    config = directory / "server.properties"
    config.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    grant(directory)
    options = ["format", "--standalone", "--cluster-id", uuid4().hex[:22], "--config", str(config)]
    run_once(f"formatting {directory}", tool("kafka.tools.StorageTool", *options), directory)


def _run(directory: Path, port: int, *, leashed: bool) -> ServerProcess:
    process = ServerProcess(
        f"Kafka in {directory}",
        [*_java(*_JVM), "kafka.Kafka", str(directory / "server.properties")],
        log=directory / "log",
        env=server_environment(),
        leash=signal.SIGKILL if leashed else None,
    )
    process.until(lambda: _answers(port), seconds=240)
    return process


def _java(*options: str) -> list[str]:
    [jars] = readable(fetched_jars())
    return [str(java()), *options, "-Dorg.slf4j.simpleLogger.showDateTime=true", "-cp", f"{jars}/*"]


def _answers(port: int) -> bool:
    with AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0}) as admin:
        try:
            return bool(admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return False
