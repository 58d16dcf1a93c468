"""A connector at work between servers of its own, with a proxy before each, a live writer and a witness.

Faults are injected into it one after the other. Its source, its target and its log can each be lost alone.
"""

from __future__ import annotations

import os
import shutil
import signal
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg

from cdc.lsn import Lsn
from tests.faults.disk import Disk
from tests.faults.proxy import Proxy
from tests.faults.witness import Witness
from tests.pipeline import FILE, TWO_OF_EACH, Cells, Pipeline, until
from tests.waiting import PATIENCE
from widebeam.demo.history import History, load
from widebeam.demo.writer import Writer
from widebeam.lab.account import new_directory
from widebeam.lab.kafka import KafkaBroker
from widebeam.lab.postgres import QUICK, PostgresServer
from widebeam.verify import barrier

CONNECTOR: Final = "stand"
ROWS: Final = 20_000
RATE: Final = 800
"""Of the live writer, rows a second."""

DISK_MEGABYTES: Final = 600
_MARK_EVERY: Final = 3.0
LAUNCH: Final = Path(__file__).with_name("launch.py")

POSTGRES: Final[Mapping[str, str]] = {
    **QUICK,
    "wal_sender_timeout": "2s",
    "deadlock_timeout": "2s",
    "max_connections": "40",
    "superuser_reserved_connections": "0",  # all are superusers here: nothing is kept for them
    "max_prepared_transactions": "5",
    "max_wal_size": "128MB",
    "shared_buffers": "64MB",
}
BROKER: Final[Mapping[str, str]] = {"group.min.session.timeout.ms": "1000"}
CLIENT: Final[Mapping[str, str]] = {
    "session.timeout.ms": "3000",
    "heartbeat.interval.ms": "500",
    "max.poll.interval.ms": "6000",
    "delivery.timeout.ms": "4000",
    "reconnect.backoff.max.ms": "500",
    "log_level": "3",  # else each client warns of what is for another kind of client
}


@dataclass
class Apart(Pipeline):
    """A pipeline whose narrow table is in another server than its wide ones."""

    source: str = ""

    def narrow(self) -> Cells:
        """What DuckDB's PIVOT makes of the narrow rows."""
        return Pipeline.narrow(replace(self, dsn=self.source))


class LiveWriter:
    """The demo's writer, which goes on after whatever happens to its server. Its connection is not by the proxy."""

    def __init__(self, dsn: str, history: History, rate: int) -> None:
        self._writer = Writer(dsn, history, rate=rate)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        self.error: BaseException | None = None

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return self._writer.tally.rows

    def end(self) -> None:
        """Stop; raises what it could not go on after."""
        self._stop.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self._writer.run(self._stop)
            except psycopg.OperationalError:
                self._stop.wait(0.1)
            except BaseException as error:  # noqa: BLE001  for `end`
                self.error = error
                return


@dataclass
class Stand:
    """What a fault is injected into. The gates are proxies: widebeam reaches the servers through them alone."""

    directory: Path
    disks: dict[str, Disk]
    source: PostgresServer
    target: PostgresServer
    broker: KafkaBroker
    gates: dict[str, Proxy]
    pipeline: Apart
    witness: Witness
    writer: LiveWriter
    run: psutil.Popen | None = None
    helpers: list[psutil.Popen] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    """Of `widebeam run` and its parts, on top of ours."""

    resting: bool = False
    """Nobody is to start `widebeam run` again."""

    @property
    def log(self) -> Path:
        """What `widebeam run` and its parts say."""
        return self.pipeline.file.with_suffix(".log")

    def said(self, since: int = 0) -> str:
        """What was said from this byte on."""
        with self.log.open("rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace")

    @contextmanager
    def on_source(self) -> Iterator[psycopg.Connection[Any]]:
        """A session with the source, in autocommit, past the proxy."""
        with psycopg.connect(self.pipeline.source, autocommit=True) as session:
            yield session

    @contextmanager
    def on_target(self) -> Iterator[psycopg.Connection[Any]]:
        """A session with the target, in autocommit, past the proxy."""
        with psycopg.connect(self.pipeline.dsn, autocommit=True) as session:
            yield session

    def command(self, *arguments: str, **environment: str) -> psutil.Popen:
        """A command of widebeam for the connector, whose output goes to the log."""
        with self.log.open("ab") as log:
            return psutil.Popen(
                [sys.executable, str(LAUNCH), *arguments, str(self.pipeline.file)],
                stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "WIDEBEAM_TEST_CLOCK": str(self.directory / "clock"), **TWO_OF_EACH, **environment},
            )  # fmt: skip

    def running(self) -> psutil.Popen:
        """`widebeam run`; started when there is none, or it has ended."""
        if self.run is None or self.run.poll() is not None:
            self.run = self.command("run", **self.environment)
        return self.run

    @contextmanager
    def rest(self) -> Iterator[psutil.Popen]:
        """While this lasts, `widebeam run` is started again by nobody. Waits for one that runs."""
        until(lambda: self.run is not None and self.run.poll() is None)
        self.resting = True
        try:
            assert self.run is not None
            yield self.run
        finally:
            self.run = None  # its end was wanted
            self.resting = False

    def parts(self, verb: str) -> list[psutil.Process]:
        """The running parts of `widebeam run` with this verb."""
        found = []
        with suppress(psutil.NoSuchProcess):
            for child in self.run.children() if self.run is not None else ():
                with suppress(psutil.Error):
                    if verb in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                        found.append(child)
        return found

    def part(self, verb: str) -> psutil.Process:
        """A running part with this verb, awaited."""
        return until(lambda: self.parts(verb))[0]  # type: ignore[no-any-return]

    def set_clock(self, seconds: float) -> None:
        """Put the wall clock of all processes off by so much."""
        with (self.directory / "clock").open("r+b") as clock:
            clock.write(struct.pack("d", seconds))

    def generation(self) -> int:
        """Runs of capture so far."""
        return int(self.pipeline.one("SELECT generation FROM widebeam.connectors"))

    def stream_port(self) -> int:
        """The port from which the source sees capture's stream come, awaited."""
        with self.on_source() as source:
            row = until(lambda: source.execute("SELECT client_port FROM pg_stat_replication").fetchone())
            return int(row[0])

    def recovered(self, seconds: float | None = None) -> None:
        """Wait until what is committed by now is in the wide tables. The mark is set again and again, for one that lies
        before a new slot comes no more, while what is committed does."""
        mark, due = until(self._mark, seconds), time.monotonic() + _MARK_EVERY

        def passed() -> bool:
            nonlocal due
            if time.monotonic() > due:
                self._mark()
                due = time.monotonic() + _MARK_EVERY
            return self._passed(mark)

        until(passed, seconds)

    def _mark(self) -> Lsn | None:
        with suppress(psycopg.OperationalError), self.on_source() as session:
            return barrier.emit(session, "fault over")
        return None

    def _passed(self, mark: Lsn) -> bool:
        with suppress(psycopg.OperationalError), self.on_target() as session:
            return barrier.passed(session, CONNECTOR, mark)
        return False

    def states(self) -> Counter[str]:
        """What widebeam's sessions with the target do, by application and state."""
        with self.on_target() as session:
            return Counter(
                f"{name}: {state}"
                for name, state in session.execute(
                    "SELECT application_name, state FROM pg_stat_activity WHERE application_name LIKE 'widebeam%'"
                )
            )

    def end(self) -> int:
        """Ctrl-C, as a person would; the exit code."""
        run = self.running()
        run.send_signal(signal.SIGINT)
        return int(run.wait(PATIENCE))

    def kill(self) -> None:
        """Leave no process of widebeam behind, nor a dead one unheard."""
        for process in [each for each in [self.run, *self.helpers] if each is not None and each.poll() is None]:
            for one in [*process.children(recursive=True), process]:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            process.wait()


