"""The port on which health is asked for, by real requests."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.readings import FILE
from tests.waiting import until
from widebeam.check.check import findings
from widebeam.config.config import load
from widebeam.config.connector import Connector
from widebeam.health import health, health_port
from widebeam.health.health import RunHealth
from widebeam.health.health_port import Health, PortTaken, port_findings, served
from widebeam.process.part_state import PartState

HEALTH = "[health]\nport = {port}\n"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Somebody at a port; closed, it is as good as free."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one


@pytest.fixture
def plant(listener: socket.socket, tmp_path: Path) -> Connector:
    file = tmp_path / "plant.toml"
    file.write_text((FILE + HEALTH).format(dsn="host=127.0.0.1 port=1 dbname=x", port=listener.getsockname()[1]))
    return load(str(file), {})


def ask(connector: Connector, path: str, method: str = "GET") -> tuple[int, dict[str, object]]:
    url = f"http://127.0.0.1:{connector.options.health.port}{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            text = error.read()
            return error.code, json.loads(text) if text.startswith(b"{") else {}


def test_it_answers_by_the_code_and_says_why(plant: Connector, listener: socket.socket) -> None:
    listener.close()
    now = [Health(live=True, ready=False, body={"not_ready": ["capture is starting"]})]
    with served(plant, lambda: now[0]):
        assert ask(plant, "/live")[0] == 200
        assert ask(plant, "/ready") == (503, {"not_ready": ["capture is starting"]})
        now[0] = Health(live=False, ready=False, body={})
        assert ask(plant, "/live")[0] == 503
        now[0] = Health(live=True, ready=True, body={"state": "streaming"})
        assert ask(plant, "/ready") == (200, {"state": "streaming"})
        assert ask(plant, "/")[0] == 404
        assert ask(plant, "/ready", "POST")[0] == 501
    with pytest.raises(urllib.error.URLError):
        ask(plant, "/live")


def test_a_client_that_says_nothing_keeps_nobody_from_an_answer(plant: Connector, listener: socket.socket) -> None:
    listener.close()
    with (
        served(plant, lambda: Health(live=True, ready=True, body={})),
        socket.create_connection(("127.0.0.1", plant.options.health.port or 0)),
    ):
        assert ask(plant, "/live")[0] == 200


def test_two_hundred_silent_clients_take_few_threads_and_keep_nobody_from_an_answer(
    plant: Connector, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_port, "_LONGEST", 3600.0)
    monkeypatch.setattr(health_port._Handler, "timeout", 3600.0)
    listener.close()
    with served(plant, lambda: Health(live=True, ready=True, body={})), contextlib.ExitStack() as silent:
        before = threading.active_count()
        for _ in range(200):
            one = silent.enter_context(socket.create_connection(("127.0.0.1", plant.options.health.port or 0)))
            one.sendall(b"GET /ready HTTP/1.0\r\nX: ")
        assert ask(plant, "/live")[0] == 200
        until(lambda: threading.active_count() - before <= health_port._MOST + 1)


def test_a_client_that_sends_a_byte_now_and_then_is_hung_up_on(
    plant: Connector, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_port, "_LONGEST", 0.0)
    listener.close()
    with (
        served(plant, lambda: Health(live=True, ready=True, body={})),
        socket.create_connection(("127.0.0.1", plant.options.health.port or 0), timeout=30) as slow,
    ):
        slow.sendall(b"GET /rea")
        assert slow.recv(1) == b""


def test_a_request_without_an_end_is_not_read_to_its_end(plant: Connector, listener: socket.socket) -> None:
    listener.close()
    with (
        served(plant, lambda: Health(live=True, ready=True, body={})),
        socket.create_connection(("127.0.0.1", plant.options.health.port or 0), timeout=30) as endless,
    ):
        endless.sendall(b"GET /ready HTTP/1.0\r\n" + b"X: " + b"x" * 2 * health_port._REQUEST_BYTES)
        assert endless.recv(12).startswith(b"HTTP/1.0 ")


def test_what_others_named_is_escaped_in_the_answer(plant: Connector, listener: socket.socket) -> None:
    listener.close()
    with (
        served(plant, lambda: Health(live=True, ready=True, body={"x": "\x1b\x9b\u202e"})),
        urllib.request.urlopen(f"http://127.0.0.1:{plant.options.health.port}/ready", timeout=30) as answer,
    ):
        assert answer.read().isascii()


def test_a_port_that_is_taken_is_a_finding_and_no_run_begins(
    plant: Connector, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_port, "_PATIENCE", 0.1)
    listener.close()
    with socket.create_server(("127.0.0.1", plant.options.health.port or 0)):
        (said,) = [each for each in findings(plant) if "health" in each.what]
        assert "in use" in said.what
        assert said.where == f"127.0.0.1:{plant.options.health.port}"
        assert "[health]" in said.remedy
        with pytest.raises(PortTaken, match="in use"), served(plant, lambda: Health(True, True, {})):
            pass


def test_a_port_that_is_free_or_our_own_runs_is_none(plant: Connector, listener: socket.socket) -> None:
    listener.close()
    assert list(port_findings(plant)) == []
    with served(plant, RunHealth("plant").health):
        assert list(port_findings(plant)) == []
    with served(plant, RunHealth("another").health):
        assert len(list(port_findings(plant))) == 1


def test_without_a_port_nothing_is_served(plant: Connector) -> None:
    quiet = load(str(plant.file), {"WIDEBEAM_HEALTH__PORT": "0"})
    assert quiet.options.health.port is None
    with served(quiet, lambda: Health(True, True, {})):
        assert list(port_findings(quiet)) == []


def test_a_supervisor_that_stands_still_is_not_live(monkeypatch: pytest.MonkeyPatch) -> None:
    run, now = RunHealth("plant"), [1000.0]
    assert (run.health().live, run.health().ready) == (True, False)
    monkeypatch.setattr(health.time, "monotonic", lambda: now[0])
    run.attend([PartState("capture", "at work")], ends=False)
    assert run.health().live
    now[0] += health.SILENT + 1
    assert run.health().body["not_live"] == ["supervisor is silent"]


def test_a_run_that_ends_is_live_but_not_ready() -> None:
    run = RunHealth("plant")
    run.attend([PartState("capture", "at work")], ends=True)
    assert run.health().live and "it ends" in run.health().body["not_ready"]
