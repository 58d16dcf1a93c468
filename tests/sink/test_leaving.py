from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from cdc.log.topic import TopicPlan, create
from sink.reader import KafkaReader
from widebeam.lab.kafka import KafkaBroker

ENDLESS = {"session.timeout.ms": 1_800_000, "max.poll.interval.ms": 1_800_000, "heartbeat.interval.ms": 1000}
"""Whoever waits for a member that does not answer any more waits beyond the end of the test."""


class Member:
    """A reader that takes whatever it is given."""

    def __init__(self, kafka: KafkaBroker, topic: str) -> None:
        self.partitions: set[int] = set()
        client = {"bootstrap.servers": kafka.bootstrap, **ENDLESS}
        self.reader = KafkaReader(client, topic, f"group of {topic}", self)

    def assigned(self, partitions: list[int]) -> dict[int, int]:
        self.partitions |= set(partitions)
        return dict.fromkeys(partitions, 0)

    def revoked(self, partitions: list[int]) -> None:
        self.partitions -= set(partitions)

    def poll(self) -> int:
        self.reader.poll(100, 0.05)
        return len(self.partitions)

    def leave(self) -> None:
        self.reader.close()


def test_members_that_leave_while_partitions_change_hands_do_not_wait_for_each_other(
    kafka: KafkaBroker, topic: str
) -> None:
    create({"bootstrap.servers": kafka.bootstrap}, TopicPlan(topic, 8, 1, 1))
    first = Member(kafka, topic)
    while first.poll() < 8:
        pass
    second = Member(kafka, topic)
    while first.poll() == 8:  # half of them go, and the first one asks to join anew
        second.poll()
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        first.poll()
    first.reader.applied(dict.fromkeys(first.partitions, 0))
    with ThreadPoolExecutor(1) as pool:
        leaving = pool.submit(first.leave)  # its commits stand behind its request to join
        time.sleep(0.1)
        second.leave()
        leaving.result()
    third = Member(kafka, topic)
    while third.poll() < 8:  # nobody waits any more for those that left
        pass
    third.leave()
