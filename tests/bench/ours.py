"""A connector of Widebeam's over the reference table, its parts run as a user would run them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from cdc.lsn import Lsn
from cdc.source import slot
from tests.bench import reference
from tests.bench.ends import Ends
from tests.bench.process import Measured, Meter, running, until, widebeam
from tests.bench.reference import FLEET, Act, Fleet
from tests.bench.stack import Stack
from widebeam.config.connector import Connector
from widebeam.setup.prepare import prepare


class Ours:
    """One connector, set up. Its first moment is written and filled in before, so that all columns are there.

    Over the narrow table of a database of its own, or of the database `source`; the wide tables are in a database of
    its own in any case. `log`: through Kafka.
    """

    def __init__(
        self, stack: Stack, fleet: Fleet = FLEET, *, source: str = "", layout: str = "per_entity", log: bool = True
    ) -> None:
        self.stack, self.fleet = stack, fleet
        self.name = stack.name("ours")
        self.dsn = stack.database(self.name)
        self.source = source or self.dsn
        self.target = stack.session(self.dsn)
        self.origin = stack.session(self.source)
        self.rows = 0
        if not source:
            self.write(fleet.tick_rows)
        self.connector: Connector = stack.connector(self.name, self.source, self.dsn, layout=layout, log=log)
        prepare(self.connector)
        if not source:
            self.backfill()

    def one(self, query: str, *parameters: object) -> Any:
        """The first column of the first row that the target answers."""
        row = self.target.execute(query.encode(), parameters or None).fetchone()
        return None if row is None else row[0]

    def write(self, rows: int, per_transaction: int = 2000) -> None:
        """So many more narrow rows."""
        end = self.rows + rows
        reference.write(self.source, self.rows, end, per_transaction=per_transaction, fleet=self.fleet)
        self.rows = end

    def change(self, act: Act, rows: int) -> None:
        """Update or delete the first rows."""
        reference.write(self.source, 0, rows, act=act, fleet=self.fleet)

    @contextmanager
    def parts(self, **counts: int) -> Iterator[list[Measured]]:
        """So many processes of each part, in this order."""
        with ExitStack() as exits:
            yield [self._start(exits, verb, n) for verb, count in counts.items() for n in range(count)]

    def _start(self, exits: ExitStack, verb: str, n: int) -> Measured:
        name = verb if n == 0 else f"{verb}_{n + 1}"
        log = self.stack.log(f"{self.name}-{name}")
        return exits.enter_context(running(name, widebeam(verb, str(self.connector.file)), log))

    def meter(self, parts: list[Measured]) -> Meter:
        """Measures these and the servers from now on."""
        return Meter(parts, self.stack.servers)

    def backfill(self) -> None:
        """Fill in what there is."""
        with self.parts(backfill=1) as parts:
            until(parts[0].ended, parts, may_end=True)

    def applied(self) -> int:
        """Narrow rows that the sinks have applied."""
        return int(self.one("SELECT coalesce(sum(rows), 0) FROM widebeam.progress"))

    def filled(self) -> int:
        """Narrow rows that the backfill has merged."""
        return int(self.one("SELECT coalesce(sum(rows), 0) FROM widebeam.chunks WHERE state = 'merged'"))

    def slot(self) -> slot.SlotState:
        state = slot.inspect(self.origin, self.connector.slot)
        assert state is not None
        return state

    def captured(self, parts: list[Measured]) -> None:
        """Wait until capture has begun to read."""
        until(lambda: self.slot().active_pid is not None, parts)

    def kept_slot(self, for_a: str = "limit") -> str:
        """A copy of the slot as it is now, to read the same WAL once more."""
        name = f"{self.connector.slot}_{for_a}"
        self.origin.execute("SELECT pg_copy_logical_replication_slot(%s, %s)", [self.connector.slot, name])
        return name

    def ends(self) -> Ends:
        """How far its topic goes."""
        return Ends(self.stack.admin, self.connector.topic or "", self.connector.partitions)

    def end(self) -> Lsn:
        """The end of the source's WAL."""
        row = self.origin.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
        assert row is not None
        return Lsn.parse(row[0])

    def joined(self, parts: list[Measured], sinks: int) -> None:
        """Wait until so many sinks have dealt out the partitions among them."""
        partitions = self.connector.partitions

        def dealt() -> bool:
            shares = self.stack.shares(self.connector.group)
            return len(shares) == sinks and sum(shares) == partitions and min(shares) >= partitions // sinks

        until(dealt, parts)
