from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partialmethod
from pathlib import Path

import psutil
import psycopg
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.waiting import PATIENCE
from widebeam.lab import account, jars
from widebeam.lab.account import Account, grant, new_directory, readable, server_account
from widebeam.lab.archives import archives, fetched_binaries, unpack
from widebeam.lab.kafka import KafkaBroker
from widebeam.lab.postgres import QUICK, PostgresServer, available_binaries, binaries_of
from widebeam.lab.process import ServerFailed, ServerProcess, server_environment


@pytest.fixture
def directory() -> Iterator[Path]:
    made = new_directory("wb-test-")
    yield made
    shutil.rmtree(made)


def one(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]


@pytest.mark.parametrize("version", sorted(available_binaries()))
def test_a_server_starts_restarts_and_stops_on_one_port_and_data(directory: Path, version: int) -> None:
    server = PostgresServer.start(directory / "pg", settings=QUICK, version=version)
    assert one(server.dsn(), "SELECT current_setting('server_version_num')::int / 10000") == version
    assert one(server.dsn(), "SHOW wal_level") == "logical"
    assert one(server.dsn(), "SHOW server_encoding") == "UTF8"
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept(v int)")
    port, first = server.port, server.pid
    server.restart("immediate")
    assert (server.port, psutil.pid_exists(first)) == (port, False)
    assert one(server.dsn(), "SELECT count(*) FROM kept") == 0
    server.stop()
    assert not psutil.pid_exists(server.pid)
    assert not list((directory / "pg" / "data").glob("postmaster.pid"))


def test_settings_reach_the_server_whatever_is_in_them(directory: Path) -> None:
    server = PostgresServer.start(
        directory, settings={**QUICK, "log_line_prefix": "it's \\ %m ", "wal_level": "minimal", "max_wal_senders": "0"}
    )
    assert one(server.dsn(), "SHOW log_line_prefix") == "it's \\ %m "
    assert one(server.dsn(), "SHOW wal_level") == "minimal"
    server.stop("immediate")


def test_a_unix_socket_is_made_when_its_path_is_short_enough(directory: Path) -> None:
    near = PostgresServer.start(directory / "near", settings=QUICK)
    assert (directory / "near" / f".s.PGSQL.{near.port}").is_socket()
    near.stop("immediate")
    far = PostgresServer.start(directory / ("far" * 30), settings=QUICK)
    assert one(far.dsn(), "SELECT 1") == 1
    far.stop("immediate")


def test_a_server_that_cannot_start_says_why(directory: Path) -> None:
    with pytest.raises(ServerFailed, match="no_such_setting"):
        PostgresServer.start(directory, settings={"no_such_setting": "1"})


def test_a_broker_keeps_its_topics_over_a_kill_and_ends_on_stop(directory: Path) -> None:
    broker = KafkaBroker.start(directory / "kafka")
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    admin.create_topics([NewTopic("kept", 3, 1)])["kept"].result(timeout=60)
    broker.kill()
    assert not psutil.pid_exists(broker.pid)
    broker.restart()
    assert (
        len(AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=60).topics["kept"].partitions) == 3
    )
    broker.stop()
    assert not psutil.pid_exists(broker.pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="servers run as us when we are not root")
