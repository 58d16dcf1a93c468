"""Gate G: from when on a fresh snapshot of the source lacks nothing that the stream will not bring.

The slot's exported snapshot SC shows exactly the commits below the cutoff C; the stream brings exactly the others. A
commit is decoded before it is visible (it waits for a synchronous standby, say), so a snapshot that is taken after C
can still lack a commit below C. Such a snapshot is not to be used: nobody would bring that commit.
"""

from __future__ import annotations

from threading import Event
from time import monotonic
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from cdc.failpoint import Failpoint, hit
from cdc.lsn import Lsn

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LONGEST_PAUSE: Final = 1.0  # seconds

_LACKING: Final = """
SELECT xip.xid::text FROM pg_snapshot_xip(pg_current_snapshot()) AS xip (xid)
WHERE pg_visible_in_snapshot(xip.xid, %s::pg_snapshot)
"""

# backend_xid has no epoch: compare its 32 bits.
_HOLDERS: Final = """
SELECT coalesce('PID ' || activity.pid, 'prepared transaction ' || quote_literal(prepared.gid)), xip.xid::text,
       activity.usename, activity.application_name, activity.wait_event_type || ' ' || activity.wait_event
FROM pg_snapshot_xip(pg_current_snapshot()) AS xip (xid)
LEFT JOIN pg_stat_activity AS activity ON activity.backend_xid::text::numeric = xip.xid::text::numeric %% 4294967296
LEFT JOIN pg_prepared_xacts AS prepared ON prepared.transaction::text::numeric = xip.xid::text::numeric %% 4294967296
WHERE pg_visible_in_snapshot(xip.xid, %s::pg_snapshot)
"""


class Holder(NamedTuple):
    """Somebody whose commit lies below the cutoff and is not visible yet."""

    who: str  # "PID 4711", or a prepared transaction by its name
    xid: str
    role: str | None
    application: str | None
    waits_for: str | None

    def __str__(self) -> str:
        rest = [f"role {self.role}" if self.role else "", self.application or "", f"waits for {self.waits_for}"]
        return f"{self.who} (transaction {self.xid}, {', '.join(each for each in rest if each)})"


class GateClosed(Exception):
    """The gate did not open in time; `holders` are those for whom it waits."""

    def __init__(self, seconds: float, holders: list[Holder]) -> None:
        names = "; ".join(map(str, holders)) or "nobody any more: try again"
        super().__init__(
            f"after {seconds:.0f} s, transactions that are committed below the cutoff are still not visible: {names}. "
            "The backfill cannot begin before they are. They mostly wait for a synchronous standby: see "
            "synchronous_standby_names and pg_stat_replication on the source."
        )
        self.holders = holders


def lacking(primary: Connection, cutoff_snapshot: str) -> list[str]:
    """The xids below the cutoff that a snapshot taken now lacks; none = the gate is open."""
    return [xid for (xid,) in primary.execute(_LACKING, [cutoff_snapshot]).fetchall()]


def holders(primary: Connection, cutoff_snapshot: str) -> list[Holder]:
    """For whom the gate waits. Other roles' sessions are only named to a member of pg_read_all_stats."""
    rows = primary.execute(_HOLDERS, [cutoff_snapshot]).fetchall()
    return [Holder(who or "somebody", *rest) for who, *rest in rows]


def await_gate(
    primary: Connection, target: Connection, connector: str, stop: Event, seconds: float = 300.0
) -> Lsn | None:
    """Wait until the gate is open; P, after which every snapshot of the primary is safe. None when `stop` was set.

    Both connections are in autocommit mode, and `primary` is the primary itself: a standby's snapshot does not list
    running transactions. The cutoff's snapshot never changes, so passing once is enough: P is kept in
    connectors.gate_lsn. Raises GateClosed.
    """
    cutoff_snapshot, passed = _state(target, connector)
    if passed is not None:
        return passed
    if not _open(primary, cutoff_snapshot, stop, seconds):
        return None
    hit(Failpoint.BACKFILL_GATE_OPEN)
    row = primary.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    if row is None:
        raise LookupError("the source did not tell its WAL position")
    target.execute(
        "UPDATE widebeam.connectors SET gate_lsn = coalesce(gate_lsn, %s::pg_lsn) WHERE connector = %s",
        [row[0], connector],
    )
    return Lsn.parse(row[0])


def await_replay(standby: Connection, gate: Lsn, stop: Event, seconds: float = 300.0) -> bool:
    """Wait until a standby has replayed P, from when on its snapshots are safe too; False when `stop` was set.

    Raises TimeoutError. A server that is no standby passes at once.
    """
    reached = "SELECT NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= %s::pg_lsn"
    end, pause = monotonic() + seconds, 0.02
    while True:
        row = standby.execute(reached, [str(gate)]).fetchone()
        if row is not None and row[0]:
            return True
        if monotonic() > end:
            raise TimeoutError(f"the standby has not replayed {gate} after {seconds:.0f} s: see pg_stat_replication")
        if stop.wait(pause):
            return False
        pause = min(2 * pause, _LONGEST_PAUSE)


def _open(primary: Connection, cutoff_snapshot: str, stop: Event, seconds: float) -> bool:
    end, pause = monotonic() + seconds, 0.02
    while lacking(primary, cutoff_snapshot):
        if monotonic() > end:
            raise GateClosed(seconds, holders(primary, cutoff_snapshot))
        if stop.wait(pause):
            return False
        pause = min(2 * pause, _LONGEST_PAUSE)
    return True


def _state(target: Connection, connector: str) -> tuple[str, Lsn | None]:
    row = target.execute(
        "SELECT cutoff_snapshot::text, gate_lsn::text FROM widebeam.connectors WHERE connector = %s", [connector]
    ).fetchone()
    if row is None or row[0] is None:
        raise LookupError(f"connector {connector} has no cutoff yet: prepare it first")
    return row[0], None if row[1] is None else Lsn.parse(row[1])
