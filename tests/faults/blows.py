"""Blows: quick faults for a storm, by the hundred. Each has a place and a time; which ones come follows from a seed.

A blow waits for nothing but its own end, and says whether there was anything to hit.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Final, NamedTuple, TypeAlias

import psutil
from psycopg import sql

from cdc.failpoint import Failpoint
from tests.faults.loss import may_lose
from tests.faults.stand import Stand
from tests.pipeline import NARROW

Strike: TypeAlias = "Callable[[Stand, str, float], bool]"
"""Do it to a stand, at a place, for so many seconds; False if there was nothing to hit."""


class Blow(NamedTuple):
    """One of them, and how many seconds pass before the next one."""

    kind: str
    place: str
    seconds: float
    pause: float
    strike: Strike

    def __str__(self) -> str:
        return f"{self.kind} {self.place} for {self.seconds:.1f} s"


class Kind(NamedTuple):
    """What blows of a kind have in common: how often they come, where, and for how long."""

    name: str
    weight: int
    places: tuple[str, ...]
    seconds: tuple[float, float]
    strike: Strike


def blows(seed: str, kinds: tuple[Kind, ...], pauses: tuple[float, float]) -> Iterator[Blow]:
    """Without end; the same ones for the same seed, whatever happens meanwhile."""
    random = Random(seed)
    while True:
        [kind] = random.choices(kinds, [kind.weight for kind in kinds])
        place, seconds = random.choice(kind.places), random.uniform(*kind.seconds)
        yield Blow(kind.name, place, seconds, random.uniform(*pauses), kind.strike)


def _victim(stand: Stand, place: str) -> psutil.Process | None:
    """The part that a place such as `sink 2` names."""
    verb, _, number = place.partition(" ")
    found = stand.parts(verb)
    return found[int(number or 1) % len(found)] if found else None


def kill(stand: Stand, place: str, _: float) -> bool:
    """SIGKILL of a part."""
    victim = _victim(stand, place)
    if victim is not None:
        victim.kill()
    return victim is not None


def end(stand: Stand, place: str, _: float) -> bool:
    """SIGTERM of a part: it drains, and ends well, and is started again."""
    victim = _victim(stand, place)
    if victim is not None:
        victim.terminate()
    return victim is not None


def stop(stand: Stand, place: str, seconds: float) -> bool:
    """SIGSTOP of a part, wherever it is, and SIGCONT."""
    victim = _victim(stand, place)
    if victim is None:
        return False
    victim.suspend()
    try:
        time.sleep(seconds)
    finally:
        with suppress(psutil.NoSuchProcess):
            victim.resume()
    return True


_SESSIONS: Final = sql.SQL("""
SELECT {}(pid) FROM (SELECT pid FROM pg_stat_activity
    WHERE application_name LIKE 'widebeam%' AND application_name NOT LIKE '%demo%' AND state {} ORDER BY pid) AS s
OFFSET {} % greatest((SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'widebeam%'
    AND application_name NOT LIKE '%demo%' AND state {}), 1) LIMIT 1
