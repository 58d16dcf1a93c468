"""A service that is started before its table is there waits, says once what for, and goes on by itself."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from widebeam.check.check import Preconditions
from widebeam.cli.parts import awaited
from widebeam.finding import Finding

GONE = Finding("the table t does not exist", "source", "create it")
CLOSED = Finding("cannot be reached: refused", "target", "start the server")
CONNECTOR: Any = None


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[list[Finding]]:
    """What each look finds in turn."""
    found: list[list[Finding]] = []
    monkeypatch.setattr(awaited, "is_set_up", lambda _: False)
    monkeypatch.setattr(awaited, "findings", lambda _: found.pop(0))
    return found


def test_it_waits_until_nothing_is_missing_and_says_each_thing_once(
    looks: list[list[Finding]], caplog: pytest.LogCaptureFixture
) -> None:
    looks += [[CLOSED], [GONE, CLOSED], [GONE, CLOSED], []]
    with caplog.at_level(logging.INFO):
        assert awaited.met(CONNECTOR, threading.Event(), wait=True, every=0)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "waits: target: cannot be reached: refused; mend it with: start the server",
        "waits: source: the table t does not exist; mend it with: create it",
        "goes on: nothing is missing any more",
    ]


def test_whoever_waits_ends_when_asked_to(looks: list[list[Finding]]) -> None:
    looks += [[GONE]]
    stop = threading.Event()
    stop.set()
    assert not awaited.met(CONNECTOR, stop, wait=True)


def test_without_being_told_to_wait_it_says_what_is_missing_and_ends(looks: list[list[Finding]]) -> None:
    looks += [[GONE]]
    with pytest.raises(Preconditions, match="does not exist"):
        awaited.met(CONNECTOR, threading.Event(), wait=False)


def test_what_is_set_up_already_is_not_looked_at_again(
    looks: list[list[Finding]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awaited, "is_set_up", lambda _: True)
    assert awaited.met(CONNECTOR, threading.Event(), wait=False)
    assert looks == []
