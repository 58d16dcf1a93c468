"""Wide tables from before views were joined to their first parts: each row of a later part gets one there, portion by
portion beside the stream. Then the views change over. Until that they read the keys of all parts.

Nothing is written down on the way: begun anew, it finds what is there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from threading import Event
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from sink.mapping.mapping import Mapping
from sink.mapping.names import BARE, LSN_COLUMN
from sink.mapping.wide import Entity, Part
from sink.views import kept
from sink.wide import ddl_lock, tables
from sink.wide.partitions import days_in
from sink.wide.registry import Registry

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOG: Final = logging.getLogger(__name__)
_ROWS: Final = 20_000
"""Rows in a transaction: a sink waits for one of them at most so long."""


def bring_along(target: Connection, registry: Registry, stop: Event) -> bool:
    """Bring all of them along, and change their views over; False where `stop` is set, or a reader is in the way.

    Then it is to be called again. `target` is in autocommit.
    """
    registry.refresh(target)
    for entity in registry.entities.values():
        bases = entity.bases()
        behind = [part for number, part in sorted(entity.parts.items()) if not part.in_base and bases[number]]
        for part in behind:
            for number in sorted(bases[part.number]):
                if any(stop.is_set() for _ in _portions(target, registry, part, entity.parts[number])):
                    return False
        if behind and not _change_over(target, registry, entity):
            return False
    return True


def _portions(target: Connection, registry: Registry, part: Part, base: Part) -> Iterator[int]:
    """Rows of `part` that have one in `base` by now, transaction by transaction."""
    mapping = registry.mapping
    texts = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier("part", name)) for name in mapping.key_types)
    last, count = tuple[str, ...](), 0
    while True:
        some = _some(mapping, part, last)
        keys = target.execute(sql.SQL("SELECT {} {}").format(texts, some)).fetchall()
        if not keys:
            break
        registry.cover(target, partial(dict, {base: days_in(mapping, keys)}))
        target.execute(_portion(mapping, base, some))
        last, count = keys[-1], count + len(keys)
        yield count
    _LOG.info("%d rows of %s have one in %s", count, part.table, base.table)


def _some(mapping: Mapping, part: Part, last: tuple[str, ...]) -> sql.Composed:
    """FROM and all behind it for the rows that follow the key `last`."""
    key = sql.SQL(", ").join(sql.Identifier("part", name) for name in mapping.key_types)
    after: sql.Composable = sql.SQL("")
    if last:
        typed = zip(last, mapping.key_types.values(), strict=True)
        values = (sql.SQL("{}::{}").format(sql.Literal(value), tables.type_name(of)) for value, of in typed)
        after = sql.SQL("WHERE ({}) > ({})").format(key, sql.SQL(", ").join(values))
    form = sql.SQL("FROM {} AS part {} ORDER BY {} LIMIT {}")
    return form.format(tables.relation(part), after, key, sql.Literal(_ROWS))


def _portion(mapping: Mapping, base: Part, some: sql.Composed) -> sql.Composed:
    """They get a row in the base. They stay while it runs: a sink that deletes one waits, and then finds what to do."""
    return sql.SQL(
        "WITH found AS MATERIALIZED (SELECT {key} {some} FOR KEY SHARE)"
        " INSERT INTO {base} ({key}, {lsn}) SELECT {key}, {bare} FROM found ORDER BY {key} ON CONFLICT DO NOTHING"
    ).format(
        key=tables.names(mapping.key_types),
        some=some,
        base=tables.relation(base),
        lsn=sql.Identifier(LSN_COLUMN),
        bare=sql.Literal(BARE),
    )


def _change_over(target: Connection, registry: Registry, entity: Entity) -> bool:
    """Its views join the parts to the first one; what their owners gave them stays. Whether nobody was in the way."""
    try:
        with target.transaction():
            ddl_lock.take(target)
            target.execute(_IN_BASE, [registry.mapping.connector, entity.identity])
            registry.refresh(target)
            schema = registry.mapping.schema
            shown = dict.fromkeys(view for part in entity.parts.values() for view in part.views)
            options = kept.options(target, schema, shown)
            for view in shown:
                target.execute(tables.create_view(registry.mapping, entity, view, options.get(view, ())))
    except ddl_lock.CLASH as error:
        _LOG.info("the views of %s are in use, and change over later: %s", entity.view, error)
        registry.refresh(target)
        return False
    _LOG.info("the views of %s read the keys of their first part alone", entity.view)
    return True


_IN_BASE: Final = "UPDATE widebeam.tables SET in_base = true WHERE (connector, entity) = (%s, %s) AND NOT in_base"
