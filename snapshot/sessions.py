"""A backfill worker's connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any, Final, TypeAlias

import psycopg
from tenacity import (
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_delay,
    stop_when_event_set,
    wait_random_exponential,
)

from cdc.source import session
from snapshot.settings import BackfillSettings

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_NAME: Final = "widebeam-backfill"
_RECONNECT_FOR: Final = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Sessions:
    """All in autocommit mode. `source` is what chunks are read from: the primary itself, or a standby of it."""

    target: Connection
    primary: Connection
    source: Connection


@contextmanager
def sessions(settings: BackfillSettings, stop: Event) -> Iterator[Sessions]:
    """Connect to all servers, waiting up to a minute for one that is just starting; psycopg.OperationalError then."""
    for attempt in Retrying(
        retry=retry_if_exception_type(psycopg.OperationalError),
        stop=stop_after_delay(_RECONNECT_FOR) | stop_when_event_set(stop),
        wait=wait_random_exponential(0.1, max=5),
        sleep=sleep_using_event(stop),
        reraise=True,
    ):
        with attempt, ExitStack() as stack:
            made = _connect_all(settings, stack)
            kept = stack.pop_all()
    with kept:
        yield made


def connect(dsn: str) -> Connection:
    """A session of a worker."""
    return session.connect(dsn, autocommit=True, application_name=_NAME)


def _connect_all(settings: BackfillSettings, stack: ExitStack) -> Sessions:
    target = stack.enter_context(connect(settings.target_dsn))
    # A worker that stands still while it holds locks, or whose machine is gone, must not hold up the sinks for ever.
    # (In a chunk that comes in pieces it may be busy for long between two statements.)
    target.execute("SET idle_in_transaction_session_timeout = '10min'")
    primary = stack.enter_context(connect(settings.source_dsn))
    standby = None if settings.standby_dsn is None else stack.enter_context(connect(settings.standby_dsn))
    return Sessions(target, primary, standby or primary)
