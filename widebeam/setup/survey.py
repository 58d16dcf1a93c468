"""The survey: what the source's catalog says of the narrow tables, against what was written down of it.

This is for changes of the source that make no event: the stream goes on without a word of them. Each is answered with
a halt, a notice, or, for partitions that are attached with rows in them, chunks that bring these rows.

Rows of an attached partition are written over what is there (snapshot/attached.py), so no older change may still be on
its way. Therefore their chunks are only planned once a barrier, emitted after the partition was seen, has passed every
sink. Until then the partition is not written down: a crash starts all of it again.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from time import monotonic
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import errors, sql

from cdc.failpoint import Failpoint, hit
from cdc.lsn import Lsn
from cdc.source import facts, publication
from cdc.source.facts import Facts, Leaf
from cdc.source.narrow import NarrowTable
from cdc.source.session import connect
from cdc.source.table_name import TableName
from cdc.trouble import TROUBLES
from sink import lookup
from sink.mapping.family import Source
from sink.state import notices, sources
from sink.state.notices import Kind, Notice
from snapshot.attached import plan_attached
from snapshot.chunks import ledger
from widebeam.config.connector import Connector
from widebeam.quarantine.heal import Healer
from widebeam.verify import barrier

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOG: Final = logging.getLogger(__name__)


def baseline(source: Session, target: Session, connector: Connector) -> None:
    """Write down what the catalog says of the tables of which nothing is written down yet."""
    for each, table in _tables(target, connector):
        if sources.facts(target, connector.name, table) is None:
            sources.note_facts(target, connector.name, table, facts.look(source, connector.publication, table))
            _LOG.debug("what the catalog says of %s is written down", each.qualified)


def accept(source: Session, target: Session, connector: Connector) -> None:
    """Take the catalog as it is now, where everything is about to be compared and mended: nothing is left to be told,
    but of what outlives its source."""
    outlives = "ignore" in (connector.options.sink.on_delete, connector.options.sink.on_truncate)
    over: list[Kind] = ["doubt", "filling"] if outlives else ["doubt", "filling", "gone"]
    notices.forget(target, connector.name, over)
    for _, table in _tables(target, connector):
        sources.note_facts(target, connector.name, table, facts.look(source, connector.publication, table))


def check(source: Session, target: Session, connector: Connector) -> None:
    """Raise a Halt if the catalog differs from what is written down so that it cannot go on; nothing is taken in."""
    for each, table in _tables(target, connector):
        if _there(source, each.oid) or not connector.growing:
            checked(source, connector.publication, table, sources.facts(target, connector.name, table))


def checked(source: Session, name: str, table: NarrowTable, before: Facts | None) -> Facts:
    """The facts of one moment, if they are none to halt at; `name` is the publication's."""
    at = facts.position(source)
    with source.transaction():
        source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        now = facts.look(source, name, table, at)
        if before is not None:
            facts.compare(table, before, now)
        publication.check(name, publication.inspect(source, name, table), table)
        publication.check_covers(source, name, table)
        if before is not None:
            facts.check_entry(table, before, now)
    return now


def _tables(target: Session, connector: Connector) -> list[tuple[Source, NarrowTable]]:
    """The tables that are published."""
    found = [each for each in sources.load(target, connector.name) if each.gate is not None]
    tables = ((each, connector.family.narrow(each.schema, each.name)) for each in found)
    return [(each, table) for each, table in tables if table is not None]


HEAL_SECONDS: Final = 60.0
"""Between two looks at readings whose ids the dictionary did not know."""


