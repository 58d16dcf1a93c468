"""Faults of our own processes: killed, stopped, doubled."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import psutil
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.faults.stand import CONNECTOR, Stand
from tests.pipeline import until

_GROUP: Final = f"widebeam.{CONNECTOR}"
_ACTIVE: Final = "SELECT active_pid FROM pg_replication_slots WHERE active"
_BUSY: Final = """SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'widebeam sink%'
    AND state <> 'idle'"""


@contextmanager
def kill_capture(stand: Stand) -> Iterator[None]:
    """SIGKILL; over when the next generation is at work."""
    generation = stand.generation()
    stand.part("capture").kill()
    until(lambda: stand.generation() > generation)
    yield


@contextmanager
def kill_sink(stand: Stand) -> Iterator[None]:
    """SIGKILL of one sink, whatever it has in hand."""
    victim = stand.part("sink")
    victim.kill()
    until(lambda: victim not in stand.parts("sink"))
    yield


@contextmanager
def stop_capture(stand: Stand) -> Iterator[None]:
    """SIGSTOP of capture for longer than wal_sender_timeout; over when the server has given it up."""
    with stand.on_source() as source:
        victim = stand.part("capture")
        before = until(lambda: source.execute(_ACTIVE).fetchone())
        victim.suspend()
        try:
            until(lambda: source.execute(_ACTIVE).fetchone() != before)
        finally:
            victim.resume()
    yield


@contextmanager
def kill_capture_unnoticed(stand: Stand) -> Iterator[None]:
    """SIGKILL of capture, of which the source does not hear: the slot stays active for its old PID for a while."""
    generation = stand.generation()
    with stand.gates["source"].silent("up", "down", port=stand.stream_port()):
        stand.part("capture").kill()
        until(lambda: stand.generation() > generation)
    yield


@contextmanager
def kill_one_of_two_captures(stand: Stand) -> Iterator[None]:
    """A second capture stands by, and takes over from a killed one; it ends, and the first one's successor goes on."""
    since = stand.log.stat().st_size
    second = stand.command("capture")
    stand.helpers.append(second)
    until(lambda: _stands_by(stand, second, since))
    generation, victim, run = stand.generation(), stand.part("capture"), stand.running()
    run.suspend()  # so that the killed one's successor cannot be quicker
    try:
        victim.kill()
        until(lambda: stand.generation() > generation or second.poll() is not None)  # it may meet another fault
    finally:
        run.resume()
    yield
    generation = stand.generation()
    second.terminate()
    until(lambda: second.poll() is not None)
    until(lambda: stand.generation() > generation)


def _stands_by(stand: Stand, second: psutil.Popen, since: int) -> bool:
    assert second.poll() is None, stand.said(since)
    return re.search("standing by", stand.said(since)) is not None


@contextmanager
def storm_of_rebalances(stand: Stand) -> Iterator[None]:
    """Two more sinks join, one is killed, one leaves, each anew: four sinks, whose partitions change hands."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        more = [stand.command("sink") for _ in range(2)]
        stand.helpers += more
        until(lambda more=more: len(_shares(stand)) >= 2 + len(more))
        more[0].send_signal(how)
        stand.part("sink").send_signal(how)
        more[1].send_signal(signal.SIGTERM)
        until(lambda more=more: all(each.poll() is not None for each in more))
    yield


def _admin(stand: Stand) -> AdminClient:
    return AdminClient({"bootstrap.servers": stand.broker.bootstrap, "log_level": 0})


def _shares(stand: Stand) -> list[int]:
    """How many partitions each member of the group has."""
    admin, group = _admin(stand), _GROUP  # an admin that is let go of answers nothing
    found = admin.describe_consumer_groups([group])[group].result(timeout=30)
    return [len(member.assignment.topic_partitions) for member in found.members]


@contextmanager
def zombie_sink(stand: Stand) -> Iterator[None]:
    """SIGSTOP of a sink until the others have its partitions and have applied more, then SIGCONT: it is fenced."""
    with ExitStack() as stack:
        victim = stand.part("sink")
        _suspend_between_transactions(stand, [victim])
        stack.callback(victim.resume)
        until(lambda: len(shares := _shares(stand)) < 2 and sum(shares) == 4)
        stand.recovered()
    yield


@contextmanager
def reset_offsets(stand: Stand) -> Iterator[None]:
    """All sinks stand still until the group is empty, somebody sets its offsets to 0, and they go on."""
    admin, group = _admin(stand), _GROUP
    with ExitStack() as stack:
        victims = stand.parts("sink")
        _suspend_between_transactions(stand, victims)
        for victim in victims:
            stack.callback(victim.resume)
        until(lambda: len(_shares(stand)) == 0)
        offsets = [TopicPartition(stand.pipeline.topic, number, 0) for number in range(4)]
        wanted = [ConsumerGroupTopicPartitions(group, offsets)]
        admin.alter_consumer_group_offsets(wanted)[group].result(timeout=30)
    yield


def _suspend_between_transactions(stand: Stand, victims: list[psutil.Process]) -> None:
    """Stop them where they hold no lock. (In the middle of a transaction the others wait for a minute, until the
    server ends it: nothing else happens then, and here it takes too long.)"""
    with stand.on_target() as target:
        while True:
            for victim in victims:
                victim.suspend()
            if target.execute(_BUSY).fetchone() == (0,):
                return
            for victim in victims:
                victim.resume()


@contextmanager
def jump_the_clock(stand: Stand) -> Iterator[None]:
    """The wall clock of all processes goes back by an hour, then forward by a day, while they run."""
    for seconds in (-3_600.0, 86_400.0):
        stand.set_clock(seconds)
        stand.recovered()
    yield
    stand.set_clock(0.0)
