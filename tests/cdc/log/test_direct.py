from __future__ import annotations

import threading

import pytest

from cdc.halt import Cause, Halt
from cdc.log.direct import MemoryLog, MemoryReader
from cdc.log.transport import DeliveryFailed

FOR_EVER = 1e6
"""Seconds for which nobody waits who is woken."""


class Target:
    """What one sink knows of its partitions: the next offsets, as the target would keep them."""

    def __init__(self, offsets: dict[int, int]) -> None:
        self.offsets = offsets
        self.owned: set[int] = set()

    def assigned(self, partitions: list[int]) -> dict[int, int]:
        assert not self.owned & set(partitions)
        self.owned |= set(partitions)
        return {p: self.offsets.get(p, 0) for p in partitions}

    def revoked(self, partitions: list[int]) -> None:
        self.owned -= set(partitions)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(4, capacity_bytes=100)


def joined(log: MemoryLog, offsets: dict[int, int]) -> tuple[MemoryReader, Target]:
    target = Target(offsets)
    return log.join(target), target


def test_offsets_go_on_from_what_the_target_says(log: MemoryLog) -> None:
    publisher = log.publisher()
    for token, value in enumerate((b"a", b"b")):
        assert publisher.publish(2, b"key", value, token)
    reader, _ = joined(log, {2: 40})
    assert [(r.partition, r.offset, r.key, r.value) for r in reader.poll(10, 0)] == [
        (2, 40, b"key", b"a"),
        (2, 41, b"key", b"b"),
    ]
    assert reader.bounds(2) == (40, 42)


def test_a_record_is_delivered_when_its_sink_has_applied_it(log: MemoryLog) -> None:
    publisher, (reader, _) = log.publisher(), joined(log, {})
    for token in range(3):
        publisher.publish(0, None, b"v", token)
    reader.poll(10, 0)
    assert publisher.delivered() == []
    reader.applied({0: 2})
    assert publisher.delivered() == [0, 1]
    assert reader.bounds(0) == (2, 3)


def test_a_full_log_pushes_back_until_something_is_applied(log: MemoryLog) -> None:
    publisher, (reader, _) = log.publisher(), joined(log, {})
    assert publisher.publish(0, None, b"x" * 60, 0)
    assert not publisher.publish(1, None, b"x" * 60, 1)
    reader.poll(10, 0)
    assert not publisher.publish(1, None, b"x" * 60, 1)
    reader.applied({0: 1})
    assert publisher.publish(1, None, b"x" * 60, 1)


def test_a_record_longer_than_the_whole_log_goes_through_alone(log: MemoryLog) -> None:
    assert log.publisher().publish(0, None, b"x" * 1000, 0)


def test_a_rewound_partition_is_read_again(log: MemoryLog) -> None:
    publisher, (reader, _) = log.publisher(), joined(log, {})
    for token in range(3):
        publisher.publish(0, None, b"%d" % token, token)
    assert len(reader.poll(10, 0)) == 3
    reader.applied({0: 1})
    reader.rewind(0, 1)
    assert [r.value for r in reader.poll(10, 0)] == [b"1", b"2"]


def test_a_poll_takes_no_more_than_it_was_asked_for(log: MemoryLog) -> None:
    publisher, (reader, _) = log.publisher(), joined(log, {})
    for token in range(8):
        publisher.publish(token % 4, None, b"", token)
    polled = [len(reader.poll(3, 0)) for _ in range(4)]
    assert polled == [3, 3, 2, 0]


def test_partitions_are_dealt_anew_when_readers_come_and_go(log: MemoryLog) -> None:
    first, one = joined(log, {})
    first.poll(1, 0)
    assert one.owned == {0, 1, 2, 3}
    second, two = joined(log, one.offsets)
    second.poll(1, 0)
    assert two.owned == set()  # the first has not let go yet
    first.poll(1, 0)
    second.poll(1, 0)
    assert (one.owned, two.owned) == ({0, 2}, {1, 3})
    first.close()
    second.poll(1, 0)
    assert (one.owned, two.owned) == (set(), {0, 1, 2, 3})


