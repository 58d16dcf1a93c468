"""Looks at the source: its slot, the walsender on it, and how far the WAL is."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from cdc.lsn import Lsn
from widebeam.status.facts import SlotFact
from widebeam.status.lag import Wal
from widebeam.status.status import Slot

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_SLOT: Final = """
SELECT to_jsonb(s), wal_end::text, (SELECT sent_lsn::text FROM pg_stat_replication WHERE pid = s.active_pid),
    extract(epoch FROM clock_timestamp())::float8,
    (wal_end - s.restart_lsn)::bigint, greatest(wal_end - s.confirmed_flush_lsn, 0)::bigint,
    extract(epoch FROM clock_timestamp() - (to_jsonb(s) ->> 'inactive_since')::timestamptz)::float8,
    current_setting('max_slot_wal_keep_size')
FROM pg_replication_slots s, LATERAL (
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END) AS w (wal_end)
WHERE slot_name = %s
"""


class SlotSeen(NamedTuple):
    """The slot; `behind` are the bytes of WAL that it has not acknowledged, `now` the source's clock (Unix time)."""

    shown: Slot
    fact: SlotFact
    wal: Wal
    behind: int
    now: float


def look(source: Session, slot: str) -> SlotSeen | None:
    """The slot as it is now; None if there is none."""
    row = source.execute(_SLOT, [slot]).fetchone()
    if row is None:
        return None
    found: dict[str, Any] = row[0]  # as JSON, since each version of the server has other columns
    status, confirmed = found.get("wal_status") or "lost", found["confirmed_flush_lsn"] or "0/0"
    unlimited = row[7] == "-1"
    room = None if unlimited or found.get("safe_wal_size") is None else max(int(found["safe_wal_size"]), 0)
    active = bool(found["active"])
    sent = None if row[2] is None else int(Lsn.parse(row[2]))
    return SlotSeen(
        Slot(active, confirmed, row[4], status, room),
        SlotFact(active, status, row[4], room, None if active else row[6]),
        Wal(int(Lsn.parse(row[1])), int(Lsn.parse(confirmed)), active, sent),
        row[5] or 0,
        row[3],
    )
