"""What a slot waits for: while it is made, for every transaction that writes anywhere on the server, and afterwards, if
standbys keep a copy of it, for those that are to have everything first. Named while it does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final, TypeAlias

import psycopg

from cdc.source.session import BOUNDED, connect
from cdc.trouble import TROUBLES

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

MAKER: Final = "widebeam-prepare"
"""What the server's list of sessions calls the one that makes a slot."""

LOOK: Final = 1.0
"""Seconds between two looks at whom it waits for."""

_LOG: Final = logging.getLogger(__name__)
_ENDING: Final = 30.0
"""Seconds for a session that was told to end."""

# A slot that is not made yet has no position that was confirmed.
_WAITS_FOR: Final = """
SELECT blocker, a.datname, a.usename, a.application_name, a.state, extract(epoch FROM now() - a.xact_start)::bigint,
    regexp_replace(left(a.query, 200), '\\s+', ' ', 'g'),
    (SELECT string_agg(quote_literal(gid) || ' in ' || database, ', ' ORDER BY prepared) FROM pg_prepared_xacts)
FROM pg_replication_slots AS s, LATERAL unnest(pg_blocking_pids(s.active_pid)) AS blocker
LEFT JOIN pg_stat_activity AS a ON a.pid = blocker
WHERE s.slot_name = %s AND s.confirmed_flush_lsn IS NULL ORDER BY a.xact_start
"""
# Of those that are to have everything first, the ones that have less than was read for this slot, or are not there.
_BEHIND: Final = """
SELECT trim(name), other.slot_name IS NOT NULL
FROM pg_replication_slots AS s JOIN pg_stat_activity AS a ON a.pid = s.active_pid,
    string_to_table(current_setting('synchronized_standby_slots', true), ',') AS name
LEFT JOIN pg_replication_slots AS other ON other.slot_name = trim(trim(name), '"')
WHERE s.slot_name = %s AND a.wait_event = 'WaitForStandbyConfirmation' AND other.active IS NOT TRUE
"""
_ABSENT: Final = """
SELECT trim(name), other.slot_name IS NOT NULL
FROM string_to_table(current_setting('synchronized_standby_slots', true), ',') AS name
LEFT JOIN pg_replication_slots AS other ON other.slot_name = trim(trim(name), '"') WHERE other.active IS NOT TRUE
"""
_END_MAKER: Final = """
SELECT pg_terminate_backend(a.pid) FROM pg_replication_slots AS s JOIN pg_stat_activity AS a ON a.pid = s.active_pid
WHERE s.slot_name = %s AND a.application_name = %s
"""


def held_up(connection: Connection, slot: str) -> list[str]:
    """All that this slot waits for just now, a sentence each, with the way out; nothing if it does not."""
    making = waits_for(connection, slot)
    return [*([_told(slot, making)] if making else []), *standbys(connection, slot)]


def standbys(connection: Connection, slot: str) -> list[str]:
    """For which standbys the stream from this slot waits just now (from PostgreSQL 17 on)."""
    return _awaited(slot, "waits", connection.execute(_BEHIND, [slot]).fetchall())


def absent(connection: Connection, slot: str) -> list[str]:
    """For which standbys the stream from this slot would wait, since they have no session (from PostgreSQL 17 on)."""
    return _awaited(slot, "will wait", connection.execute(_ABSENT).fetchall())


def _awaited(slot: str, waits: str, behind: list[tuple[str, bool]]) -> list[str]:
    if not behind:
        return []
    named = ", ".join(name if there else f"{name} (there is no such slot)" for name, there in behind)
    return [
        f"the stream from the slot {slot} {waits} until the standbys of synchronized_standby_slots have everything: "
        f"{named}. Start that standby; or, if it is gone for good, take its slot out of "
        "synchronized_standby_slots (by ALTER SYSTEM or the parameter group, then SELECT pg_reload_conf()), "
        "and drop it, since it keeps WAL"
    ]


def _told(slot: str, making: list[str]) -> str:
    return f"making the slot {slot} waits for {'; '.join(making)}. {_WAY_OUT}"


def waits_for(connection: Connection, slot: str) -> list[str]:
    """For whom the making of this slot waits just now, a sentence each; nobody if it does not, or is not being made.

    The server says less of other roles' sessions to who is no member of pg_read_all_stats.
    """
    return [_named(*row) for row in connection.execute(_WAITS_FOR, [slot])]


def _named(
    pid: int,
    database: str | None,
    role: str | None,
    name: str | None,
    state: str | None,
    age: int | None,
    query: str | None,
    prepared: str | None,
) -> str:
    if pid == 0:
        return (
            f"a prepared transaction ({prepared or 'see pg_prepared_xacts'}): COMMIT PREPARED or ROLLBACK PREPARED it"
        )
    said = [
        database and f"database {database}",
        role and f"role {role}",
        name and f"application {name}",
        state,
        None if age is None else f"for {age} s",
        query and f"query: {query}",
    ]
    return f"PID {pid} ({', '.join(one for one in said if one)})"


@contextmanager
def told(dsn: str, slot: str, seconds: float = LOOK) -> Iterator[None]:
    """While a slot is made in here, a thread looks for whom that waits, and tells it in the log and to `status`."""
    ends = threading.Event()
    looking = threading.Thread(target=_look, args=(dsn, slot, seconds, ends), name="slot", daemon=True)
    looking.start()
    try:
        yield
    finally:
        ends.set()
        TROUBLES.over(MAKER)


def _look(dsn: str, slot: str, seconds: float, ends: threading.Event) -> None:
    said: list[str] = []
    while not ends.wait(seconds):
        try:
            with connect(dsn, autocommit=True, **BOUNDED, application_name="widebeam-watch") as source:
                while not ends.wait(0.0):
                    found = waits_for(source, slot)
                    if found:
                        what = _told(slot, found)
                        TROUBLES.hold(MAKER, what)
                        if ends.is_set():  # the slot was made while this one looked
                            TROUBLES.over(MAKER)
                        if (who := [one.partition(" (")[0] for one in found]) != said:
                            _LOG.warning("%s", what)
                            said = who
                    ends.wait(seconds)
        except psycopg.Error as error:  # whoever makes the slot says himself that the server is away
            _LOG.debug("cannot look whom the slot waits for: %s", error)


_WAY_OUT: Final = "Wait until that is over, or end it with pg_terminate_backend(PID)"


def abandon(connection: Connection, slot: str, seconds: float = _ENDING) -> None:
    """End the session that goes on making this slot for somebody who was killed. Raises TimeoutError.

    The server does not notice in this wait that its client is gone. Who calls this has the connector for himself, so
    nobody else can be making it.
    """
    end, pause = monotonic() + seconds, threading.Event()
    while connection.execute(_END_MAKER, [slot, MAKER]).fetchone() is not None:
        if monotonic() > end:
            raise TimeoutError(f"the session that makes the replication slot {slot} has not ended in {seconds:.0f} s")
        pause.wait(0.05)
