"""The exact statements by which a plan is made: those that the registry runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import psycopg
from psycopg import sql

from sink.mapping.mapping import Mapping
from sink.wide import build, tables
from sink.wide.planned import Planned

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


def statements(session: Session, mapping: Mapping, planned: Sequence[Planned], *, schema_there: bool) -> Iterator[str]:
    """In the order in which they are run: the schema, tables by name, then the views."""
    if planned and not schema_there:
        yield _text(session, sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(mapping.schema)))
    by_part = [
        (part, each.columns_of(part), part in each.new_parts, each.entity) for each in planned for part in each.touched
    ]
    for part, columns, new, entity in sorted(by_part, key=lambda entry: entry[0].table):
        made = tables.create_part(mapping, part, columns) if new else tables.add_columns(mapping, entity, part, columns)
        yield _text(session, made)
    for each in planned:
        for statement in build.views(mapping, each, {}):
            yield _text(session, statement)


def _text(session: Session, statement: sql.Composable) -> str:
    return f"{statement.as_string(session)};"
