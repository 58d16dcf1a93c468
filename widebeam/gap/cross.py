"""Crossing a gap: the old stream is over, a new one begins with a slot and a cutoff of its own.

In this order, each step safe to be done again after a crash; until the last one nothing runs (`settings.gap` says so):
1. All that belongs to the old stream is fenced, in one transaction: another generation (capture, and records in the
   log), another epoch (sinks), other numbers of the chunks that are still to be merged (backfill workers).
2. Topic, narrow tables and publication are taken as they are now, and mended where they can be; the mapping, too, where
   another one may hold from here on (widebeam/gap/remapping.py).
3. The slot is made anew. Its cutoff C' is above all commits that the old stream has not brought.
4. Rows keep their values, and get a `_lsn` of C' at most: positions of another history may be higher.
5. Ranges of all narrow tables are planned, to be compared and set by the backfill's workers (widebeam.gap.repair),
   behind the gate of C'. The halt is forgotten.

Before all of that it is counted which cells the source has no value for (widebeam/gap/clearing.py): they are cleared
only if somebody agrees.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import sql
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from cdc.failpoint import Failpoint, hit
from cdc.lsn import Lsn
from cdc.patience import SECONDS, bounded
from cdc.source import publication, slot
from cdc.source.described import describe
from cdc.source.narrow import NarrowTable
from cdc.source.session import connect
from sink.mapping.names import LSN_COLUMN
from sink.state import sources
from sink.views import comments
from sink.wide import build, tables
from sink.wide.registry import Registry
from snapshot.chunks import ledger
from snapshot.chunks.repair import EVERY_TABLE
from widebeam.config.config import ConfigError
from widebeam.config.connector import Connector
from widebeam.gap import clearing, fence
from widebeam.gap.clearing import WouldClear
from widebeam.gap.remapping import note, remapping
from widebeam.setup import survey, zone_rules
from widebeam.setup.drop import StillRunning
from widebeam.state import halts, recorded
from widebeam.state.lock import alone
from widebeam.state.recorded import Recorded
from widebeam.state.refusals import half_dropped, refuse

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOG: Final = logging.getLogger(__name__)


class Crossed(NamedTuple):
    """The new stream's cutoff, and how many ranges are to be compared."""

    cutoff: Lsn
    ranges: int


Agree: TypeAlias = "Callable[[WouldClear], None]"
"""Asked before cells are cleared that the source has no value for; raises where they may not be."""


def cross(connector: Connector, agree: Agree | None = None) -> Crossed:
    """Cross the gap; without `agree` nobody is asked, nor is it counted what will be cleared.

    Raises Halt for what this cannot mend, ConfigError, StillRunning, LockHeld, and what `agree` raises.
    """
    with _opened(connector) as (target, source, found):
        changed, tables = remapping(source, target, connector, found)
        if agree is not None and (loss := clearing.foreseen(source, target, connector, tables)) is not None:
            agree(loss)
        fence.fence(target, connector)
        hit(Failpoint.GAP_FENCED)
        fence.skip_log(target, connector, found)
        hit(Failpoint.GAP_TOPIC_TAKEN)
        _tables(source, target, connector)
        note(target, connector, changed)
        _publication(source, target, connector, found)
        hit(Failpoint.GAP_PUBLISHED)
        survey.accept(source, target, connector)
        zone_rules.note(target, connector)
        cutoff = _slot(source, target, connector)
        hit(Failpoint.GAP_CUTOFF_NOTED)
        _rebase(target, connector, cutoff.lsn)
        hit(Failpoint.GAP_REBASED)
        count = _plan(source, target, connector)
        _LOG.info("the cutoff is %s; %d ranges are to be compared", cutoff.lsn, count)
        return Crossed(cutoff.lsn, count)


def foresee(connector: Connector) -> WouldClear | None:
    """What crossing would clear; nothing is changed."""
    with _opened(connector) as (target, source, found):
        return clearing.foreseen(source, target, connector, remapping(source, target, connector, found).tables)


@contextmanager
def _opened(connector: Connector) -> Iterator[tuple[Session, Session, Recorded]]:
    """Sessions with target and source, and what is recorded, once nobody else is at it."""
    options, name = connector.options, "widebeam-resume"
    with (
        connect(options.target.conninfo(), autocommit=True, application_name=name) as target,
        connect(options.source.conninfo(), autocommit=True, application_name=name) as source,
        alone(target, connector.name),
        bounded(f"going over the gap of {connector.name}", target, source),
    ):
        found = _recorded(target, connector)
        _refuse_running(source, connector)
        yield target, source, found


def _recorded(target: Session, connector: Connector) -> Recorded:
    """The connector, set up or in the middle of this."""
    found = recorded.load(target, connector.name)
    if found is None or not ((found.cutoff and found.planned) or found.settings.get("gap")):
        raise ConfigError([f"connector {connector.name} was never set up: `widebeam run {connector.name}` does that"])
    refuse(half_dropped(found, connector))
    recorded.refuse_changes(found, connector, read_again=True)
    return found


def _refuse_running(source: Session, connector: Connector) -> None:
    state = slot.inspect(source, connector.slot)
    if state is not None and state.active_pid is not None:
        raise StillRunning(
            f"{slot.holder(source, connector.slot, state.active_pid)}: stop `widebeam run` or `capture` first"
        )


