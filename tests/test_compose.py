"""docker-compose.yml is checked, and its services run as local processes: same commands, same settings."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import psycopg
import pytest
import yaml
from psycopg import sql
from pydantic import BaseModel, ConfigDict, Field

from cdc.settings import CaptureSettings
from tests.pipeline import change_some, until
from tests.waiting import PATIENCE
from widebeam.config.config import load
from widebeam.demo import history
from widebeam.lab.account import new_directory
from widebeam.lab.kafka import KafkaBroker
from widebeam.lab.postgres import QUICK, PostgresServer, newest_binaries
from widebeam.lab.process import free_port

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docker-compose.yml"
OURS = ("capture", "sink", "backfill")
SECRET = "only for this test"

Size = Annotated[str, Field(pattern=r"^\d+[kmg]$")]
Duration = Annotated[str, Field(pattern=r"^(\d+h)?(\d+m)?(\d+s)?$", min_length=2)]


class Part(BaseModel):
    """A mapping of the compose specification, as far as we use it: anything else in it is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Build(Part):
    context: str
    dockerfile: str


class Dependency(Part):
    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class HealthCheck(Part):
    test: list[str] = Field(min_length=2)
    interval: Duration
    timeout: Duration
    retries: int = Field(gt=0)
    start_period: Duration | None = None


class Logging(Part):
    driver: Literal["json-file"]
    """Docker and podman both know it."""
    options: dict[str, str]


class Service(Part):
    """No container_name and no ports: those of a scaled service would collide."""

    image: str = Field(min_length=1)
    build: Build | None = None
    pull_policy: Literal["always", "never", "missing", "build"] | None = None
    command: list[str] | None = None
    scale: Annotated[str, Field(pattern=r"^\d+$")] = "1"
    env_file: list[str] = []
    environment: dict[str, str | int]
    secrets: list[str] = []
    volumes: list[Annotated[str, Field(pattern=r"^[^:]+:/[^:]+(:ro)?$")]] = []
    depends_on: dict[str, Dependency] = {}
    restart: Literal["no", "always", "on-failure", "unless-stopped"]
    init: bool = False
    read_only: bool = False
    cap_drop: list[str] = []
    security_opt: list[str] = []
    tmpfs: list[str] = []
    mem_limit: Size
    shm_size: Size | None = None
    pids_limit: int | None = None
    logging: Logging
    stop_grace_period: Duration
    healthcheck: HealthCheck


class Secret(Part):
    file: str


class Compose(Part):
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    services: dict[Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]+$")], Service]
    secrets: dict[str, Secret]
    volumes: dict[str, None]


def interpolated(value: Any, environment: Mapping[str, str]) -> Any:
    """The specification's `${NAME:-default}` and `${NAME}` filled in."""
    match value:
        case str():
            return re.sub(
                r"\$\{(\w+)(?::-([^}]*))?\}", lambda found: environment.get(found[1]) or found[2] or "", value
            )
        case list():
            return [interpolated(one, environment) for one in value]
        case dict():
            return {name: interpolated(one, environment) for name, one in value.items()}
        case _:
            return value


def compose(environment: Mapping[str, str] | None = None) -> Compose:
    raw = yaml.safe_load(FILE.read_text())
    return Compose.model_validate(
        interpolated({name: one for name, one in raw.items() if not name.startswith("x-")}, environment or {})
    )


def test_the_file_has_the_services_and_nothing_that_the_specification_does_not_know() -> None:
    assert set(compose().services) == {"postgres", "kafka", *OURS}


def test_a_key_that_the_specification_does_not_know_is_found() -> None:
    raw = interpolated(yaml.safe_load(FILE.read_text()), {})
    raw["services"]["sink"]["restrat"] = "always"
    with pytest.raises(ValueError, match="restrat"):
        Compose.model_validate({name: one for name, one in raw.items() if not name.startswith("x-")})


def test_ours_start_after_healthy_servers_and_everything_named_is_defined() -> None:
    file = compose()
    for name in OURS:
        conditions = {other: one.condition for other, one in file.services[name].depends_on.items()}
        assert conditions == {"postgres": "service_healthy", "kafka": "service_healthy"}
    for service in file.services.values():
        assert set(service.secrets) <= set(file.secrets)
        named = {volume.partition(":")[0] for volume in service.volumes if not volume.startswith(".")}
        assert named <= set(file.volumes)


def test_ours_are_given_the_time_that_an_orderly_end_takes_and_somebody_who_passes_signals_on() -> None:
    drains = next(field.default for field in fields(CaptureSettings) if field.name == "drain_seconds")
    for name in OURS:
        service = compose().services[name]
        assert int(service.stop_grace_period.removesuffix("s")) >= drains + 15
        assert service.init


def test_one_service_builds_and_the_others_take_what_it_built() -> None:
    services = compose().services
    built = [name for name in OURS if services[name].build]
    assert [services[name].pull_policy for name in built] == ["build"]
    assert {services[name].pull_policy for name in OURS if name not in built} == {"never"}
    assert len({services[name].image for name in OURS}) == 1


