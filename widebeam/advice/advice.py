"""What does not stand in the way of a run, and costs its user time or disk sooner or later."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final, TypeAlias

import psycopg

from cdc.source import slot_waits
from cdc.source.session import connect
from sink.mapping.names import folded
from widebeam.advice.sample import without_reading
from widebeam.check.service import service
from widebeam.config.catalog import members
from widebeam.config.connector import Connector
from widebeam.counted import counted
from widebeam.finding import Finding
from widebeam.plan import time_index

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_SECONDS: Final = 10
_NAMED: Final = 3

_RELATIONS: Final = (
    "SELECT relname::text FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident(%s))"
    " AND relkind IN ('r', 'p', 'f', 'v', 'm', 'S', 'c') AND NOT relispartition ORDER BY 1"
)
_OF_CONNECTORS: Final = (
    "SELECT connector, table_name, ARRAY[view_name, group_view] FROM widebeam.tables WHERE schema_name = %s"
)


def advice(connector: Connector) -> list[Finding]:
    """Advice on both sides; none on one that cannot be reached, which the findings say."""
    source, target = connector.options.source, connector.options.target
    found = list[Finding]()
    for name, server, looks in (
        ("source", source, (no_time_index, unbounded_slot, idle_slot, absent_standbys, without_reading)),
        ("target", target, (taken_names,)),
    ):
        with suppress(psycopg.Error), connect(server.conninfo(), autocommit=True, connect_timeout=_SECONDS) as session:
            where = f"{name} ({server.shown})"
            found += [each._replace(where=where) for look in looks for each in look(session, connector)]
    return found


def no_time_index(session: Session, connector: Connector) -> Iterator[Finding]:
    """Chunks are ranges of the time: without an index that leads with its column, each reads the whole table."""
    for table in members(session, connector):
        times = table.time if connector.options.source.alternatives else table.time[:1]
        for each in time_index.lacking(session, table, times):
            if each.rows >= time_index.MANY:
                yield Finding(
                    f"no index of {each.table.text} begins with {each.time}: each chunk of the backfill, and each range"
                    f" of verify, reads all of its {each.rows:,.0f} rows",
                    "",
                    each.statement(session),
                )


def unbounded_slot(session: Session, _: Connector) -> Iterator[Finding]:
    """A connector that stands still holds WAL until the source's disk is full, unless that has a bound."""
    if session.execute("SHOW max_slot_wal_keep_size").fetchone() == ("-1",):
        yield Finding(
            "max_slot_wal_keep_size is -1: while nobody runs the connector, its slot holds WAL until the disk is full",
            "",
            _changed(
                session,
                "max_slot_wal_keep_size",
                "200GB",
                " choose what the disk can spare: beyond it the slot is lost",
            ),
        )


def idle_slot(session: Session, _: Connector) -> Iterator[Finding]:
    """PostgreSQL 18 can invalidate a slot that nobody has used for so long."""
    row = session.execute("SELECT setting FROM pg_settings WHERE name = 'idle_replication_slot_timeout'").fetchone()
    if row is not None and row[0] != "0":
        yield Finding(
            f"idle_replication_slot_timeout is {row[0]} s: a connector that is stopped for longer loses its slot, and"
            " only `widebeam resume --backfill-gap` goes on then",
            "",
            _changed(session, "idle_replication_slot_timeout", "0", " or longer than any stop may last"),
        )


def absent_standbys(session: Session, connector: Connector) -> Iterator[Finding]:
    """A slot that is copied to standbys sends nothing before those that are named have it."""
    if not connector.options.source.failover:
        return
    for said in slot_waits.absent(session, connector.slot):
        what, _, way_out = said.partition(". ")
        yield Finding(what, "", way_out)


def taken_names(session: Session, connector: Connector) -> Iterator[Finding]:
    """A wide table whose name somebody else has gets another one, which its readers have to know."""
    schema = connector.options.target.wide_schema
    owners, ours = dict[str, str | None](), set[str]()
    relations = [name for (name,) in session.execute(_RELATIONS, [schema])]
    if relations and session.execute("SELECT to_regclass('widebeam.tables') IS NOT NULL").fetchone() == (True,):
        for owner, table, views in session.execute(_OF_CONNECTORS, [schema]):
            owners[table] = None  # its view's name is the one that an entity has
            owners.update((view, owner) for view in views if view is not None)
            ours.update((table, *views) if owner == connector.name else ())
    single = connector.layout == "single"
    if single and ours:
        return  # what it is called is settled
    others = {name: owners.get(name, "") for name in relations if name not in ours}
    taken = _fitting(connector.wide_name, (name for name, owner in others.items() if owner is not None))
    if taken:
        named = [f"{name} (of {others[name] or 'no connector'})" for name in taken[:_NAMED]]
        more = f" and {counted(len(taken) - _NAMED, 'name')} more" if len(taken) > _NAMED else ""
        whose = "the wide table" if single else "the wide table of an entity of that name"
        yield Finding(
            f"the schema {schema} has {', '.join(named)}{more}: {whose} gets another name (`widebeam plan` says which)",
            "",
            f"set another `schema` or `name` in [target] of {connector.file}",
        )


def _fitting(template: str, names: Iterable[str]) -> list[str]:
    """Those of the names that the template gives for some entity."""
    wanted = re.compile(".+".join(re.escape(folded(each)) for each in template.split("{entity}")), re.DOTALL)
    return [name for name in names if wanted.fullmatch(folded(name))]


def _changed(session: Session, name: str, value: str, more: str) -> str:
    managed = service(session)
    if managed is None:
        return f"ALTER SYSTEM SET {name} = '{value}'; SELECT pg_reload_conf(); --{more}"
    return f"set {name} = {value} in {managed.place}:{more}"