def test_servers_do_not_run_as_root(postgres: PostgresServer, kafka: KafkaBroker) -> None:
    for pid in (postgres.pid, kafka.pid):
        assert psutil.Process(pid).uids().real == server_account().uid != 0  # type: ignore[union-attr]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_servers_end_with_the_process_that_started_them(directory: Path, how: signal.Signals) -> None:
    program = (
        "import sys, pathlib; from widebeam.lab.postgres import PostgresServer\n"
        "print(PostgresServer.start(pathlib.Path(sys.argv[1])).pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program, directory / "pg"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as parent:  # fmt: skip
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        family = [server, *server.children(recursive=True)]
        parent.send_signal(how)
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert not alive


def test_a_program_that_forgets_to_stop_its_server_leaves_none(directory: Path) -> None:
    program = (
        "import sys, pathlib; from widebeam.lab.postgres import PostgresServer\n"
        "print(PostgresServer.start(pathlib.Path(sys.argv[1])).pid)"
    )
    done = subprocess.run([sys.executable, "-c", program, directory / "pg"], check=True, capture_output=True, text=True)
    assert not psutil.pid_exists(int(done.stdout))


def test_a_process_that_ignores_the_signal_is_killed(directory: Path) -> None:
    argv = ["/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]
    process = ServerProcess("stubborn", argv, log=directory / "log", env=server_environment(), leash=None)
    process.until(lambda: "deaf" in process.tail(), seconds=PATIENCE)
    assert process.end(signal.SIGTERM, seconds=0.1) == -signal.SIGKILL


def test_a_process_that_never_gets_ready_is_ended(directory: Path) -> None:
    process = ServerProcess("slow", ["/bin/sleep", "60"], log=directory / "log", env=server_environment(), leash=None)
    with pytest.raises(ServerFailed, match="slow was not ready"):
        process.until(lambda: False, seconds=0.1)
    assert not process.running


def test_files_under_a_closed_directory_are_copied_to_where_servers_can_read(
    tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "SHARED_PLACES", (directory,))
    monkeypatch.setattr(account, "server_account", lambda: Account(os.geteuid() + 1, os.getegid() + 1))
    directory.chmod(0o755)
    closed = tmp_path / "closed"
    for tree in ("program", "program.libs"):
        (closed / tree).mkdir(parents=True)
        (closed / tree / "run").write_text(tree)
        (closed / tree / "run").chmod(0o700)
    (closed / "program" / "link").symlink_to("run")
    closed.chmod(0o700)
    trees = readable(closed / "program", closed / "program.libs")
    assert trees[0].parent == trees[1].parent != closed
    assert (trees[0] / "link").read_text() == "program"
    assert (trees[1] / "run").stat().st_mode & 0o777 == 0o755
    assert readable(closed / "program", closed / "program.libs") == trees
    assert readable(trees[0]) == [trees[0]]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as another account")
def test_a_directory_that_servers_cannot_reach_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "pg").mkdir()
    with pytest.raises(PermissionError, match="may not traverse"):
        grant(tmp_path / "pg")


def test_a_jar_that_is_not_the_locked_one_is_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jar = jars.Jar(hashlib.sha256(b"right").hexdigest(), "org.example", "thing", "1.0")
    monkeypatch.setattr(jars, "_download", lambda _: b"wrong")
    with pytest.raises(ServerFailed, match="SHA-256 differs"):
        jars.fetch(jar, tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(jars, "_download", lambda _: b"right")
    jars.fetch(jar, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thing-1.0.jar"]


def test_of_many_at_once_one_fetches_and_copies_and_the_others_wait(
    tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, asked = threading.Barrier(4), list[str]()

    def download(jar: jars.Jar) -> bytes:
        asked.append(jar.name)
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(0.5)  # nobody else comes, if they wait for us as they should
        return b"content"

    digest = hashlib.sha256(b"content").hexdigest()
    (tmp_path / "some.lock").write_text(f"{digest} org.example:one:1\n{digest} org.example:two:1\n")
    monkeypatch.setattr(jars, "_download", download)
    monkeypatch.setattr(account, "SHARED_PLACES", (directory,))
    monkeypatch.setattr(account, "server_account", lambda: Account(os.geteuid() + 1, os.getegid() + 1))
    monkeypatch.setenv("WIDEBEAM_LAB", str(tmp_path / "closed"))
    (tmp_path / "closed").mkdir(0o700)
    directory.chmod(0o755)
    with ThreadPoolExecutor(4) as pool:
        trees = [each.result() for each in [pool.submit(_fetch_and_copy, tmp_path / "some.lock") for _ in range(4)]]
    assert sorted(asked) == ["one-1.jar", "two-1.jar"]
    assert len(set(trees)) == 1
    assert {path.name for path in trees[0].iterdir()} == {"one-1.jar", "two-1.jar"}


def _fetch_and_copy(lock: Path) -> Path:
    [tree] = readable(jars.fetched_jars(lock))
    return tree


def test_what_ends_in_the_middle_of_a_fetch_leaves_nothing_among_the_jars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jar = jars.Jar(hashlib.sha256(b"right").hexdigest(), "org.example", "thing", "1.0")
    (place := tmp_path / "jars").mkdir()
    seen = list[Path]()
    monkeypatch.setattr(jars, "_download", lambda _: b"right")
    monkeypatch.setattr(Path, "chmod", lambda *_, **__: seen.extend(place.iterdir()))
    jars.fetch(jar, place)
    assert not seen
    assert [path.name for path in place.iterdir()] == ["thing-1.0.jar"]


def test_an_unreachable_repository_is_an_error_that_names_the_jar(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(ServerFailed, match=r"thing-1\.0\.jar.*no route"):
        jars._download(jars.Jar("0" * 64, "org.example", "thing", "1.0"))


def test_an_older_server_is_fetched_once_and_whole(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if 15 not in archives():
        pytest.skip(f"postgres.lock names no PostgreSQL 15 for {platform.machine()}")
    monkeypatch.setenv("WIDEBEAM_LAB", str(directory))
    try:
        binaries = fetched_binaries(15)
    except ServerFailed as error:
        pytest.skip(str(error))
    assert [path for path in (directory / "postgres").iterdir() if path.is_dir()] == [binaries.parent]
    assert {path.name for path in binaries.iterdir()} >= {"initdb", "postgres"}
    monkeypatch.setattr(jars, "_download", lambda _: b"never asked for again")
    assert fetched_binaries(15) == binaries
    server = PostgresServer.start(directory / "pg", settings=QUICK, binaries=binaries)
    assert one(server.dsn(), "SELECT current_setting('server_version_num')::int / 10000") == 15
    server.stop("immediate")


def test_a_version_that_nobody_has_is_refused_by_name() -> None:
    with pytest.raises(ServerFailed, match=r"no PostgreSQL 9 .*postgres\.lock"):
        binaries_of(9)


def test_an_archive_is_unpacked_by_a_python_that_has_no_filters_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").write_text("content")
    with tarfile.open(tmp_path / "outer.tar", "w") as made:
        made.add(tmp_path / "inner", "inner")
    for place in ("new", "old"):
        with tarfile.open(tmp_path / "outer.tar") as files:
            unpack(files, tmp_path / place)
        assert (tmp_path / place / "inner").read_text() == "content"
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
        monkeypatch.setattr(tarfile.TarFile, "extractall", partialmethod(_as_before, tarfile.TarFile.extractall))


def _as_before(files: tarfile.TarFile, extractall: Callable[..., None], path: Path) -> None:
    extractall(files, path)


def test_an_archive_that_is_not_the_locked_one_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jar = jars.Jar("0" * 64, "org.example", "thing", "9.9.0")
    monkeypatch.setenv("WIDEBEAM_LAB", str(tmp_path))
    monkeypatch.setattr("widebeam.lab.archives.archives", lambda: {9: jar})
    monkeypatch.setattr(jars, "_download", lambda _: b"wrong")
    with pytest.raises(ServerFailed, match=r"postgres\.lock names: its SHA-256 differs"):
        fetched_binaries(9)
    assert not [path for path in (tmp_path / "postgres").iterdir() if path.suffix != ".lock"]


def test_every_line_of_the_lock_file_is_a_jar() -> None:
    assert len(jars.locked_jars()) > 40
    assert all(len(jar.sha256) == 64 and jar.url.endswith(jar.name) for jar in jars.locked_jars())
