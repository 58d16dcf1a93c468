"""The live writer of the demo: what an application does to a narrow table while Widebeam follows it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final, NamedTuple

import psycopg

from cdc.bindable import Cursor
from widebeam.demo.fleet import SHIPS, Channel, channels, late_comers
from widebeam.demo.history import COPY, History, split, tick_lines, time_text

APPEAR_AFTER_TICKS: Final = 20
"""Ticks of the live writer before the ships report channels that nobody had planned."""

BACKLOG_TRANSACTION: Final = 2_000
"""Rows in a transaction of a backlog, about."""

_CHANGES: Final = {
    "updated": """
        UPDATE tenant.tbl_data_timeseries SET double_v = double_v + 0.125
        WHERE ship_id = %s AND data_channel_id = %s AND created_time = %s""",
    "cleared": """
        UPDATE tenant.tbl_data_timeseries SET double_v = NULL
        WHERE ship_id = %s AND data_channel_id = %s AND created_time = %s""",
    "deleted": """
        DELETE FROM tenant.tbl_data_timeseries
        WHERE ship_id = %s AND data_channel_id = %s AND created_time = %s""",
    # Moves go between the ticks, each kind to another second, so that they rarely meet a reading that is there.
    "moved in time": """
        UPDATE tenant.tbl_data_timeseries SET created_time = created_time + interval '7 s'
        WHERE ship_id = %s AND data_channel_id = %s AND created_time = %s""",
    "moved to another channel": """
        UPDATE tenant.tbl_data_timeseries AS here
        SET data_channel_id = 'NAV.Latitude', created_time = created_time + interval '9 s'
        WHERE ship_id = %s AND data_channel_id = %s AND created_time = %s AND NOT EXISTS (
            SELECT FROM tenant.tbl_data_timeseries AS there
            WHERE there.ship_id = here.ship_id AND there.data_channel_id = 'NAV.Latitude'
            AND there.created_time = here.created_time + interval '9 s')""",
}
_EACH: Final = {"updated": 4, "cleared": 1, "deleted": 1, "moved in time": 1, "moved to another channel": 1}
"""How many of each in a transaction of the live writer."""


class Cell(NamedTuple):
    """Where a reading stands: the primary key of the narrow table."""

    ship: str
    channel: str
    time: str


@dataclass(slots=True)
class Tally:
    """What the writer has done, in rows."""

    inserted: int = 0
    late: int = 0
    changed: int = 0

    @property
    def rows(self) -> int:
        """All changes of rows together."""
        return self.inserted + self.late + self.changed


class Writer:
    """Writes on from where the history ends: new readings, late ones, updates, NULLs, deletes, moves, new channels.

    One thread at a time may be in `run` or `backlog`.
    """

    def __init__(self, dsn: str, history: History, *, rate: int, seed: int = 2) -> None:
        """`rate` is in rows a second."""
        self._dsn, self._rate = dsn, rate
        self._random = Random(seed)  # noqa: S311 - reproducible readings, no secret
        self._first = self._tick = history.ticks
        self._late = list(history.late)
        self._decimals = [channel.name for channel in channels() if channel.kind == "Decimal"]
        self._ships: list[str] = []
        self.tally = Tally()

    def run(self, stop: threading.Event) -> None:
        """Write, a ship's tick in each transaction, at the rate, until `stop`."""
        with psycopg.connect(
            self._dsn, autocommit=True, application_name="widebeam demo writer", cursor_factory=Cursor
        ) as connection:
            due = time.monotonic()
            while not stop.is_set():
                written = self._transaction(connection, 1)
                due = max(due + written / self._rate, time.monotonic() - 1)
                stop.wait(max(0.0, due - time.monotonic()))

    def backlog(self, rows: int, *, watch: Callable[[int], None] = lambda _: None) -> int:
        """Write at least `rows` rows as fast as the server takes them; gives their number. `watch` hears how many."""
        before = self.tally.rows
        with psycopg.connect(
            self._dsn, autocommit=True, application_name="widebeam demo writer", cursor_factory=Cursor
        ) as connection:
            while self.tally.rows - before < rows:
                self._transaction(connection, BACKLOG_TRANSACTION // len(self._decimals))
                watch(self.tally.rows - before)
        return self.tally.rows - before

    def _transaction(self, connection: psycopg.Connection[Any], ship_ticks: int) -> int:
        """Write so many ships' ticks, and the changes that go with them; gives the number of rows."""
        before = self.tally.rows
        fresh = [line for _ in range(ship_ticks) for line in self._ship_tick()]
        late = [self._late.pop() for _ in range(min(len(self._late), self._waiting()))]
        now, withheld = split(fresh, self._random)
        with connection.transaction(), connection.cursor() as cursor:
            with cursor.copy(COPY) as copy:
                copy.write("".join(now + late))
            for kind, statement in _CHANGES.items():
                cursor.executemany(statement, [self._some_cell() for _ in range(_EACH[kind])])
                self.tally.changed += cursor.rowcount
        self._late[:0] = withheld
        self.tally.inserted += len(now)
        self.tally.late += len(late)
        return self.tally.rows - before

    def _ship_tick(self) -> list[str]:
        """The next ship's readings; after the last ship the next tick begins."""
        if not self._ships:
            self._ships, self._tick = list(SHIPS), self._tick + 1
        return tick_lines(self._tick - 1, self._ships.pop(), self._reporting(), self._random)

    def _reporting(self) -> list[Channel]:
        appeared = self._tick - self._first > APPEAR_AFTER_TICKS
        return channels() + (late_comers() if appeared else [])

    def _waiting(self) -> int:
        """How many late readings come with this transaction: those of the history over a few hundred of them."""
        return max(4, len(self._late) // 4000)

    def _some_cell(self) -> Cell:
        """Any reading of the past, the history's among them, whether the backfill has been there or not."""
        pick = self._random
        return Cell(pick.choice(SHIPS), pick.choice(self._decimals), time_text(pick.randrange(self._tick - 1)))