def _tables(source: Session, target: Session, connector: Connector) -> None:
    """The narrow tables by their names: after a restore they are others. Their columns' types have to be the same."""
    for each in sources.load(target, connector.name):
        table = connector.family.narrow(each.schema, each.name)
        if table is not None:
            now = describe(source, table)
            known = each.types.keys() & now.types.keys()
            same = all(each.types[name] in (now.types[name], now.declared[name]) for name in known)
            if same and now.oid != each.oid:
                target.execute(_OID, [now.oid, connector.name, each.schema, each.name])
            if same and not now.types.keys() <= each.types.keys():  # another mapping has other columns
                sources.note_types(target, connector.name, each, now.types)


def _published(target: Session, connector: Connector) -> list[NarrowTable]:
    found = [connector.family.narrow(each.schema, each.name) for each in sources.load(target, connector.name)]
    return [table for table in found if table is not None]


def _publication(source: Session, target: Session, connector: Connector, found: Recorded) -> None:
    """All tables are published, before the slot is made: it decodes by the catalog as it was at each commit."""
    wanted, name = _published(target, connector), connector.publication
    if publication.inspect(source, name, wanted[0]) is None and found.settings.get("made_publication"):
        publication.create(source, name, *wanted)
    for table in wanted:
        state = publication.inspect(source, name, table)
        if state is not None and not state.covers:
            _retrying()(publication.add, source, name, table)  # by short waits: its writers queue behind each
            state = publication.inspect(source, name, table)
        if state is not None and state.lacks_columns and found.settings.get("made_publication"):  # a mapping's new ones
            _retrying()(publication.add_columns, source, name, table)
            state = publication.inspect(source, name, table)
        publication.check(name, state, table)


def _retrying() -> Retrying:
    return Retrying(
        retry=retry_if_exception_type(psycopg.errors.LockNotAvailable),
        stop=stop_after_delay(SECONDS),
        wait=wait_fixed(0.2),
        reraise=True,
    )


def _slot(source: Session, target: Session, connector: Connector) -> slot.Cutoff:
    """Make the slot anew, and record it with its history. One that a crash left unrecorded goes with the old one."""
    dsn = connector.options.source.conninfo()
    slot.drop_unfinished(source, connector.slot)
    history = slot.incarnation(dsn)
    _LOG.info("making the slot %s: this waits for the transactions that write just now", connector.slot)
    cutoff = slot.create(dsn, connector.slot, failover=connector.options.source.failover)
    hit(Failpoint.GAP_SLOT_MADE)
    target.execute(_CUTOFF, [str(cutoff.lsn), cutoff.snapshot, history.system_id, history.timeline, connector.name])
    return cutoff


def _rebase(target: Session, connector: Connector, cutoff: Lsn) -> None:
    """Rows of the old stream count as from before every later truncate."""
    registry = Registry(connector.mapping(sources.load(target, connector.name)))
    registry.refresh(target)
    registry.check(target)
    for view, entity in {part.view: registry.entities[part.entity] for part in registry.parts}.items():
        if target.execute(_THERE, [registry.parts[0].schema, view]).fetchone() is None:  # it went with a column
            for statement in build.shown(registry.mapping, entity, view):
                target.execute(statement)
            for _, comment in comments.on_view(registry.mapping, entity, view):
                target.execute(comment)
    for part in registry.parts:
        target.execute(
            sql.SQL("UPDATE {0} SET {1} = %(cutoff)s::pg_lsn WHERE {1} > %(cutoff)s::pg_lsn").format(
                tables.relation(part), sql.Identifier(LSN_COLUMN)
            ),
            {"cutoff": str(cutoff)},
        )


def _plan(source: Session, target: Session, connector: Connector) -> int:
    """Write the ranges down, and open the way."""
    mapping = connector.mapping(sources.load(target, connector.name))
    chunks = [each._replace(source=EVERY_TABLE) for each in clearing.compared(source, connector, mapping)]
    with target.transaction():
        ledger.add(target, connector.name, chunks)
        hit(Failpoint.GAP_PLANNED)
        target.execute(_OPEN, [connector.name])
        target.execute(_GATES, [connector.name])
        halts.clear(target, connector.name)
        fence.audit(target, connector, "resume --backfill-gap", {"ranges": len(chunks)})
    return len(chunks)


_THERE: Final = "SELECT FROM pg_views WHERE schemaname = %s AND viewname = %s"
_OID: Final = "UPDATE widebeam.sources SET oid = %s WHERE connector = %s AND schema_name = %s AND table_name = %s"
_CUTOFF: Final = (
    "UPDATE widebeam.connectors SET cutoff = %s, cutoff_snapshot = %s, system_id = %s, timeline = %s"
    " WHERE connector = %s"
)
# All tables were published before the slot was made: the connector's own gate holds for them.
_GATES: Final = "UPDATE widebeam.sources SET gate_lsn = '0/0' WHERE connector = %s"
_OPEN: Final = "UPDATE widebeam.connectors SET planned_at = now(), settings = settings - 'gap' WHERE connector = %s"
