"""`widebeam run` minds its parts: whatever a server does, and until there is no use in it any more."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shlex
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.faults.proxy import Proxy
from tests.pipeline import Pipeline, command, part, until
from tests.waiting import PATIENCE

pytestmark = pytest.mark.parametrize("transport", ["direct"], indirect=True)

LOOKS = """SELECT client_port FROM pg_stat_activity WHERE datname = current_database()
    AND application_name = 'widebeam-status' AND query LIKE '%pg_replication_slots%'"""


@pytest.fixture
def gate(pipeline: Pipeline) -> Iterator[Proxy]:
    """Between the connector and its source."""
    port = int(psycopg.conninfo.conninfo_to_dict(pipeline.dsn)["port"])
    with contextlib.closing(Proxy(port)) as proxy:
        text = pipeline.file.read_text()
        there = pipeline.dsn.replace(f"port={port}", f"port={proxy.port}")
        assert there != pipeline.dsn
        pipeline.file.write_text(text.replace(pipeline.dsn, there, 1))
        yield proxy


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """Systemd's end of the service's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "notify"))
        one.settimeout(60)
        yield one


def asked(port: int, path: str) -> tuple[int, dict[str, object]] | None:
    """What the run answers; None while nobody does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection), contextlib.suppress(OSError):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    return None


def heard(systemd: socket.socket, line: str) -> None:
    """Wait until the service has told this."""
    while line not in systemd.recv(4096).decode().splitlines():
        pass


def test_while_the_source_is_silent_to_the_supervisor_parts_are_started_again_and_end_in_order(
    pipeline: Pipeline, gate: Proxy, systemd: socket.socket
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    service = {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "9000000", "WIDEBEAM_HEALTH__PORT": str(port)}
    with pipeline.start("run", **service) as run, ExitStack() as silence:
        heard(systemd, "READY=1")
        until(lambda: (answer := asked(port, "/ready")) and answer[0] == 200)
        silence.enter_context(gate.silent("up", "down", port=until(lambda: pipeline.one(LOOKS))))
        for _ in range(2):  # by the second time the look hangs
            victim = until(lambda: part(run, "stream"))
            victim.kill()
            until(lambda gone=victim: (again := part(run, "stream")) is not None and again.pid != gone.pid)
        live = asked(port, "/live")
        assert live is not None and live[0] == 200
        assert live[1]["connector"] == pipeline.file.stem
        heard(systemd, "WATCHDOG=1")
        run.send_signal(signal.SIGTERM)
        heard(systemd, "STOPPING=1")
        assert run.wait(PATIENCE) == 0, pipeline.said()


def test_deaths_by_the_same_cause_halt_with_it_and_the_printed_remedy_goes_on(pipeline: Pipeline) -> None:
    with pipeline.start(
        "run",
        WIDEBEAM_FAILPOINTS="capture.slot_taken=error",
        WIDEBEAM_RUN__DEATHS="3",
        WIDEBEAM_RUN__LONGEST_PAUSE_SECONDS="0.1",
    ) as run:
        assert run.wait(PATIENCE) == 3, pipeline.said()
    name = pipeline.file.stem
    said = command(pipeline, "status", name, "--json")
    seen = json.loads(said.stdout)
    assert said.returncode == 3
    assert (seen["state"], seen["halt"]["cause"]) == ("halted", "repeated_failure")
    assert "stream died 3 times" in seen["halt"]["what"] and "failpoint capture.slot_taken" in seen["halt"]["what"]
    ((part, times, cause),) = [(each["part"], each["times"], each["cause"]) for each in seen["restarts"]]
    assert (part, times) == ("stream", 3)
    assert "failpoint capture.slot_taken" in cause
    (remedy,) = re.findall(r"`widebeam ([^`]*)`", seen["halt"]["remedy"])
    went_on = command(pipeline, *shlex.split(remedy), "--until-converged")
    assert went_on.returncode == 0, went_on.stderr
    assert pipeline.wide() == pipeline.narrow()
    assert pipeline.one("SELECT count(*) FROM widebeam.restarts") == 0
