"""SIGTERM to `widebeam run` while its servers stand still: it ends in the time it has for that, and nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import psutil
import psycopg
import pytest

from tests.faults.proxy import Proxy
from tests.pipeline import Pipeline, until
from tests.waiting import PATIENCE
from widebeam.lab.kafka import KafkaBroker


@contextmanager
def stopped(broker: KafkaBroker) -> Iterator[None]:
    """SIGSTOP of a broker, for so short that it may be everybody's."""
    os.killpg(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(broker.pid, signal.SIGCONT)


def behind(gates: list[Proxy], pipeline: Pipeline) -> None:
    """The connector sees its source and its target, which are one server, through these."""
    port = int(psycopg.conninfo.conninfo_to_dict(pipeline.dsn)["port"])
    for gate in gates:
        gate.upstream = port
        there = pipeline.dsn.replace(f"port={port}", f"port={gate.port}")
        pipeline.file.write_text(pipeline.file.read_text().replace(f'"{pipeline.dsn}"', f'"{there}"', 1))
    assert f"port={port}" not in pipeline.file.read_text()


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that go on; one that nobody has reaped does not."""
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("transport", ["kafka"], indirect=True)
def test_a_run_ends_while_all_servers_stand_still_and_the_next_one_loses_nothing(
    pipeline: Pipeline, kafka: KafkaBroker
) -> None:
    with ExitStack() as gates:
        source, target = (gates.enter_context(closing(Proxy())) for _ in range(2))
        behind([source, target], pipeline)
        with pipeline.writing() as writer, pipeline.start("run", WIDEBEAM_RUN__DRAIN_SECONDS="1") as run:
            until(lambda: pipeline.applied() > 0)
            parts = run.children()
            with stopped(kafka), source.frozen(), target.frozen():
                rows = writer.tally.rows
                until(lambda: writer.tally.rows > rows + 500)  # there is something to drain
                run.send_signal(signal.SIGTERM)
                assert run.wait(PATIENCE) == 0, pipeline.said()
                assert alive(parts) == []
        pipeline.converge()
        pipeline.prove()
    assert "Traceback" not in pipeline.said()
