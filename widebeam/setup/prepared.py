"""What set-up has made, as the parts of a pipeline need it."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import psycopg

from cdc.source.narrow import NarrowTable
from cdc.source.session import connect
from sink.mapping.mapping import Mapping
from sink.state import sources
from widebeam.config.connector import Connector
from widebeam.setup import zone_rules
from widebeam.state import recorded
from widebeam.state.recorded import NotSetUp, Recorded

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class Prepared(NamedTuple):
    """A connector that can run: its mapping with the source's types, and how many partitions it has.

    `published` are the narrow tables that have to be in the publication by now, `oids` which tables they are, by their
    qualified names; `partitioned` tells that partitions can be attached to one of them.
    """

    mapping: Mapping
    partitions: int
    published: tuple[NarrowTable, ...] = ()
    oids: Dict[str, int] = MappingProxyType({})
    partitioned: bool = False


def prepared(connector: Connector) -> Prepared:
    """What a single part needs of a connector that was set up before; NotSetUp if it was not."""
    with connect(connector.options.target.conninfo(), autocommit=True) as target:
        found = recorded.load(target, connector.name)
        if found is None or found.cutoff is None or not found.planned:
            raise NotSetUp(connector)
        recorded.refuse_changes(found, connector)
        zone_rules.check(connector, found)
        return known(target, connector, found)


def is_set_up(connector: Connector) -> bool:
    """Whether the connector was set up before: then what is wrong now is a halt, rather than a missing precondition."""
    try:
        with connect(connector.options.target.conninfo(), autocommit=True, connect_timeout=10) as target:
            found = recorded.load(target, connector.name)
    except psycopg.Error:
        return False
    return found is not None and found.cutoff is not None and found.planned


def known(target: Session, connector: Connector, found: Recorded) -> Prepared:
    """What the target knows of a connector that is set up."""
    tables = sources.load(target, connector.name)
    return Prepared(
        connector.mapping(tables),
        found.partitions,
        tuple(published(target, connector)),
        {each.qualified: each.oid for each in tables},
        sources.partitioned(target, connector.name),
    )


def published(target: Session, connector: Connector) -> list[NarrowTable]:
    """The tables that are to be in the publication: those that joined later are put in by whoever joins them."""
    found = [each for each in sources.load(target, connector.name) if each.gate is not None]
    tables = (connector.family.narrow(each.schema, each.name) for each in found)
    return [table for table in tables if table is not None]
