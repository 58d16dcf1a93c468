"""Waiting for those who write to the narrow tables: once they are over, whatever was decoded is visible."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Event
from time import monotonic
from typing import Any, Final, TypeAlias

import psycopg

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_PAUSE: Final = 0.02

# Locks go after the commit is visible: who holds none cannot have committed anything that a new snapshot lacks.
_WRITERS: Final = """
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND granted
    AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND relation IN (
        SELECT to_regclass(name)::oid FROM unnest(%(names)s::text[]) AS name
        UNION SELECT tree.relid FROM unnest(%(names)s::text[]) AS name, pg_partition_tree(to_regclass(name)) AS tree
    )
"""


class StillWriting(Exception):
    """Transactions that have written to the narrow table did not end in time."""


def await_writers(source: Connection, names: Iterable[str], seconds: float) -> None:
    """Wait until every transaction that has written to these tables by now is over: committed and visible, or not.

    A commit can be decoded and applied before it is visible (it waits for a synchronous standby, say); a row that is
    read meanwhile would be older than what is applied. `names` as to_regclass reads them. Raises StillWriting.
    """
    end, pause = monotonic() + seconds, Event()
    parameters = {"names": list(names)}
    waiting = {row[0] for row in source.execute(_WRITERS, parameters)}
    while waiting:
        if monotonic() > end:
            raise StillWriting(
                f"{len(waiting)} transactions have been writing to the narrow table for {seconds:.0f} s: "
                "try again when they are over (pg_locks and pg_stat_activity on the source name them)"
            )
        pause.wait(_PAUSE)
        waiting &= {row[0] for row in source.execute(_WRITERS, parameters)}
