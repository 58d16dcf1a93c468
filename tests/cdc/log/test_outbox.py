from __future__ import annotations

from collections.abc import Mapping

import pytest

from cdc.log import outbox
from cdc.log.outbox import HOLD_BYTES, HOLD_SECONDS, Outbox, Outgoing


class Log:
    """Takes so many records, and then no more until told."""

    partitions = 4

    def __init__(self, room: int = 1_000) -> None:
        self.room = room
        self.taken: list[Outgoing] = []

    def publish(self, partition: int, key: bytes | None, value: bytes, token: int) -> bool:
        if len(self.taken) == self.room:
            return False
        self.taken.append(Outgoing(partition, key, value, token))
        return True

    def delivered(self, timeout: float = 0.0) -> list[int]:
        raise AssertionError(timeout)

    @property
    def ends(self) -> Mapping[int, int]:
        raise AssertionError

    def has(self, ends: Mapping[int, int], timeout: float) -> bool:
        raise AssertionError(ends, timeout)

    def close(self) -> None:
        raise AssertionError


RECORDS = [Outgoing(n % 4, b"key", b"value", n) for n in range(10)]


def filled(log: Log) -> Outbox:
    made = Outbox(log)
    for record in RECORDS:
        made.put(record)
    return made


def test_records_go_in_order_and_each_once_however_often_the_log_pushes_back() -> None:
    log = Log(room=0)
    waiting = filled(log)
    assert not waiting.hand_over()
    for log.room in (3, 4, 9):
        assert not waiting.hand_over()
        assert len(waiting) == len(RECORDS) - log.room
    log.room = 1_000
    assert waiting.hand_over()
    assert log.taken == RECORDS
    assert not waiting
    assert waiting.hand_over()
    assert log.taken == RECORDS


def test_they_are_due_when_the_oldest_has_waited_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(outbox.time, "monotonic", lambda: now)
    waiting = Outbox(Log())
    assert not waiting.due
    waiting.put(RECORDS[0])
    now += HOLD_SECONDS * 0.9
    waiting.put(RECORDS[1])
    assert not waiting.due
    now += HOLD_SECONDS * 0.2
    assert waiting.due
    waiting.hand_over()
    assert not waiting.due
    waiting.put(RECORDS[2])
    assert not waiting.due


def test_they_are_due_when_they_are_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox.time, "monotonic", lambda: 100.0)
    log = Log()
    waiting = Outbox(log)
    half = bytes(HOLD_BYTES // 2)
    waiting.put(Outgoing(0, b"key", half, 0))
    assert not waiting.due
    waiting.put(Outgoing(0, b"key", half, 1))
    assert waiting.due and waiting.full
    log.room = 1
    assert not waiting.hand_over()
    assert not waiting.due
