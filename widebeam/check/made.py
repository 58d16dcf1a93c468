"""What stands in the way of a connector that is made already: what is written down of it, held against what is there.

A new connector has its own: a slot of its name that its target knows nothing of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from cdc.halt import OVER_THE_GAP, Cause, Halt
from cdc.source import publication, slot, slot_waits
from cdc.source.narrow import NarrowTable
from cdc.source.session import SharedSession, connect_to_read
from sink.mapping.family import Source
from sink.state import sources
from sink.wide.registry import Registry
from widebeam.config import catalog
from widebeam.config.config import ConfigError
from widebeam.config.connector import Connector
from widebeam.finding import Finding
from widebeam.state import halts, recorded
from widebeam.state.recorded import Recorded
from widebeam.state.refusals import Refusal, foreign_slot, unfinished
from widebeam.state.twins import twins

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_SECONDS: Final = 10
_FILE: Final = "configuration"


class _Made(NamedTuple):
    """A connector with its two sides and all that is written down of it."""

    source: Session
    target: Session
    connector: Connector
    found: Recorded
    tables: list[Source]

    def mapped(self) -> Iterator[tuple[Source, NarrowTable]]:
        """The narrow tables that are written down and that the mapping still has."""
        for each in self.tables:
            table = self.connector.family.narrow(each.schema, each.name)
            if table is not None:
                yield each, table


def made_findings(connector: Connector) -> list[Finding]:
    """What a run would refuse by what is written down; nothing where a server is away, which other checks say."""
    source, target = connector.options.source.conninfo(), connector.options.target.conninfo()
    try:
        with (
            connect_to_read(source, connect_timeout=_SECONDS) as one,
            connect_to_read(target, connect_timeout=_SECONDS) as other,
        ):
            return list(_findings(one, other, connector))
    except (psycopg.OperationalError, SharedSession):
        return []


def _findings(source: Session, target: Session, connector: Connector) -> Iterator[Finding]:
    try:
        found = recorded.load(target, connector.name)
    except ConfigError:
        return  # a newer Widebeam has made the control schema: the target's checks say so
    if found is None:
        if slot.inspect(source, connector.slot) is not None:
            yield _shown(foreign_slot(connector), "source")
        for twin in twins(target, connector):
            what, _, way_out = twin.partition(": ")
            yield Finding(what, _FILE, way_out)
        return
    yield from (_shown(each, _FILE) for each in unfinished(found, connector))
    for _, mistake in recorded.changes(found, connector):
        what, _, way_out = mistake.rpartition("; ")
        yield Finding(what, _FILE, way_out)
    halt = halts.recorded(target, connector.name)
    if halt is not None:
        yield _as_finding(halt.name(connector.name), f"halt ({halt.cause.value})")
        return  # what the rest would say follows from it
    if found.cutoff is None:
        return
    for said in slot_waits.standbys(source, connector.slot):
        what, _, way_out = said.partition(". ")
        yield Finding(what, "source", way_out)
    made = _Made(source, target, connector, found, sources.load(target, connector.name))
    for look, where in ((_slot, "source"), (_publication, "source"), (_tables, "source"), (_wide, "target")):
        try:
            look(made)
        except Halt as amiss:
            yield _as_finding(amiss.name(connector.name), where)


def _shown(refusal: Refusal, where: str) -> Finding:
    return Finding(refusal.what, where, refusal.way_on)


def _as_finding(halt: Halt, where: str) -> Finding:
    return Finding(halt.what, where, halt.remedy)


def _slot(made: _Made) -> None:
    name = made.connector.slot
    state = slot.inspect(made.source, name)  # before the record: a capture at work moves both, the slot later
    slot.check(name, state, (recorded.load(made.target, made.connector.name) or made.found).position)


def _publication(made: _Made) -> None:
    name = made.connector.publication
    for each, table in made.mapped():
        if each.gate is not None:
            publication.check(name, publication.inspect(made.source, name, table), table)
            publication.check_covers(made.source, name, table)


def _tables(made: _Made) -> None:
    for each, table in made.mapped():
        try:
            described = catalog.describe(made.source, table)
        except Halt as halt:
            if made.connector.growing:  # one of a growing family may be gone: its history stays where it is
                continue
            raise Halt(Cause.RELATION_CHANGED, halt.what, halt.remedy or OVER_THE_GAP) from None
        catalog.check(described, each, table)


def _wide(made: _Made) -> None:
    Registry(made.connector.mapping(made.tables)).check(made.target)
