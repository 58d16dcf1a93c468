"""A standstill: cells get what the source has now, while no sink advances.

For cells whose rows come without an event, or came wrong: of an attached partition or a table that joins
(snapshot/attached.py), of a range beyond a gap (widebeam/gap/repair.py), of entries in quarantine
(widebeam/quarantine/retry.py). First all partitions' progress is locked, then whoever writes to the narrow tables is
waited for, and only then is the source read. So what is written is at least as new as all that was applied, and
everything newer is still to come by the stream, which puts it over it.

Sinks stand still for no longer than that takes: what can be made without locks (columns, tables, staged rows) is made
before, as the source has it then, and where it has something else under the locks, all is done anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg import sql

from cdc.failpoint import Failpoint, hit
from cdc.lsn import Lsn
from cdc.source.table_name import TableName
from cdc.source.writers import await_writers
from sink.merge.table_slots import Unprepared
from sink.state import account
from sink.wide.registry import Registry, Retyped

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Made = TypeVar("Made")
Done = TypeVar("Done")

ATTEMPTS: Final = 6

_POSITIONS: Final = (
    "SELECT partition, greatest(high, cutoff)::text FROM widebeam.progress JOIN widebeam.connectors USING (connector)"
    " WHERE connector = %s"
)


class Moved(Exception):
    """Under the locks the source has something for which there is no column, or which is not staged."""


class Unsteady(LookupError):
    """So it was at each attempt."""


@dataclass(frozen=True, slots=True)
class Standing:
    """All sinks stand, until the open transaction's end; `positions`: how far each partition is."""

    positions: dict[int, Lsn]

    @property
    def furthest(self) -> Lsn:
        """All that is applied anywhere is seen by what is read now.

        As a row's `_lsn`: a truncate up to there spares it, since it is from after that, and a later one removes it.
        """
        return max(self.positions.values(), default=Lsn(0))


class Standstill:
    """Brings the sinks of a connector to a standstill, over a session in the target.

    `source` is a session in the primary, in autocommit; writers to `tables` are waited for `patience` seconds at most,
    since the sinks stand still meanwhile. `reached` is the failpoint at which they do.
    """

    def __init__(
        self,
        source: Connection,
        target: Connection,
        registry: Registry,
        tables: Iterable[TableName],
        *,
        patience: float,
        reached: Failpoint,
    ) -> None:
        self._source, self._target, self._registry = source, target, registry
        self._names = [sql.Identifier(*table).as_string(source) for table in tables]
        self._patience, self._reached = patience, reached

    def begin(self) -> Standing:
        """In the open transaction, in which columns stay as they are. What is read of the source then may be written.

        Raises StillWriting.

        Without `tables` nobody is waited for: then sinks have waited for the writers themselves before they read.
        """
        account.stop_all(self._target, self._registry.mapping.connector)
        standing = Standing(positions(self._target, self._registry.mapping.connector))
        hit(self._reached)
        if self._names:
            await_writers(self._source, self._names, self._patience)
        return standing

    def overwrite(self, make: Callable[[], Made | None], write: Callable[[Made], Done], what: str) -> Done:
        """Make ready what `write` needs (None: that was columns, so look again), and then write in a transaction.

        `write` calls `begin` in it, and raises Moved, Retyped or Unprepared where what was made will not do. Raises
        Unsteady.
        """
        for _ in range(ATTEMPTS):
            made = make()
            if made is None:
                continue
            try:
                with self._target.transaction():
                    return write(made)
            except (Moved, Retyped, Unprepared):
                self._registry.refresh(self._target)
        raise Unsteady(f"{what} change faster than they can be placed: try again")


def positions(target: Connection, connector: str) -> dict[int, Lsn]:
    """How far each partition is: nothing applied is later."""
    return {number: Lsn.parse(text) for number, text in target.execute(_POSITIONS, [connector])}