def test_ours_can_write_nothing_and_may_do_nothing_but_reach_the_servers() -> None:
    for name in OURS:
        service = compose().services[name]
        assert (service.read_only, service.cap_drop, service.security_opt) == (
            True, ["ALL"], ["no-new-privileges:true"],
        )  # fmt: skip
        assert all(volume.endswith(":ro") for volume in service.volumes)


def test_no_service_fills_the_disk_with_its_log_or_takes_all_memory() -> None:
    for service in compose().services.values():
        assert {"max-size", "max-file"} <= set(service.logging.options)


def test_each_place_that_an_image_declares_as_a_volume_has_a_name() -> None:
    services, declared = compose().services, {"/etc/kafka/secrets", "/mnt/shared/config", "/var/lib/kafka/data"}
    kafka = services["kafka"]
    assert {*kafka.tmpfs, *(volume.partition(":")[2] for volume in kafka.volumes)} == declared
    assert services["postgres"].volumes == ["postgres:/var/lib/postgresql"]


def test_as_many_sinks_as_somebody_chose_survive_the_next_up() -> None:
    assert compose().services["sink"].scale == "1"
    assert compose({"SINKS": "4"}).services["sink"].scale == "4"


def test_options_come_by_a_file_whose_examples_are_options() -> None:
    (given,) = compose().services["capture"].env_file
    lines = re.findall(r"^# (WIDEBEAM_\w+)=(.*)$", (ROOT / given).read_text(), re.MULTILINE)
    assert len(lines) > 3
    connector = load(str(ROOT / "connectors" / "ships.toml"), dict(lines))
    assert connector.options.backfill.chunk_rows == int(dict(lines)["WIDEBEAM_BACKFILL__CHUNK_ROWS"])
    assert compose({"WIDEBEAM_ENV": "plant.env"}).services["sink"].env_file == ["plant.env"]


def test_ports_are_published_for_this_machine_alone_and_only_where_somebody_says_so() -> None:
    ports = yaml.safe_load((ROOT / "deploy" / "compose.ports.yml").read_text())["services"]
    assert set(ports) == {"postgres", "kafka"}
    assert all(port.startswith("127.0.0.1:") for service in ports.values() for port in service["ports"])
    there = compose().services["kafka"].environment
    for name, value in ports["kafka"]["environment"].items():  # what the services themselves go by stays
        assert set(str(there[name]).split(",")) < set(value.split(",")), name


