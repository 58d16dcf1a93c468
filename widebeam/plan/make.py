"""Making a plan: look at the source, ask its planner, compare with what the target has."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import psycopg

from cdc.source.session import connect_to_read
from sink import lookup
from sink.mapping.dictionary import Dictionary
from sink.mapping.interpret import Interpreter
from sink.mapping.mapping import Mapping
from sink.mapping.rule import Rule
from sink.mapping.wide import Entity
from sink.wide.registry import Registry
from snapshot.chunks.estimate import plan_chunks
from snapshot.chunks.plan import Chunk
from widebeam.config import catalog
from widebeam.config.connector import Connector
from widebeam.init import look as database
from widebeam.init.facts import Catalog
from widebeam.plan import time_index
from widebeam.plan.ddl import statements
from widebeam.plan.evidence import Evidence
from widebeam.plan.keys import look
from widebeam.plan.plan import Drawn, Source, draw
from widebeam.state import recorded

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_FELT: Final = 16
"""Times that a table is looked at, from which on that takes as long as all else."""
_SHOWN: Final = 3


def make(connector: Connector, *, full: bool = False) -> tuple[Drawn, list[str]]:
    """The plan, and the statements that make it. Changes nothing on either side.

    `full` reads all of the source instead of its index or a sample. Raises Halt if a table or column is not there.
    """
    options = connector.options
    with (
        connect_to_read(options.source.conninfo(), application_name="widebeam-plan") as source,
        connect_to_read(options.target.conninfo(), application_name="widebeam-plan") as target,
    ):
        mapping = connector.mapping(catalog.sources(source, connector))
        evidence, sources = _evidence(source, connector, mapping, full=full)
        there, taken = _there(target, mapping), _taken(target, mapping.schema)
        changed = _refused(target, connector)
        if changed:  # a run refuses that: shown is what it would make of a connector that is dropped and made anew
            parts = [part for entity in there.values() for part in entity.parts.values()]
            taken -= {name for part in parts for name in (part.table, part.view, part.group_view) if name is not None}
            there = {}
        drawn = draw(mapping, evidence, there, taken, sources, options.backfill.workers, changed)
        schema = target.execute("SELECT to_regnamespace(quote_ident(%s)) IS NOT NULL", [mapping.schema]).fetchone()
        return drawn, list(statements(target, mapping, drawn.planned, schema_there=schema == (True,)))


def _evidence(source: Session, connector: Connector, mapping: Mapping, *, full: bool) -> tuple[Evidence, list[Source]]:
    evidence, sources = Evidence(mapping.layout == "single"), []
    facts, dictionary = database.catalog(source), entries(source, mapping.rule)
    backfill = connector.options.backfill
    for rule in mapping.rules:
        table = rule.table
        looked = look(source, table, facts.find(table.schema, table.name), single=mapping.layout == "single", full=full)
        evidence.add(Interpreter(rule, dictionary), looked.rows)
        chunks = plan_chunks(source, rule, backfill.chunk_rows, connector.chunk_hours)
        rows = sum(chunk.estimated for chunk in chunks) or _rows(facts, rule)
        sources.append(
            Source(table.qualified, looked.how, looked.whole, rows, len(chunks), *_without_index(source, rule, chunks))
        )
    return evidence, sources


def _without_index(source: Session, rule: Rule, chunks: list[Chunk]) -> tuple[float, str | None]:
    """What chunks look at in vain, since no index begins with the time; and what would help, if it is felt."""
    times = rule.table.time if rule.time.either else rule.table.time[:1]
    without = time_index.lacking(source, rule.table, times)
    rows = sum(each.rows for each in without)
    if not rows:
        return 0.0, None
    vain = time_index.scanned(source, rule, chunks, rows)
    if rows < time_index.MANY and vain < _FELT * rows:
        return vain, None
    made = " ".join(each.statement(source) for each in without[:_SHOWN])
    more = f" (and {len(without) - _SHOWN} partitions more)" if len(without) > _SHOWN else ""
    size = sum(each.bytes for each in without) / 1e6
    return vain, f"{made}{more} That takes about {max(size, 1):,.0f} MB, and some of each insert's time"


def _rows(facts: Catalog, rule: Rule) -> int:
    found = facts.find(rule.table.schema, rule.table.name)
    return 0 if found is None else found.rows


def entries(source: Session, rule: Rule) -> Dictionary:
    """The dictionary as it is now; one that knows nothing where the connector has none."""
    return Dictionary(dict(lookup.entries(source, rule.dictionary)) if rule.dictionary is not None else None)


def _refused(target: Session, connector: Connector) -> list[str]:
    """Options that were others when the connector was made, and may not change."""
    found = recorded.load(target, connector.name)
    return [] if found is None else [said for _, said in recorded.changes(found, connector)]


def _there(target: Session, mapping: Mapping) -> dict[str, Entity]:
    """What is made already; nothing where the connector is not written down."""
    if recorded.load(target, mapping.connector) is None:
        return {}
    registry = Registry(mapping)
    registry.refresh(target)
    return registry.entities


def _taken(target: Session, schema: str) -> set[str]:
    """Names of relations and types in the wide tables' schema."""
    rows = target.execute(
        "SELECT relname::text FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident(%(schema)s))"
        " UNION SELECT typname::text FROM pg_type WHERE typnamespace = to_regnamespace(quote_ident(%(schema)s))",
        {"schema": schema},
    )
    return {name for (name,) in rows}