def test_what_a_leaving_reader_did_not_apply_goes_to_the_next(log: MemoryLog) -> None:
    publisher, (first, _) = log.publisher(), joined(log, {})
    for token in range(3):
        publisher.publish(0, None, b"%d" % token, token)
    first.poll(10, 0)
    first.close()  # it had committed offset 1 in the target, and did not come to say so
    second, _ = joined(log, {0: 1})
    assert [(r.offset, r.value) for r in second.poll(10, 0)] == [(1, b"1"), (2, b"2")]
    assert publisher.delivered() == [0]


def test_an_offset_that_memory_does_not_hold_fails_loudly(log: MemoryLog) -> None:
    publisher, (first, _) = log.publisher(), joined(log, {0: 10})
    publisher.publish(0, None, b"", 0)
    first.poll(10, 0)
    first.applied({0: 11})
    with pytest.raises(DeliveryFailed, match="wanted from offset 10"):
        first.rewind(0, 10)
    with pytest.raises(DeliveryFailed):
        publisher.delivered()


def test_a_dead_sink_ends_the_publishers_run_and_not_the_next_ones(log: MemoryLog) -> None:
    publisher = log.publisher()
    log.fail("disk full")
    with pytest.raises(DeliveryFailed, match="disk full"):
        publisher.publish(0, None, b"", 0)
    with pytest.raises(DeliveryFailed, match="disk full"):
        publisher.delivered(5)
    assert log.publisher().publish(0, None, b"", 0)


def test_a_closed_publisher_takes_back_what_was_not_read(log: MemoryLog) -> None:
    publisher, (reader, _) = log.publisher(), joined(log, {0: 5})
    publisher.publish(0, None, b"read", 0)
    reader.poll(1, 0)
    publisher.publish(0, None, b"unread", 1)
    publisher.close()
    after = log.publisher()
    after.publish(0, None, b"new", 0)
    assert [(r.offset, r.value) for r in reader.poll(10, 0)] == [(6, b"new")]
    reader.applied({0: 6})
    assert after.delivered() == []  # that one was the old publisher's
    reader.applied({0: 7})
    assert after.delivered() == [0]


def test_a_waiting_reader_is_woken_by_a_record(log: MemoryLog) -> None:
    reader, _ = joined(log, {})
    reader.poll(1, 0)
    timer = threading.Timer(0.05, lambda: log.publisher().publish(0, None, b"", 0))
    timer.start()
    assert len(reader.poll(10, FOR_EVER)) == 1
    timer.join()


def test_a_waiting_publisher_is_woken_by_a_delivery(log: MemoryLog) -> None:
    publisher, (reader, _) = log.publisher(), joined(log, {})
    publisher.publish(0, None, b"", 7)
    reader.poll(10, 0)
    timer = threading.Timer(0.05, lambda: reader.applied({0: 1}))
    timer.start()
    assert publisher.delivered(FOR_EVER) == [7]
    timer.join()


def test_many_threads_bring_every_record_once_and_in_order() -> None:
    log, stop, seen = MemoryLog(6, 2_000), threading.Event(), dict[int, list[int]]()
    offsets: dict[int, int] = {}

    def sink() -> None:
        reader, _ = joined(log, offsets)
        while not stop.is_set():
            next_offsets: dict[int, int] = {}
            for record in reader.poll(7, 0.05):
                seen.setdefault(record.partition, []).append(int(record.value))
                next_offsets[record.partition] = record.offset + 1
            offsets.update(next_offsets)
            reader.applied(next_offsets)
        reader.close()

    threads = [threading.Thread(target=sink) for _ in range(3)]
    for thread in threads:
        thread.start()
    publisher, delivered = log.publisher(), list[int]()
    for token in range(3000):
        while not publisher.publish(token % 6, None, b"%d" % token, token):
            delivered += publisher.delivered(0.1)
    while len(delivered) < 3000:
        delivered += publisher.delivered(5)
    stop.set()
    for thread in threads:
        thread.join(10)
    assert sorted(delivered) == list(range(3000))
    assert seen == {p: list(range(p, 3000, 6)) for p in range(6)}


def test_a_record_that_nobody_could_read_halts_by_its_own_name(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.log.direct.MAX_BYTES", 10)
    with pytest.raises(Halt, match=r'\["ship","now"\] takes 11 bytes') as halt:
        log.publisher().publish(0, b'["ship","now"]', b"x" * 11, 0)
    assert halt.value.cause is Cause.RECORD_TOO_LARGE
