"""The order in which a batch takes its locks, and what is done under each of them.

Columns stay as they are, progress by partition, the ledger's rows by chunk, quarantine, wide tables by name, their rows
by wide key. All who write wide rows go by it (ARCHITECTURE.md, "Why nothing is lost", 9), so nobody meets a deadlock.
A chunk alone writes its quarantine entries last: nobody else writes them, since their origin is the chunk.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import psycopg

from cdc.failpoint import Failpoint, hit
from sink.fold.batch import Batch
from sink.fold.pivot import Fold
from sink.mapping.mapping import Mapping
from sink.merge import tombstones
from sink.merge.bound import Few
from sink.merge.staged import Staged
from sink.state import account, notices, quarantine, sources, superseded
from sink.wide.registry import Registry

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class LockOrder:
    """What a sink does with a batch in its transaction, once the batch's rows are staged."""

    def __init__(self, connection: Connection, mapping: Mapping, registry: Registry) -> None:
        self._connection, self._mapping, self._registry = connection, mapping, registry

    def write(self, staged: Staged | Few, batch: Batch, fold: Fold) -> None:
        """Raises Retyped, Fenced, or the database's error."""
        locked = staged.lock()
        account.advance(self._connection, self._mapping.connector, list(batch.admissions.values()))
        hit(Failpoint.SINK_ADVANCED)
        self._ledger(batch, fold)
        self._quarantine(batch, fold)
        locked.upsert()
        if batch.truncate is not None:
            locked.truncate(self._registry.parts, batch.truncate)
            hit(Failpoint.SINK_TRUNCATED)
        hit(Failpoint.SINK_MERGED, self._connection)

    def _ledger(self, batch: Batch, fold: Fold) -> None:
        """What chunks that are not merged have to know."""
        if batch.truncate is not None:
            tombstones.void(self._connection, self._mapping.connector)
            hit(Failpoint.SINK_VOIDED)
            self._registry.refresh(self._connection)  # a chunk that was merged just before may have made a table
            return
        moments = None if self._mapping.plain else fold.moments
        cells = tombstones.cleared(self._mapping, self._registry.entities, fold.tables, moments)
        if tombstones.bury(self._connection, self._mapping, cells):
            hit(Failpoint.SINK_TOMBSTONED)

    def _quarantine(self, batch: Batch, fold: Fold) -> None:
        """What could not be placed, and which entries are over."""
        entries = batch.quarantine_entries + fold.quarantine_entries
        quarantine.write(self._connection, self._mapping.connector, entries)
        if entries:
            hit(Failpoint.SINK_QUARANTINED)
        superseded.close(self._connection, self._mapping, batch.entries, entries)
        if batch.truncate is not None:
            superseded.truncated(self._connection, self._mapping.connector, batch.truncate)
            sources.note_truncated(self._connection, self._mapping.connector, batch.truncated, batch.truncate)
            notices.truncated(self._connection, self._mapping.connector, batch.truncated)
