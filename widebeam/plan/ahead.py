"""What a run makes of its plan: columns for the keys that are there, before the slot is, so that no WAL is held for it.

Only a head start, with bounds: keys that it does not see get their columns when their readings come.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from sink.mapping.interpret import Interpreter
from sink.mapping.mapping import Mapping
from sink.wide.registry import Registry
from widebeam.init import look as database
from widebeam.plan.evidence import Evidence
from widebeam.plan.keys import Reach, look
from widebeam.plan.locks import lack
from widebeam.plan.make import entries

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class Bounds(NamedTuple):
    """How long a run looks at keys, all tables together, and how far at one of them: it keeps what it reads."""

    seconds: float = 30
    pairs: int = 20_000
    each: int = 5


BOUNDS: Final = Bounds()

_LOG: Final = logging.getLogger(__name__)


def make_ahead(source: Session, target: Session, mapping: Mapping, bounds: Bounds = BOUNDS) -> None:
    """Make wide tables and columns for the keys that a bounded look finds, as the connector's policies allow.

    Makes nothing where unknown keys are not to become columns: of this plan nobody has said that he knows it, as
    `plan --apply` does. Doing it twice makes nothing. Raises Halt as Registry.ensure does.
    """
    if mapping.unknown_key != "add_column":
        _LOG.info(
            "makes no columns ahead: unknown keys go by `unknown_key` = %s; `widebeam plan %s --apply` makes them",
            mapping.unknown_key,
            mapping.connector,
        )
        return
    started = time.monotonic()
    evidence = _looked(source, mapping, started + bounds.seconds, bounds)
    looked = time.monotonic() - started
    registry = Registry(mapping)
    registry.refresh(target)
    before = _columns(registry)
    refused = registry.ensure(target, evidence.needs(widen=mapping.type_conflict == "widen"))
    _LOG.info(
        "made %d columns in %d wide tables for the keys that are there, in %.1f s (%.1f s to look at them); "
        "keys that come later get theirs as they come",
        _columns(registry) - before,
        len(registry.parts),
        time.monotonic() - started,
        looked,
    )
    short = lack(target, len(registry.parts), 1, 0)
    if short is not None:
        _LOG.warning(
            "a chunk that has rows for all %d wide tables takes %d locks in one transaction, and the target has room"
            " for %d in all: set max_locks_per_transaction = %d there, and restart it",
            len(registry.parts),
            *short,
        )
    for reason in sorted({reason for reason, _ in refused.values()}):
        keys = [key for (_, key), (why, _) in refused.items() if why == reason]
        _LOG.warning("no column for %d keys (%s), among them %r", len(keys), reason, keys[0])


def _looked(source: Session, mapping: Mapping, deadline: float, bounds: Bounds) -> Evidence:
    """Readings of the keys, table by table until the time is up. A table that cannot be read so is left to its run."""
    single = mapping.layout == "single"
    evidence, facts, dictionary = Evidence(single), database.catalog(source), entries(source, mapping.rule)
    for number, rule in enumerate(mapping.rules):
        table, left = rule.table, deadline - time.monotonic()
        if left <= 0:
            _LOG.warning("the keys of %d tables were not looked at: the time for it is up", len(mapping.rules) - number)
            break
        # Half of what is left for its index, half for a sample if that takes too long.
        reach = Reach(left / 2, bounds.pairs, bounds.each)
        try:
            looked = look(source, table, facts.find(table.schema, table.name), single=single, reach=reach)
        except psycopg.Error as error:
            if source.closed:
                raise
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            _LOG.warning("the keys of %s were not looked at: %s", table.qualified, said)
            continue
        _LOG.debug("looked at %s %s", table.qualified, looked.how)
        evidence.add(Interpreter(rule, dictionary), looked.rows)
    return evidence


def _columns(registry: Registry) -> int:
    return sum(len(entity.columns) for entity in registry.entities.values())