@contextmanager
def stand(
    *, rows: int = ROWS, rate: int = RATE, megabytes: int = DISK_MEGABYTES, chunk_attempts: int = 5
) -> Iterator[Stand]:
    """A stand with all of its servers; nothing of it is left afterwards. From the main thread, as servers are.

    `rows` are there at the start, the writer writes `rate` a second; each server has a disk of so many `megabytes`.
    """
    with ExitStack() as stack:
        directory = new_directory("wb-faults-")
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        disks = {}
        for name in ("source", "target"):
            disks[name] = Disk.mount(directory / name, megabytes)
            stack.callback(disks[name].unmount)
        gates = {name: Proxy() for name in ("source", "target", "kafka")}
        for gate in gates.values():
            stack.callback(gate.close)
        servers = {}
        for name, disk in disks.items():
            servers[name] = server = PostgresServer.start(disk.directory / "pg", settings=POSTGRES)
            stack.callback(server.stop, "immediate")
            gates[name].upstream = server.port
        advertised = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{gates['kafka'].port}"}
        broker = KafkaBroker.start(directory / "kafka", settings={**BROKER, **advertised})
        stack.callback(broker.kill)
        gates["kafka"].upstream = broker.port
        file = _file(directory, gates, chunk_attempts)
        made = _made(file, disks, servers, broker, gates, load(servers["source"].dsn(), rows), rate)
        stack.callback(made.kill)
        made.witness.start()
        stack.callback(made.witness.close)
        yield made


_PATIENCE = """[run]
well_after_seconds = 2
longest_pause_seconds = 2
"""


def _file(directory: Path, gates: dict[str, Proxy], chunk_attempts: int) -> Path:
    """The connector's file, which knows the servers by their proxies alone."""
    client = ", ".join(f'"{name}" = "{value}"' for name, value in CLIENT.items())
    kafka = f'[kafka]\nbootstrap_servers = "127.0.0.1:{gates["kafka"].port}"\npartitions = 4\nclient = {{ {client} }}'
    through, there = (
        f"host=127.0.0.1 port={gates[name].port} user=postgres dbname=postgres" for name in ("source", "target")
    )
    text = FILE.format(dsn=through, kafka=kafka).replace(f'[target]\ndsn = "{through}"', f'[target]\ndsn = "{there}"')
    file = directory / f"{CONNECTOR}.toml"
    file.write_text(text.replace("[backfill]", f"{_PATIENCE}[backfill]\nattempts = {chunk_attempts}"))
    return file


def _made(
    file: Path,
    disks: dict[str, Disk],
    servers: dict[str, PostgresServer],
    broker: KafkaBroker,
    gates: dict[str, Proxy],
    history: History,
    rate: int,
) -> Stand:
    (file.parent / "clock").write_bytes(struct.pack("d", 0.0))
    source, target = servers["source"].dsn(), servers["target"].dsn()
    pipeline = Apart(file, target, history, broker.bootstrap, f"widebeam.{CONNECTOR}", source)
    made = Stand(
        file.parent, disks, servers["source"], servers["target"], broker, gates, pipeline, Witness(target),
        LiveWriter(source, history, rate),
    )  # fmt: skip
    made.witness.watch(lambda: [each for each in [made.run, *made.helpers] if each is not None])
    return made
