"""Faults of storage: disks that are full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.faults.stand import Stand
from tests.pipeline import until


@contextmanager
def fill_source(stand: Stand) -> Iterator[None]:
    """The source's disk is full, until somebody was refused for it, or the server gave up."""
    with stand.disks["source"].full():
        until(lambda: _refused(stand.pipeline.source))
    if not stand.source.process.running:
        stand.source.restart()
    yield


@contextmanager
def fill_target(stand: Stand) -> Iterator[None]:
    """The target's disk is full, until a batch was refused for it, or the server gave up."""
    since = stand.log.stat().st_size
    with stand.disks["target"].full():
        until(
            lambda: (
                not stand.target.process.running
                or (_refused(stand.pipeline.dsn) and "No space left" in stand.said(since))
            )
        )
    if not stand.target.process.running:
        stand.target.restart()
    yield


def _refused(dsn: str) -> bool:
    """Whether a table of our own, of 100 MB, is refused."""
    try:
        with psycopg.connect(dsn, connect_timeout=5) as session:
            session.execute("CREATE TABLE public.ballast AS SELECT repeat('x', 1000) FROM generate_series(1, 100000)")
            session.rollback()
    except psycopg.errors.DiskFull:
        return True
    except psycopg.OperationalError:  # it is in recovery, or gone
        return True
    return False