class Survey:
    """Looks on behalf of the capture at work; remembers which barriers it waits for."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._barriers: dict[str, tuple[frozenset[int], Lsn]] = {}
        self._healer = Healer(connector.options.source.conninfo(), connector.options.target.conninfo())
        self._healed_at = monotonic()

    def look(self, source: Session) -> bool:
        """One look; True if another one is due soon. Raises Halt."""
        with connect(
            self._connector.options.target.conninfo(), autocommit=True, application_name="widebeam-watch"
        ) as target:
            tables = _tables(target, self._connector)
            soon = sum(self._table(source, target, each, table) for each, table in tables) > 0
            self._dictionary(source)
            self._heal(target)
            return soon

    def _dictionary(self, source: Session) -> None:
        """Can the dictionary be read? Who needs it for no new id would notice late."""
        dictionary = self._connector.options.source.dictionary
        if dictionary is None:
            return
        query = sql.SQL("SELECT * FROM ({}) AS dictionary LIMIT 0").format(lookup.statement(dictionary.query))
        try:
            source.execute(query)
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise
            TROUBLES.hold(lookup.DICTIONARY, str(error).partition("\n")[0])
        else:
            TROUBLES.over(lookup.DICTIONARY)

    def _heal(self, target: Session) -> None:
        """What waits for the dictionary, once in a while."""
        if monotonic() - self._healed_at < HEAL_SECONDS:
            return
        self._healed_at = monotonic()
        connector = self._connector
        self._healer.look(target, connector.mapping(sources.load(target, connector.name)))

    def _table(self, source: Session, target: Session, recorded: Source, table: NarrowTable) -> bool:
        connector = self._connector
        if connector.growing and not _there(source, recorded.oid):
            self._forget(target, recorded)
            return False
        before = sources.facts(target, connector.name, table)
        now = checked(source, connector.publication, table, before)
        if before is None:
            sources.note_facts(target, connector.name, table, now)
            return False
        return self._partitions(source, target, table, before, now)

    def _partitions(self, source: Session, target: Session, table: NarrowTable, before: Facts, now: Facts) -> bool:
        """Take in what became of the tables that hold the rows; True while attached ones wait for their barrier."""
        new = facts.come(before, now)
        full = {oid: leaf for oid, leaf in new.items() if _holds_rows(source, oid, leaf)}
        ready = self._ready(source, target, table, full)
        known = now if ready else replace(now, leaves={oid: now.leaves[oid] for oid in now.leaves if oid not in full})
        rewritten = facts.rewritten(before, now)
        if facts.all_rewritten(before, now) and sources.truncated_since(target, self._connector.name, table, before.at):
            rewritten = {}  # the stream has told of it
        anew = (_rewritten(source, table, now, *each) for each in rewritten.items())
        told = [_gone(table, leaf) for leaf in facts.gone(before, now)] + [each for each in anew if each is not None]
        if known != before or told:
            if full and ready:
                source.execute("SET statement_timeout = 0")  # the ends of a partition may not be in an index
            self._write_down(source, target, table, (before, known), told, full if ready else {})
        return not ready

    def _ready(self, source: Session, target: Session, table: NarrowTable, full: dict[int, Leaf]) -> bool:
        """Whether nothing that is older than these partitions' attaching is on its way."""
        name = self._connector.name
        if not full:
            return True
        waiting = self._barriers.get(table.qualified)
        if waiting is None or waiting[0] != full.keys():
            for leaf in full.values():
                what = f"the partition {leaf.name} was attached with rows in it: they are being filled in"
                notices.add(target, name, Notice(table.qualified, "filling", leaf.name, what))
                _LOG.info("%s", what)
            mark = barrier.emit(source, f"attached to {table.qualified}")
            self._barriers[table.qualified] = (frozenset(full), mark)
            return False
        return barrier.passed(target, name, waiting[1])

    def _write_down(
        self,
        source: Session,
        target: Session,
        table: NarrowTable,
        change: tuple[Facts, Facts],
        told: list[Notice],
        full: dict[int, Leaf],
    ) -> None:
        """The facts, the notices, and the chunks of attached partitions, all or nothing."""
        name, backfill = self._connector.name, self._connector.options.backfill
        mapping = self._connector.mapping(sources.load(target, name))
        rule = next(rule for rule in mapping.rules if rule.table.qualified == table.qualified)
        plans = {
            chunks[0].reads: chunks  # where the whole table is to be read, once is enough
            for chunks in (
                plan_attached(source, rule, leaf.name, backfill.chunk_rows, self._connector.chunk_hours)
                for leaf in full.values()
            )
        }
        before, known = change
        with target.transaction():
            if not sources.note_facts(target, name, table, known, before):
                return  # a replay has gone back meanwhile: look again
            if plans:
                ledger.add(target, name, [chunk for chunks in plans.values() for chunk in chunks])
                hit(Failpoint.ATTACHED_PLANNED)
            notices.filled(target, name, table.qualified, [leaf.name for leaf in full.values()])
            for notice in told:
                _LOG.warning("%s", notice.what)
                notices.add(target, name, notice)
        if full:
            self._barriers.pop(table.qualified, None)

    def _forget(self, target: Session, recorded: Source) -> None:
        """A table of a growing family is gone: that is how old ones are done away with."""
        what = f"the table {recorded.qualified} is gone: what came from it stays in the wide tables"
        _LOG.warning("%s", what)
        notices.add(target, self._connector.name, Notice(recorded.qualified, "gone", recorded.qualified, what))
        sources.forget(target, self._connector.name, recorded)


def _there(source: Session, oid: int) -> bool:
    return source.execute("SELECT FROM pg_class WHERE oid = %s", [oid]).fetchone() is not None


def _holds_rows(source: Session, oid: int, leaf: Leaf) -> bool:
    """Whether there is a row; where we may not look, whether there is a page for one."""
    query = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(*TableName.of(leaf.name)))
    try:
        return source.execute(query).fetchone() == (True,)
    except errors.InsufficientPrivilege:
        return source.execute("SELECT pg_relation_size(%s) > 0", [oid]).fetchone() == (True,)


def _gone(table: NarrowTable, leaf: Leaf) -> Notice:
    what = (
        f"the partition {leaf.name} is no longer part of {table.qualified} (detached or dropped): what came from it "
        "stays in the wide tables"
    )
    return Notice(table.qualified, "gone", leaf.name, what)


def _rewritten(source: Session, table: NarrowTable, now: Facts, oid: int, leaf: Leaf) -> Notice | None:
    """What is to be said of a table whose rows are all gone or written anew. A TRUNCATE of the whole is an event."""
    if not _holds_rows(source, oid, leaf):
        if not now.partitioned:
            return None
        what = f"the partition {leaf.name} was truncated by itself: what came from it stays in the wide tables"
        return Notice(table.qualified, "gone", leaf.name, what)
    what = (
        f"{leaf.name} was written anew (VACUUM FULL, CLUSTER, an ALTER TABLE that rewrites, or TRUNCATE of it alone): "
        "if that changed values, no event told of it. `widebeam verify` says whether anything differs, and "
        "`widebeam resume --backfill-gap` mends it"
    )
    return Notice(table.qualified, "doubt", leaf.name, what)
