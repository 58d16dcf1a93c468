"""What systemd is told, over real datagram sockets, by a real supervisor with small programs as parts."""

from __future__ import annotations

import configparser
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from widebeam.cli import app
from widebeam.config.options.parts import Run
from widebeam.health.health import RunHealth
from widebeam.health.reporter import Reporter
from widebeam.health.systemd import Notifier
from widebeam.process import child, part_state, poller
from widebeam.process.child import Part
from widebeam.process.poller import LOOK
from widebeam.run import supervise as supervise_module
from widebeam.run.supervise import Supervisor

UNIT = Path(__file__).parents[3] / "deploy" / "widebeam@.service"

WORKS = """
import signal, sys, threading, time
from widebeam.process.heartbeat import Heartbeat
one = Heartbeat(threading.Event()); one.beat(); one.is_set()
print("ready", file=sys.stderr, flush=True)
signal.pause()
"""


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The name that a service gets, and systemd's end of it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@widebeam-{uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        one.setblocking(False)
        yield name, one


def told(one: socket.socket) -> list[str]:
    """All that has come."""
    lines = []
    with contextlib.suppress(BlockingIOError):
        while True:
            lines += one.recv(4096).decode().splitlines()
    return lines


class Watch:
    """Does `step` at every look."""

    def __init__(self, step) -> None:
        self.step, self.looks = step, 0

    def look(self) -> bool:
        self.looks += 1
        return self.step(self)

    def line(self, text: str) -> None: ...

    def died(self, *_: object) -> None: ...


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "COMMAND", (sys.executable, "-c"))
    monkeypatch.setattr(poller, "LOOK", 0.02)
    monkeypatch.setattr(supervise_module, "TICK", 0.02)


def supervise(name: str, watch: Watch, *programs: str) -> None:
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "120000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier(environment)
    assert environment == {}, "a child could speak for us"
    attend = Reporter(RunHealth("plant"), notifier, 40.0).attend
    parts = [Part(f"part {number}", (text,)) for number, text in enumerate(programs)]
    Supervisor(parts, watch, lambda: None, attend=attend).run()
    notifier.close()


def test_it_is_ready_once_all_parts_are_at_work_and_tells_that_it_ends(systemd: tuple[str, socket.socket]) -> None:
    name, one = systemd
    said: list[str] = []

    def ready(_: Watch) -> bool:
        said.extend(told(one))
        return "READY=1" in said

    supervise(name, Watch(ready), WORKS, WORKS)
    said += told(one)
    assert said.count("READY=1") == 1
    assert "WATCHDOG=1" in said
    assert any(line.startswith("STATUS=") and "part 1 is starting" in line for line in said[: said.index("READY=1")])
    stopping = said.index("STOPPING=1")
    assert said.index("READY=1") < stopping
    assert said[stopping + 1] == "EXTEND_TIMEOUT_USEC=40000000"


def test_with_a_part_that_never_gets_to_work_it_is_never_ready(systemd: tuple[str, socket.socket]) -> None:
    name, one = systemd
    said: list[str] = []

    def long_after(watch: Watch) -> bool:
        said.extend(told(one))
        return any("STATUS=part 1 is starting" in line for line in said) and watch.looks > 50

    supervise(name, Watch(long_after), WORKS, "import time; time.sleep(600)")
    assert "READY=1" not in said + told(one)


@pytest.mark.parametrize("systemd", ["path"], indirect=True)
def test_a_part_that_is_stopped_misses_the_watchdog_until_it_goes_on(
    systemd: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, one = systemd
    monkeypatch.setattr(part_state, "SILENT", 3.0)
    steps = iter(["stopped", "silent", "goes on"])
    now, since = [next(steps)], [0]

    def step(watch: Watch) -> bool:
        said = told(one)
        (part,) = [each for each in psutil.Process().children() if "-c" in each.cmdline()] or [None]
        match now[0]:
            case "stopped" if "READY=1" in said and part is not None:
                part.suspend()
                now[0] = next(steps)
            case "silent" if any("is silent" in line for line in said):
                now[0], since[0] = next(steps), watch.looks
            case "goes on" if watch.looks < since[0] + 30:
                assert "WATCHDOG=1" not in said
                if watch.looks == since[0] + 29:
                    part.resume()
            case "goes on":
                return "WATCHDOG=1" in said
        return False

    supervise(name, Watch(step), WORKS)


@pytest.mark.parametrize("systemd", ["path"], indirect=True)
def test_a_supervisor_that_stands_still_misses_the_watchdog(systemd: tuple[str, socket.socket]) -> None:
    name, one = systemd

    class Stuck(Watch):
        def line(self, text: str) -> None:
            told(one)
            looks = self.looks
            while self.looks < looks + 20:
                signal.sigtimedwait([], 0.01)
            self.said = told(one)

    watch = Stuck(lambda watch: hasattr(watch, "said"))
    supervise(name, watch, WORKS)
    assert watch.said == []


def test_without_systemd_nothing_is_told() -> None:
    notifier = Notifier({})
    notifier.ready()
    notifier.alive()
    assert not notifier.watched


def test_a_watchdog_that_is_for_another_process_is_none_of_ours() -> None:
    assert not Notifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watched


@pytest.mark.timeout(60)  # without end, if it waits for who reads
def test_systemd_that_does_not_read_stops_nobody(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1"})
        for _ in range(10_000):
            notifier.alive()
        notifier.ready()
        one.setblocking(False)
        told(one)
        notifier.ready()  # what could not be told is told when there is room
        assert told(one) == ["READY=1"]
        notifier.close()


def unit() -> dict[str, dict[str, list[str]]]:
    """The unit file, with all values of an option that is given several times."""

    class Several(dict):
        def __setitem__(self, key, value) -> None:
            if isinstance(value, list) and key in self:
                value = [*self[key], *value]
            super().__setitem__(key, value)

    parser = configparser.RawConfigParser(dict_type=Several, strict=False, comment_prefixes="#", delimiters="=")
    parser.optionxform = str
    parser.read_string(UNIT.read_text())
    return {section: {k: v.split("\n") for k, v in parser.items(section)} for section in parser.sections()}


def test_the_unit_file_waits_as_long_as_the_service_takes_and_starts_it_again_when_that_is_of_use() -> None:
    service = unit()["Service"]
    assert service["Type"] == ["notify"]
    assert service["Restart"] == ["on-failure"]
    assert set(service["RestartPreventExitStatus"][0].split()) == {"2", "3"}
    assert float(service["TimeoutStopSec"][0]) >= Run().drain_seconds + 15
    assert float(service["WatchdogSec"][0]) >= 2 * part_state.SILENT > 10 * LOOK
    assert service["KillMode"] == ["mixed"]
    _, verb, connector = service["ExecStart"][0].split()
    assert verb in {command.name or command.callback.__name__ for command in app.registered_commands}
    assert connector == "%i"
    loaded = {one.partition(":")[0] for one in service["LoadCredential"]}
    named = {one.rpartition("/")[2] for one in service["Environment"] if "%d/" in one}
    assert loaded == named == {"source_password", "target_password"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_finds_nothing_wrong_with_the_unit_file(tmp_path: Path) -> None:
    file = tmp_path / "widebeam@ships.service"
    file.write_text(UNIT.read_text().replace("/opt/widebeam/bin/widebeam", f'"{sys.executable}"'))
    file.chmod(0o644)  # whatever the umask is
    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert file.name not in done.stderr  # other units of this machine are none of ours
