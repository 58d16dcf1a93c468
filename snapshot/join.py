"""New narrow tables join by themselves, so that each of their rows is either in a chunk or in the stream.

In this order, each step safe to be done again after a crash:
1. The table and its chunks are written down in the target. Its gate is closed: nobody reads the chunks.
2. It is published under a lock that waits for all who write to it and holds others off until that is committed. So
   what was written before is seen by every later snapshot, and what is written after is in the stream.
3. The gate is opened: the chunks are read, in snapshots that are later than 2.
A sink meets the table's first change only after 2, hence after 1: it finds open chunks to leave tombstones in. Where
its rows can meet those of other tables in a cell, they count from 3 on (before, they can change without an event), and
its chunks are written over what is there (snapshot/attached.py).
"""

from __future__ import annotations

import logging
from dataclasses import replace
from time import monotonic
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import errors

from cdc.failpoint import Failpoint, hit
from cdc.halt import CONNECTOR, Cause, Halt
from cdc.lsn import Lsn
from cdc.source import facts, publication
from cdc.source.described import describe
from cdc.source.identity import Identity, identities
from cdc.source.identity_remedy import remedy
from cdc.source.narrow import NarrowTable
from sink.mapping.family import Family, Source
from sink.state import sources
from sink.state.claim import Claim
from snapshot.chunks import ledger
from snapshot.chunks.estimate import plan_chunks
from snapshot.sessions import Sessions
from snapshot.settings import BackfillSettings

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

LOOK_SECONDS: Final = 2.0
"""Between two looks at the source's catalog."""

_PATIENCE: Final = 60.0  # a table may get its key some statements after it was made
_LOG: Final = logging.getLogger(__name__)
_TABLES: Final = """
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname <> ALL ('{pg_catalog,information_schema}')
ORDER BY 1, 2
"""


class Joiner:
    """Looks for tables that belong and are not there yet. One worker does that at a time, by a claim in the target."""

    def __init__(self, settings: BackfillSettings, sessions: Sessions, family: Family) -> None:
        self._settings, self._family = settings, family
        self._target, self._primary = sessions.target, sessions.primary
        self._connector = settings.mapping.connector
        self._turn = Claim(self._connector, "join")
        self._looked_at: float | None = None
        self._unfit: dict[str, float] = {}  # since when

    def look(self) -> int:
        """Let new tables join, if it is time to look; how many did. Raises Halt for one that cannot."""
        now = monotonic()
        if self._looked_at is not None and now - self._looked_at < LOOK_SECONDS:
            return 0
        self._looked_at = now
        new = self._new()
        if not new or not self._turn.take(self._target):
            return 0
        try:
            return sum(self._join(table) for table in self._new())
        finally:
            self._turn.give_back(self._target)

    def _new(self) -> list[NarrowTable]:
        """Tables that belong and are not published yet."""
        known = {each.qualified for each in sources.load(self._target, self._connector) if each.gate is not None}
        tables = (self._family.narrow(schema, name) for schema, name in self._primary.execute(_TABLES).fetchall())
        return [table for table in tables if table is not None and table.qualified not in known]

    def _join(self, table: NarrowTable) -> bool:
        """One table; False when it is not fit yet, or is being written to just now."""
        try:
            source = self._fit(table)
            if source is None:
                return False
            self._write_down(table, source)
            hit(Failpoint.JOIN_WRITTEN_DOWN)
            state = publication.inspect(self._primary, self._settings.publication, table)
            if state is None or not state.covers:
                publication.add(self._primary, self._settings.publication, table)
            hit(Failpoint.JOIN_PUBLISHED)
        except (errors.LockNotAvailable, errors.UndefinedTable):
            return False
        row = self._primary.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
        if row is None:
            raise LookupError("the source did not tell its WAL position")
        # Before a chunk of it is read: a partition that is attached to it later is one that was not there.
        found = facts.look(self._primary, self._settings.publication, table)
        sources.note_facts(self._target, self._connector, table, found)
        sources.open_gate(self._target, self._connector, source, Lsn.parse(row[0]))
        _LOG.info("the table %s has joined", table.qualified)
        return True

    def _fit(self, table: NarrowTable) -> Source | None:
        """The table as it is to be written down; None as long as it may still become fit."""
        try:
            found = describe(self._primary, table)
        except Halt as halt:  # it only matches the name
            if table.qualified not in self._unfit:
                _LOG.warning("passed over: %s", halt.what)
            self._unfit.setdefault(table.qualified, monotonic())
            return None
        amiss = self._amiss(table, found.types)
        if amiss is None:
            like = self._settings.mapping.rule
            return Source(
                table.schema, table.name, found.oid, found.types, None, like.escapes, canonical=like.canonical
            )
        if monotonic() - self._unfit.setdefault(table.qualified, monotonic()) > _PATIENCE:
            raise amiss
        return None

    def _amiss(self, table: NarrowTable, types: dict[str, str]) -> Halt | None:
        """Why the table cannot join."""
        for each in identities(self._primary, table):
            if not each.holds(table):
                return Halt(
                    Cause.REPLICA_IDENTITY,
                    f"the new table {each.table} has no replica identity over {', '.join(table.cell)}",
                    f"{self._mend(table, each)} Then `widebeam run {CONNECTOR}`.",
                )
        first = self._settings.mapping.rule
        rule = replace(self._family.rule(table, types), wide_time=first.wide_time)
        if (rule.entity_types, rule.time_types) != (first.entity_types, first.time_types):
            return Halt(
                Cause.RELATION_CHANGED,
                f"the new table {table.qualified} has other types of entity or time than {first.table.qualified}",
                f"Alter it, or give it a name that does not match `tables`; then `widebeam run {CONNECTOR}`.",
            )
        return None

    def _mend(self, table: NarrowTable, identity: Identity) -> str:
        return remedy(self._primary, table, identity, several=self._settings.mapping.rule.several != "refuse")

    def _write_down(self, table: NarrowTable, source: Source) -> None:
        """The table and its chunks, all or nothing; nothing is done if they are there."""
        if any(each.qualified == source.qualified for each in sources.load(self._target, self._connector)):
            return
        settings, rule = self._settings, self._family.rule(table, source.types)
        chunks = plan_chunks(self._primary, rule, settings.chunk_rows, settings.chunk_hours)
        if rule.several != "refuse":  # its rows may be those that hold where they meet other tables' rows
            chunks = [chunk._replace(reads=table.qualified) for chunk in chunks]
        with self._target.transaction():
            ledger.add(self._target, self._connector, chunks)
            sources.add(self._target, self._connector, source)
