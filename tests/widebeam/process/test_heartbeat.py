"""The heartbeat of a part: it is felt while the work turns, and tells what became durable, and a work that hangs."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from widebeam.process import heartbeat
from widebeam.process.heartbeat import AT_WORK, HUNG, PROGRESS, STARTING, Heartbeat, progress_of


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    reading, writing = os.pipe()
    monkeypatch.setenv(heartbeat.FD, str(writing))
    os.set_blocking(reading, False)
    yield reading
    os.close(reading)
    os.close(writing)


def test_it_is_at_work_once_the_work_looks_whether_to_stop() -> None:
    one = Heartbeat(threading.Event())
    assert one.sign == STARTING
    assert not one.is_set()
    assert one.sign == AT_WORK


def test_it_is_the_event_that_it_was_made_of() -> None:
    stop = threading.Event()
    one = Heartbeat(stop)
    assert not one.wait(0)
    stop.set()
    assert one.is_set() and one.wait(60)
    other = Heartbeat(threading.Event())
    other.set()
    assert other.is_set()


def test_a_work_that_does_not_turn_any_more_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
    one, patient = Heartbeat(threading.Event(), hung_after=60), Heartbeat(threading.Event())
    assert not one.is_set() and not patient.is_set()
    now[0] += 61
    assert (one.sign, patient.sign) == (HUNG, AT_WORK)
    one.wait(0)
    assert one.sign == AT_WORK


def test_the_first_progress_is_told_at_once(pipe: int) -> None:
    one = Heartbeat(threading.Event())
    for _ in range(3):
        progress_of(one)()
    assert os.read(pipe, 10) == PROGRESS


def test_a_pipe_that_nobody_reads_does_not_stop_the_work(pipe: int, tmp_path: Path, monkeypatch) -> None:
    os.set_blocking(int(os.environ[heartbeat.FD]), False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(int(os.environ[heartbeat.FD]), b"x" * 65_536)
    Heartbeat(threading.Event()).progressed()


def test_without_anybody_who_feels_it_progress_is_nothing() -> None:
    progress_of(threading.Event())()