""")


def _on_session(does: str, state: str, stand: Stand, place: str) -> bool:
    server, _, number = place.partition(" ")
    query = _SESSIONS.format(
        sql.Identifier("pg_catalog", does),
        sql.SQL(state),
        sql.Literal(int(number)),
        sql.SQL(state),  # type: ignore[arg-type]
    )
    with stand.on_source() if server == "source" else stand.on_target() as session:
        return bool(session.execute(query).fetchone())


def terminate(stand: Stand, place: str, _: float) -> bool:
    """pg_terminate_backend of one of our sessions."""
    return _on_session("pg_terminate_backend", "IS NOT NULL", stand, place)


def cancel(stand: Stand, place: str, _: float) -> bool:
    """pg_cancel_backend of one of our statements, as at a time-out."""
    return _on_session("pg_cancel_backend", "= 'active'", stand, place)


def cut(stand: Stand, place: str, _: float) -> bool:
    """All connections through a gate are reset."""
    return stand.gates[place].cut() > 0


def down(stand: Stand, place: str, seconds: float) -> bool:
    """All connections through a gate are reset, and new ones refused for a while."""
    with stand.gates[place].down():
        time.sleep(seconds)
    return True


def late(stand: Stand, place: str, seconds: float) -> bool:
    """A line has latency for a while, and is narrow."""
    with stand.gates[place].weathered(latency=0.05, bandwidth=200_000):
        time.sleep(seconds)
    return True


def lose(stand: Stand, place: str, seconds: float) -> bool:
    """A part of the packets is lost for a while."""
    if not may_lose():
        return False
    with stand.gates[place].weathered(loss=0.1):
        time.sleep(seconds)
    return True


def vanish(stand: Stand, place: str, _: float) -> bool:
    """The server is gone as far as those who are connected now can see; new connections are answered."""
    if not may_lose():
        return False
    stand.gates[place].vanish()
    return True


def crumble(stand: Stand, place: str, seconds: float) -> bool:
    """Bytes come one by one for a while."""
    with stand.gates[place].weathered(piece=1):
        time.sleep(seconds)
    return True


def lock(stand: Stand, place: str, seconds: float) -> bool:
    """A stranger locks the narrow table, or all wide ones, for a while: as an ALTER TABLE would."""
    if place == "source":
        with stand.on_source() as session, session.transaction():
            session.execute("SET LOCAL lock_timeout = '2s'")
            session.execute(sql.SQL("LOCK {} IN ACCESS EXCLUSIVE MODE").format(NARROW))
            time.sleep(seconds)
        return True
    with stand.on_target() as session, session.transaction():
        session.execute("SET LOCAL lock_timeout = '2s'")
        tables = session.execute("SELECT schema_name, table_name FROM widebeam.tables ORDER BY 1, 2").fetchall()
        for schema, table in tables:
            session.execute(sql.SQL("LOCK {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(schema, table)))
        time.sleep(seconds)
    return bool(tables)


def checkpoint(stand: Stand, place: str, _: float) -> bool:
    """A checkpoint and a new WAL file, as a base backup begins."""
    with stand.on_source() if place == "source" else stand.on_target() as session:
        session.execute("CHECKPOINT")
        session.execute("SELECT pg_switch_wal()")
    return True


_GATES: Final = ("source", "target", "kafka")
_PARTS: Final = ("capture", "sink 0", "sink 1", "backfill 0", "backfill 1")
_PLACES: Final = tuple(f"{server} {number}" for server in ("source", "target") for number in range(8))

COMMON: Final = (
    Kind("kill", 6, (*_PARTS, "sink 0", "sink 1"), (0, 0), kill),
    Kind("end", 1, ("capture", "sink 0", "sink 1"), (0, 0), end),
    Kind("stop", 3, _PARTS, (0.2, 4), stop),
    Kind("terminate a session of", 5, _PLACES, (0, 0), terminate),
    Kind("cancel a statement of", 3, _PLACES, (0, 0), cancel),
    Kind("cut the lines to", 4, _GATES, (0, 0), cut),
    Kind("refuse connections with", 2, _GATES, (0.2, 3), down),
    Kind("slow the line to", 2, _GATES, (1, 4), late),
    Kind("crumble the line to", 1, _GATES, (0.5, 2), crumble),
    Kind("lose packets to", 2, _GATES, (0.5, 3), lose),
    Kind("vanish for those who know", 1, _GATES, (0, 0), vanish),
    Kind("lock the tables of", 2, ("source", "target"), (0.1, 2), lock),
    Kind("checkpoint of", 1, ("source", "target"), (0, 0), checkpoint),
)
"""What comes from outside."""


class Trap(NamedTuple):
    """Arms failpoints in a directory of tokens (cdc/failpoint.py, `once:`)."""

    how: str

    def __call__(self, stand: Stand, place: str, seconds: float) -> bool:
        """Arm `point@n`, and wait until it has fired; disarmed when it has not after `seconds`."""
        point, _, nth = place.partition("@")
        token = stand.directory / TOKENS / point
        made = token.with_name(f".{point}")
        made.write_text(f"{self.how}@{nth}")
        made.rename(token)
        deadline = time.monotonic() + seconds
        while token.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        try:
            token.unlink()
        except FileNotFoundError:
            return True
        return False


def hang(stand: Stand, place: str, seconds: float) -> bool:
    """A part stands still at a failpoint, and goes on after a while."""
    if not Trap("hang")(stand, place, seconds):
        return False
    time.sleep(seconds / 2)
    for verb in ("capture", "sink", "backfill"):
        for part in stand.parts(verb):
            with suppress(psutil.NoSuchProcess):
                if part.status() == psutil.STATUS_STOPPED:
                    part.send_signal(signal.SIGCONT)
    return True


TOKENS: Final = "tokens"
"""The directory of armed failpoints, in a stand's."""

_CAPTURE: Final = tuple(point for point in Failpoint if point.startswith("capture."))
_SINK: Final = (
    Failpoint.SINK_ASSIGNED, Failpoint.SINK_ADVANCED, Failpoint.SINK_STAGED, Failpoint.SINK_MERGED,
    Failpoint.SINK_COMMITTED,
)  # fmt: skip
_BACKFILL: Final = (
    *(point for point in Failpoint if point.startswith("backfill.") and point is not Failpoint.BACKFILL_VOIDED),
    Failpoint.REPAIR_HELD,
    Failpoint.REPAIR_MERGED,
)
_COLUMNS: Final = (Failpoint.COLUMNS_MADE,)


def _hits(*points: Failpoint) -> tuple[str, ...]:
    """Each at its first hit from then on, or at a later one."""
    return tuple(f"{point}@{nth}" for point in points for nth in (1, 1, 2, 5))


FAILPOINTS: Final = (
    Kind("die at", 8, _hits(*_CAPTURE, *_SINK, *_SINK), (3, 6), Trap("crash")),
    Kind("die at", 2, _hits(*_BACKFILL, *_COLUMNS), (1, 2), Trap("crash")),
    Kind("fail at", 2, _hits(*_CAPTURE, *_SINK), (3, 6), Trap("error")),
    Kind("lose the answer of COMMIT at", 2, _hits(Failpoint.SINK_MERGED), (3, 6), Trap("cut")),
    Kind("hang at", 3, _hits(*_CAPTURE, *_SINK), (2, 5), hang),
)
"""What comes from within."""
