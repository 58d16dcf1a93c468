"""Faults of the network between us and the servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.fault import Injector
from tests.faults.proxy import Way
from tests.faults.stand import Stand
from tests.pipeline import until


def one_byte_at_a_time(*gates: str) -> Injector:
    """Every byte comes alone."""
    return _weathered(gates, piece=1)


def slow(*gates: str) -> Injector:
    """A line with latency, which is narrow too."""
    return _weathered(gates, latency=0.02, bandwidth=400_000)


def lossy(*gates: str) -> Injector:
    """Of all packets some are lost, and sent again by the kernels, later and later."""
    return _weathered(gates, loss=0.05)


def cut(*gates: str) -> Injector:
    """Connections are reset, again and again."""

    @contextmanager
    def inject(stand: Stand) -> Iterator[None]:
        for _ in range(3):
            for gate in gates:
                stand.gates[gate].cut()
            stand.recovered()
        yield

    return inject


def down(gate: str, says: str) -> Injector:
    """Connections are reset and refused until somebody says so, and capture, which needs each of them, was lost."""

    @contextmanager
    def inject(stand: Stand) -> Iterator[None]:
        since, generation = stand.log.stat().st_size, stand.generation()
        with stand.gates[gate].down():
            until(lambda: says in stand.said(since))
        until(lambda: stand.generation() > generation)
        yield

    return inject


def one_way(way: Way) -> Injector:
    """Nothing gets through in one direction of capture's stream, until the next generation is at work."""

    @contextmanager
    def inject(stand: Stand) -> Iterator[None]:
        generation = stand.generation()
        with stand.gates["source"].silent(way, port=stand.stream_port()):
            until(lambda: stand.generation() > generation)
        yield

    return inject


def _weathered(gates: tuple[str, ...], **weather: float | int) -> Injector:
    @contextmanager
    def inject(stand: Stand) -> Iterator[None]:
        for gate in gates:
            with stand.gates[gate].weathered(**weather):
                stand.recovered()
        yield

    return inject
