"""The two ends of the log between capture and sink, as protocols. Kafka and memory both fit behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol


class DeliveryFailed(Exception):
    """The log did not take a record. This run of capture is over: the next generation sends it again."""


class Publisher(Protocol):
    """The writing end. Not thread-safe: one capture owns it."""

    @property
    def partitions(self) -> int:
        """How many partitions the log has."""

    def publish(self, partition: int, key: bytes | None, value: bytes, token: int) -> bool:
        """Hand one record over; False when the queue is full (poll, then try again).

        `token` comes back from `delivered` once the record is durable. Raises DeliveryFailed or Halt.
        """

    def delivered(self, timeout: float = 0.0) -> list[int]:
        """Tokens that became durable since the last call, waiting up to `timeout` seconds for the first one.

        Raises DeliveryFailed as soon as any record of this run failed.
        """

    @property
    def ends(self) -> Mapping[int, int]:
        """By partition, the offset behind the last record of this run that is durable; empty if the log keeps none."""

    def has(self, ends: Mapping[int, int], timeout: float) -> bool:
        """Whether the log still goes as far as these ends; False if it cannot be asked within so many seconds.

        Raises Halt if it does not: it has lost what it had confirmed.
        """

    def close(self) -> None:
        """Give up what is still queued and let go of the log."""


class Received(NamedTuple):
    """One record as it lies in the log. `timestamp`: when the log took it, ms since 1970-01-01 UTC, or -1."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes
    timestamp: int


class Assignment(Protocol):
    """What a sink does when partitions come and go. Called from within `Reader.poll` and `Reader.close`."""

    def assigned(self, partitions: list[int]) -> dict[int, int]:
        """Take these partitions over; answer the offset at which to read each of them (from the target)."""

    def revoked(self, partitions: list[int]) -> None:
        """Let these partitions go: nothing of them may be applied from now on."""


class Reader(Protocol):
    """The reading end: one member of the group of sinks."""

    def poll(self, limit: int, timeout: float) -> list[Received]:
        """Up to `limit` records, in order within each partition; waits `timeout` seconds for the first one only."""

    def rewind(self, partition: int, offset: int) -> None:
        """Read this partition from `offset` on: what was polled was not applied."""

    def applied(self, offsets: dict[int, int]) -> None:
        """These next offsets are durable in the target: tell lag tools (Kafka) or acknowledge (direct)."""

    def bounds(self, partition: int) -> tuple[int, int]:
        """The first offset that the log still holds and the offset after the last one."""

    def close(self) -> None:
        """Leave the group."""
