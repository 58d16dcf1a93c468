"""Wide views from before their columns had comments get them, beside the stream: neither readers nor writers wait.

Nothing is written down on the way: a view is behind whose first column has none. What somebody said of a column stays.
"""

from __future__ import annotations

import logging
from threading import Event
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from sink.mapping.wide import Entity
from sink.views import comments
from sink.wide import ddl_lock
from sink.wide.registry import Registry

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOG: Final = logging.getLogger(__name__)


def bring_along(target: Connection, registry: Registry, stop: Event) -> bool:
    """Comment on all columns without a word; False where `stop` is set, or somebody is in the way.

    Then it is to be called again. `registry` knows what there is; `target` is in autocommit.
    """
    views = {view: registry.entities[part.entity] for part in registry.parts for view in part.views}
    try:
        for view in comments.bare(target, registry.mapping.schema, views):
            if stop.is_set():
                return False
            _comment(target, registry, views[view], view)
    except (*ddl_lock.CLASH, psycopg.errors.InsufficientPrivilege) as error:
        _LOG.info("comments on the columns of some views have to wait: %s", error)
        return isinstance(error, psycopg.errors.InsufficientPrivilege)
    return True


def _comment(target: Connection, registry: Registry, entity: Entity, view: str) -> None:
    mapping = registry.mapping
    with target.transaction():
        ddl_lock.take(target)  # nobody renames a column meanwhile
        registry.refresh(target)
        silent = comments.uncommented(target, mapping.schema, view)
        statements = [each for name, each in comments.on_view(mapping, entity, view) if name in silent]
        if statements:
            target.execute(sql.SQL("; ").join(statements))
