"""The narrow tables in the source's catalog: which there are, and of which types their columns are."""

from __future__ import annotations

import logging
from typing import Any, Final, TypeAlias

import psycopg

from cdc.halt import ANEW, OVER_THE_GAP, Cause, Halt
from cdc.lsn import Lsn
from cdc.source.described import Described, describe
from cdc.source.narrow import NarrowTable
from sink.mapping.family import Family, Source
from sink.mapping.rule import Rule
from sink.state.sources import load as recorded_sources
from widebeam.config.connector import Connector

__all__ = ["Described", "alike", "check", "describe", "members", "narrow_tables", "sources", "unjoined"]

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOG: Final = logging.getLogger(__name__)
_TABLES: Final = """
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname = ANY(%s) ORDER BY 1, 2
"""


def narrow_tables(source: Session, connector: Connector) -> list[NarrowTable]:
    """The connector's tables as they are now: those named whole, there or not, and those that match a pattern."""
    named = [each for each in connector.patterns if "%" not in each.name or not connector.growing]
    schemas = [each.schema for each in connector.patterns if "%" in each.name and connector.growing]
    found = source.execute(_TABLES, [schemas]).fetchall() if schemas else []
    names = dict.fromkeys([*named, *found])
    tables = (connector.family.narrow(schema, name) for schema, name in names)
    return [table for table in tables if table is not None]


def members(source: Session, connector: Connector) -> list[NarrowTable]:
    """The narrow tables, without those that only match a pattern and lack a column: a run passes over them, too."""
    found = []
    for table in narrow_tables(source, connector):
        try:
            if connector.growing and table.table_name not in connector.patterns:
                describe(source, table)
        except Halt:
            continue
        found.append(table)
    return found


def sources(source: Session, connector: Connector) -> list[Source]:
    """Look the tables up; a Halt if one that is named whole, or a mapped column of it, is gone, or if there is none.

    A table that only matches a pattern, and lacks a column, is none of ours.
    """
    found = []
    for table in narrow_tables(source, connector):
        try:
            described = describe(source, table)
        except Halt as halt:
            if not connector.growing or table.table_name in connector.patterns:
                raise
            _LOG.warning("passed over: %s", halt.what)
            continue
        found.append(Source(table.schema, table.name, described.oid, described.types, Lsn(0)))
    if not found:
        raise Halt(
            Cause.RELATION_CHANGED,
            f"no table matches {', '.join(map(str, connector.patterns))}",
            f"Make one, or set `tables` in [source] of {connector.file}.",
        )
    return found


def unjoined(source: Session, target: Session, connector: Connector) -> list[NarrowTable]:
    """The tables that belong and are not published yet. (One that lacks a column only matches a pattern.)"""
    published = {each.qualified for each in recorded_sources(target, connector.name) if each.gate is not None}
    new = [table for table in narrow_tables(source, connector) if table.qualified not in published]
    return [table for table in new if _whole(source, table)]


def _whole(source: Session, table: NarrowTable) -> bool:
    try:
        describe(source, table)
    except Halt:
        return False
    return True


def check(found: Described, recorded: Source, table: NarrowTable) -> None:
    """The table is the one that was recorded, with the same types; else a Halt."""
    if found.oid != recorded.oid:
        raise Halt(
            Cause.RELATION_CHANGED,
            f"{table.qualified} is another table than the one that was mapped (oid {found.oid}, it was {recorded.oid})",
            f"Rename the old table back, or go on with this one: {OVER_THE_GAP}",
        )
    changed = [
        f"{column} was {recorded.types[column]} and is {found.types[column]}"
        for column in table.columns
        if column in recorded.types and recorded.types[column] not in (found.types[column], found.declared[column])
    ]
    if changed:
        raise Halt(Cause.RELATION_CHANGED, f"column types of {table.qualified} changed: {', '.join(changed)}", ANEW)


def alike(connector: Connector, family: Family, found: list[Source]) -> None:
    """All tables have the same types of time and real entity: else their rows cannot share wide tables."""
    rules = [
        family.rule(table, each.types) for each in found if (table := family.narrow(each.schema, each.name)) is not None
    ]
    for rule in rules:
        if rule.time.either:
            _one_kind(connector, rule)
            continue
        if rule.time.zone is not None and rule.time.zoned:
            raise Halt(
                Cause.RELATION_CHANGED,
                f"{rule.table.qualified}.{rule.table.time[0]} is a timestamp with time zone already",
                f"Leave `time_zone` out of [source] of {connector.file}.",
            )
        if rule.time.bucket_zone is not None and rule.time.form == "native" and not (rule.time.zoned or rule.time.zone):
            raise Halt(
                Cause.RELATION_CHANGED,
                f"{rule.table.qualified}.{rule.table.time[0]} is a timestamp without time zone, which has no place in "
                f"the days of {rule.time.bucket_zone}",
                f"Set `time_zone` in [source] of {connector.file}: the zone whose clocks the column shows.",
            )
    for rule in rules[1:]:
        first, other = ({**each.entity_types, **each.time_types} for each in (rules[0], rule))
        if first != other:
            raise Halt(
                Cause.RELATION_CHANGED,
                f"{rule.table.qualified} has {other} where {rules[0].table.qualified} has {first}",
                f"They cannot fill the same wide tables: map them by connectors of their own ({connector.file}).",
            )


def _one_kind(connector: Connector, rule: Rule) -> None:
    """Where the time is in one of several columns, all of them mean moments, or none of them does."""
    zone, names = rule.time.zone, rule.table.time
    native = [name for name, each in zip(names, rule.time.either, strict=True) if each.form == "native"]
    zoned = [name for name in native if rule.types[name].endswith("with time zone")]
    local = [name for name in native if name not in zoned]
    moments = [name for name in names if name not in local]
    if zone is not None and zoned:
        what, way = f"{zoned[0]} is a timestamp with time zone already", "Leave `time_zone` out of"
    elif zone is None and local and (moments or rule.time.bucket_zone is not None):
        beside = moments[0] if moments else f"the days of {rule.time.bucket_zone}"
        what, way = f"{local[0]} is a {rule.types[local[0]]}, which has no place beside {beside}", "Set `time_zone` in"
    else:
        return
    more = "." if way.startswith("Leave") else f": the zone whose clocks {local[0]} shows."
    remedy = f"{way} [source] of {connector.file}{more}"
    if zone is not None and local:
        remedy = f"Alter {zoned[0]} or {', '.join(local)}, so that all are of one kind."
    raise Halt(Cause.RELATION_CHANGED, f"of the times of {rule.table.qualified}, {what}", remedy)
