"""Another mapping over a gap: another time, filter or order for the same wide tables.

Every range is compared and mended by the new one anyway. So what stands in its way is refused before anything is
fenced, and what is written down of the mapping is changed while nothing runs.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg.types.json import Jsonb

from cdc.halt import CONNECTOR, Cause, Halt
from cdc.source import publication
from cdc.source.described import describe
from cdc.source.identity import identities
from cdc.source.identity_remedy import remedy
from cdc.source.narrow import NarrowTable
from sink.mapping.family import Source
from sink.mapping.rule import Rule
from sink.state import sources
from widebeam.config import catalog, language
from widebeam.config.config import ConfigError
from widebeam.config.connector import Connector
from widebeam.gap import fence
from widebeam.state import recorded
from widebeam.state.recorded import READ_AGAIN, Recorded

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class Remapping(NamedTuple):
    """The options that are others than they were, and the narrow tables as they will be written down."""

    changed: list[str]
    tables: list[Source]


def remapping(source: Session, target: Session, connector: Connector, found: Recorded) -> Remapping:
    """What is another than it was. Raises Halt or ConfigError where that cannot be."""
    changed = [option for option, _ in recorded.changes(found, connector) if option in READ_AGAIN]
    tables = sources.load(target, connector.name)
    if not changed:
        return Remapping([], tables)
    _refuse_outliving(connector, changed)
    now: list[Source] = []
    name = next(iter(found.settings.get("time") or ()), None)
    for before in tables:
        table = connector.family.narrow(before.schema, before.name)
        if table is not None:
            described = describe(source, table)
            now.append(before._replace(types=described.types, wide_time=before.wide_time or name))
            _refuse_unheld(source, connector, table, found)
            _refuse_other_type(connector, found, before, connector.family.rule(table, described.types))
    catalog.alike(connector, connector.family, now)
    return Remapping(changed, now)


def note(target: Session, connector: Connector, changed: list[str]) -> None:
    """Write the mapping down as it is now. The wide time column keeps its name.

    Nothing is left in the quarantine of what was read by the one from before: each row is read again, and one that
    still has no place gets an entry anew.
    """
    if not changed:
        return
    row = recorded.load(target, connector.name)
    given = recorded.settings(connector)
    with target.transaction():
        if row is not None and row.settings.get("time"):
            sources.name_time(target, connector.name, row.settings["time"][0])
        target.execute(
            _NOTE, [sorted(READ_AGAIN), Jsonb({n: given[n] for n in READ_AGAIN if n in given}), connector.name]
        )
        entries = target.execute(_FORGET, [connector.name]).rowcount
        fence.audit(target, connector, "another mapping", {"changed": changed, "entries": entries})


def _refuse_outliving(connector: Connector, changed: list[str]) -> None:
    sink = connector.options.sink
    if "ignore" in (sink.on_delete, sink.on_truncate):
        raise ConfigError(
            [
                f'{connector.file}: `{changed[0]}` changed, and with on_delete or on_truncate = "ignore" nobody can '
                "tell readings that moved from those that outlive their rows: set it back, or "
                f"`widebeam drop {connector.name}` and run it anew"
            ]
        )


def _refuse_unheld(source: Session, connector: Connector, table: NarrowTable, found: Recorded) -> None:
    """Old rows say all columns that name a cell, and the publication brings those that it needs."""
    for identity in identities(source, table):
        if not identity.holds(table):
            raise Halt(
                Cause.REPLICA_IDENTITY,
                f"the replica identity of {identity.table} does not say which cell it means by the new mapping: "
                f"{', '.join(table.cell)}",
                f"{remedy(source, table, identity)} Then `widebeam resume {CONNECTOR} --backfill-gap`.",
            )
    state = publication.inspect(source, connector.publication, table)
    if state is not None and state.covers and state.lacks_columns and not found.settings.get("made_publication"):
        raise Halt(
            Cause.NOT_PUBLISHED,
            f"publication {connector.publication} lacks {', '.join(state.lacks_columns)} of {table.qualified}",
            f"Publish them: it was not made by us. Then `widebeam resume {CONNECTOR} --backfill-gap`.",
        )


def _refuse_other_type(connector: Connector, found: Recorded, before: Source, rule: Rule) -> None:
    """The wide tables' time stays of its type."""
    given = connector.options.source
    past = {name: found.settings.get(name, type(given).model_fields[name].default) for name in _OF_TIME}
    source = given.model_copy(update=past)
    was = language.rule(source, language.narrow(source, before.schema, before.name), before.types)
    types, others = ([*each.time_types.values()] for each in (was, rule))
    if types != others:
        raise ConfigError(
            [
                f"{connector.file}: the wide tables' time would be a {' and a '.join(others) or 'nothing'}, and is a "
                f"{' and a '.join(types) or 'nothing'}: set `time` back, or `widebeam drop {connector.name}` and run "
                "it anew"
            ]
        )


_OF_TIME: Final = ("time", "time_form", "time_zone", "time_bucket")
_NOTE: Final = "UPDATE widebeam.connectors SET settings = (settings - %s::text[]) || %s WHERE connector = %s"
# Rows that met where none are to are no matter of the mapping: nobody enters them again.
_FORGET: Final = "DELETE FROM widebeam.quarantine WHERE connector = %s AND raw LIKE '{%%' AND reason <> 'crowded_cell'"
