"""What stands in the way of a connector that is made already: what is written down of it, held against what is there.

A new connector has its own: a slot of its name that its target knows nothing of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import psycopg

from cdc.halt import OVER_THE_GAP, Cause, Halt
from cdc.source import publication, slot, slot_waits
from cdc.source.session import SharedSession, connect_to_read
from sink.state import sources
from sink.wide.registry import Registry
from widebeam.config import catalog
from widebeam.config.config import ConfigError
from widebeam.config.connector import Connector
from widebeam.finding import Finding
from widebeam.state import halts, recorded
from widebeam.state.recorded import Recorded
from widebeam.state.twins import twins

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_SECONDS: Final = 10
_FILE: Final = "configuration"


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
        yield from _foreign(source, connector)
        for twin in twins(target, connector):
            what, _, way_out = twin.partition(": ")
            yield Finding(what, _FILE, way_out)
        return
    yield from _unfinished(found, connector)
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
    for look, where in ((_slot, "source"), (_publication, "source"), (_tables, "source"), (_wide, "target")):
        try:
            look(source, target, connector, found)
        except Halt as amiss:
            yield _as_finding(amiss.name(connector.name), where)


def _as_finding(halt: Halt, where: str) -> Finding:
    return Finding(halt.what, where, halt.remedy)


def _foreign(source: Session, connector: Connector) -> Iterator[Finding]:
    """A slot that is there before its connector belongs to somebody else, or to a connector by another name."""
    if slot.inspect(source, connector.slot) is not None:
        yield Finding(
            f"the slot {connector.slot} exists, but the target knows no connector {connector.name}",
            "source",
            f"set another `slot` in [source] of {connector.file}, or, if nobody needs that one: "
            f"SELECT pg_drop_replication_slot('{connector.slot}');",
        )


def _unfinished(found: Recorded, connector: Connector) -> Iterator[Finding]:
    """What was begun by another command is ended by that one."""
    for step, what, command in (
        ("dropping", "is half dropped", "drop {}"),
        ("gap", "has a gap that is half crossed", "resume {} --backfill-gap"),
    ):
        if found.settings.get(step):
            said = f"`widebeam {command.format(connector.name)}` goes on"
            yield Finding(f"connector {connector.name} {what}", _FILE, said)


def _slot(source: Session, target: Session, connector: Connector, found: Recorded) -> None:
    state = slot.inspect(source, connector.slot)  # before the record: a capture at work moves both, the slot later
    slot.check(connector.slot, state, (recorded.load(target, connector.name) or found).position)


def _publication(source: Session, target: Session, connector: Connector, _: Recorded) -> None:
    for each in sources.load(target, connector.name):
        table = connector.family.narrow(each.schema, each.name)
        if table is None or each.gate is None:
            continue
        publication.check(connector.publication, publication.inspect(source, connector.publication, table), table)
        publication.check_covers(source, connector.publication, table)


def _tables(source: Session, target: Session, connector: Connector, _: Recorded) -> None:
    for each in sources.load(target, connector.name):
        table = connector.family.narrow(each.schema, each.name)
        if table is None:
            continue
        try:
            described = catalog.describe(source, table)
        except Halt as halt:
            if connector.growing:  # one of a growing family may be gone: its history stays where it is
                continue
            raise Halt(Cause.RELATION_CHANGED, halt.what, halt.remedy or OVER_THE_GAP) from None
        catalog.check(described, each, table)


def _wide(_: Session, target: Session, connector: Connector, __: Recorded) -> None:
    Registry(connector.mapping(sources.load(target, connector.name))).check(target)