def test_the_password_is_a_file_that_make_up_makes_and_the_containers_user_can_read(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (secret,) = compose().secrets.values()
    file = tmp_path / secret.file
    made = ["make", "-s", "-C", str(tmp_path), f"PYTHON={sys.executable}", str(Path(secret.file))]
    subprocess.run(made, check=True)
    first = file.read_text()
    assert len(first) > 20
    assert (file.parent.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o644)
    subprocess.run(made, check=True)
    assert file.read_text() == first


def test_no_password_is_in_the_file() -> None:
    for service in compose().services.values():
        for name, value in service.environment.items():
            assert "password=" not in str(value).lower()
            if "PASSWORD" in name:
                assert name.endswith("_FILE")
                assert str(value).removeprefix("/run/secrets/") in service.secrets


def test_the_connector_and_the_servers_can_be_chosen_by_the_environment() -> None:
    file = compose({"CONNECTOR": "plant", "WIDEBEAM_SOURCE__DSN": "host=elsewhere dbname=plant"})
    assert file.services["sink"].command == ["sink", "--wait", "plant"]
    assert file.services["capture"].environment["WIDEBEAM_SOURCE__DSN"] == "host=elsewhere dbname=plant"


def test_the_image_is_built_from_locked_files_and_does_not_run_as_root() -> None:
    build = compose().services["capture"].build
    assert build is not None
    lines = (ROOT / build.context / build.dockerfile).read_text().replace("\\\n", "").splitlines()
    fetching = [line for line in lines if "pip install" in line]
    assert fetching
    assert all("--require-hashes" in line or "--no-index" in line for line in fetching)
    last_stage = lines[max(number for number, line in enumerate(lines) if line.startswith("FROM")) :]
    assert any(line.startswith("USER ") and line.split()[1] not in ("0", "root") for line in last_stage)
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
    assert {"cdc", "sink", "snapshot", "widebeam", "requirements-runtime.lock"} <= copied
    assert all((ROOT / name).exists() for name in copied if not name.startswith(("--from", "/")))


def test_the_runtime_lock_names_the_same_versions_as_the_whole_one() -> None:
    def pins(file: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9-]+==\S+", (ROOT / file).read_text(), re.MULTILINE))

    assert pins("requirements-runtime.lock") < pins("requirements.lock")


@dataclass
class Local:
    """The services' world on this machine: servers as the file sets them up, names mapped to loopback ports."""

    file: Compose
    postgres: PostgresServer
    kafka: KafkaBroker
    directory: Path
    ports: dict[str, int] = field(default_factory=dict)

    def environment(self, service: str, instance: str = "") -> dict[str, str]:
        """A service's environment, with the hosts and the secrets of this machine, and a port of each one's own."""
        secret = self.directory / "secret"
        secret.write_text(SECRET)
        given = {name: str(value) for name, value in self.file.services[service].environment.items()}
        here = {
            "host=postgres port=5432": f"host=127.0.0.1 port={self.postgres.port}",
            "kafka:9092": self.kafka.bootstrap,
            "/run/secrets/postgres_password": str(secret),
        }
        for name, value in given.items():
            for there, local in here.items():
                value = value.replace(there, local)  # noqa: PLW2901
            given[name] = value
        if "WIDEBEAM_HEALTH__PORT" in given:
            given["WIDEBEAM_HEALTH__PORT"] = str(self.ports.setdefault(instance or service, free_port()))
        programs = f"{Path(sys.executable).parent}:{newest_binaries()}:{os.environ['PATH']}"
        return {"PATH": programs, "LANG": "C.UTF-8", "PGPORT": str(self.postgres.port), **given}

    def healthy(self, service: str) -> bool:
        """Run the service's health check."""
        how, *test = self.file.services[service].healthcheck.test
        assert how == "CMD"
        test = [word.replace("kafka/9092", self.kafka.bootstrap.replace(":", "/")) for word in test]
        env = self.environment(service)
        return subprocess.run(test, env=env, cwd=ROOT, capture_output=True, check=False, timeout=60).returncode == 0

    def start(self, service: str, instance: str = "") -> subprocess.Popen[bytes]:
        """Start one of ours; its output is in a file named after its service."""
        command = self.file.services[service].command
        assert command
        with (self.directory / service).open("ab") as out:
            return subprocess.Popen(
                ["widebeam", *command], env=self.environment(service, instance), cwd=ROOT, stdout=out,
                stderr=subprocess.STDOUT,
            )  # fmt: skip

    def said(self, service: str) -> str:
        return (self.directory / service).read_text()


def postgres_settings(command: list[str]) -> dict[str, str]:
    """`postgres -c name=value ...` as settings."""
    program, *options = command
    assert program == "postgres"
    assert set(options[::2]) == {"-c"}
    return dict(option.split("=", 1) for option in options[1::2])


def broker_settings(environment: Mapping[str, str | int]) -> dict[str, str]:
    """KAFKA_SOME_NAME as the broker's some.name, as the image does it; where it listens is the lab's own affair."""
    own = ("LISTENER", "QUORUM", "LOG_DIRS", "NODE_ID", "HEAP")
    return {
        name.removeprefix("KAFKA_").lower().replace("_", "."): str(value)
        for name, value in environment.items()
        if not any(word in name for word in own)
    }


@pytest.fixture
def local() -> Iterator[Local]:
    file = compose()
    directory = new_directory("wb-test-")
    settings = postgres_settings(file.services["postgres"].command or [])
    postgres = PostgresServer.start(directory / "pg", settings={**settings, **QUICK})
    kafka = KafkaBroker.start(directory / "kafka", settings=broker_settings(file.services["kafka"].environment))
    try:
        yield Local(file, postgres, kafka, directory)
    finally:
        kafka.kill()
        postgres.stop("immediate")
        shutil.rmtree(directory)


def test_the_services_get_healthy_and_end_with_zero_even_while_the_broker_is_frozen(local: Local) -> None:
    database = str(local.file.services["postgres"].environment["POSTGRES_DB"])
    assert not local.healthy("postgres")
    with psycopg.connect(local.postgres.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    assert local.healthy("postgres")
    assert local.healthy("kafka")
    assert not local.healthy("capture")
    another = local.start("sink", "another")
    until(lambda: "waits: " in local.said("sink"))
    history.load(local.postgres.dsn(database), 10_000)
    running = {"capture": local.start("capture"), "sink": local.start("sink")}
    try:
        assert local.start("backfill").wait(PATIENCE) == 0, local.said("backfill")
        for service in running:
            while not local.healthy(service):
                assert all(process.poll() is None for process in running.values()), local.said(service)
        another.send_signal(signal.SIGTERM)
        grace = int(local.file.services["sink"].stop_grace_period.removesuffix("s"))
        assert another.wait(grace) == 0, local.said("sink")
        os.kill(local.kafka.pid, signal.SIGSTOP)
        change_some(local.postgres.dsn(database))
        with psycopg.connect(local.postgres.dsn(), autocommit=True) as connection:
            written = connection.execute("SELECT pg_current_wal_lsn()").fetchone()
            sent = "SELECT sent_lsn >= %s FROM pg_stat_replication"  # so capture hands it to a broker that says nothing
            until(lambda: connection.execute(sent, written).fetchone() == (True,))
    finally:
        for process in [another, *running.values()]:
            process.send_signal(signal.SIGTERM)
    codes = {name: process.wait(grace) for name, process in running.items()}
    assert codes == dict.fromkeys(running, 0), local.said("capture") + local.said("sink")
