"""Every precondition of a run, looked at all at once, each with what mends it. Changes nothing anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from cdc.source.narrow import NarrowTable
from cdc.source.session import SharedSession, connect_to_read
from widebeam.check.cells import CHECKS as CELLS
from widebeam.check.identity import CHECKS as IDENTITY
from widebeam.check.inheritance import CHECKS as INHERITANCE
from widebeam.check.kafka import broker_findings
from widebeam.check.mapping import CHECKS as MAPPING
from widebeam.check.publication import CHECKS as PUBLICATION
from widebeam.check.server import CHECKS as SERVER
from widebeam.check.server import standby_findings
from widebeam.check.table import CHECKS as TABLE
from widebeam.check.target import CHECKS as TARGET
from widebeam.check.types import CHECKS as TYPES
from widebeam.check.zones import CHECKS as ZONES
from widebeam.config.catalog import members
from widebeam.config.connector import Connector
from widebeam.config.options.server import Server
from widebeam.finding import Finding, first_line
from widebeam.health.health_port import port_findings

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Check: TypeAlias = "Callable[[Session, Connector], Iterator[Finding]]"

_CONNECT_SECONDS = 10


PER_TABLE: Final = frozenset((*TABLE, *INHERITANCE, *IDENTITY))


class Preconditions(Exception):
    """A run cannot start; `findings` says everything that is missing."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(str(finding) for finding in findings))
        self.findings = findings


class Side(NamedTuple):
    """One of the two databases and what is to be looked at in it."""

    name: str
    server: Server
    checks: tuple[Check, ...]


def findings(connector: Connector) -> list[Finding]:
    """All that stands in the way of a run of this connector; empty when nothing does."""
    found: list[Finding] = []
    for side in (
        Side(
            "source",
            connector.options.source,
            (*SERVER, *ZONES, *MAPPING, *TABLE, *INHERITANCE, *IDENTITY, *PUBLICATION, *CELLS),
        ),
        Side("target", connector.options.target, (*TARGET, *TYPES)),
    ):
        found.extend(_side(side, connector))
    found.extend(standby_findings(connector))
    found.extend(broker_findings(connector))
    found.extend(port_findings(connector))
    return found


def _side(side: Side, connector: Connector) -> Iterator[Finding]:
    """Run the checks of one database in one session that cannot write."""
    where = f"{side.name} ({side.server.shown})"
    try:
        session = connect_to_read(side.server.conninfo(), connect_timeout=_CONNECT_SECONDS)
    except SharedSession as error:
        yield Finding(first_line(error), where, f"set `dsn` of [{side.name}] to the server itself")
        return
    except psycopg.OperationalError as error:
        yield Finding(
            f"cannot be reached: {first_line(error)}",
            where,
            f"start the server, or set `dsn` of [{side.name}]; the password comes from `password_file`, "
            f"WIDEBEAM_{side.name.upper()}__PASSWORD or PGPASSFILE",
        )
        return
    with session:
        for check, seen in _each(side, session, connector):
            try:
                for finding in check(session, seen):
                    yield finding._replace(where=finding.where or where)
            except psycopg.Error as error:
                name = getattr(check, "__name__", "check").replace("_", " ")
                yield Finding(f"could not be checked ({name}): {first_line(error)}", where, "mend that and check again")
                if session.closed:
                    return


def _each(side: Side, session: Session, connector: Connector) -> Iterator[tuple[Check, Connector]]:
    """Each check, and those of a narrow table for each of them."""
    tables: list[NarrowTable] = []
    for check in side.checks:
        if check not in PER_TABLE:
            yield check, connector
            continue
        tables = tables or members(session, connector) or [connector.table]
        yield from ((check, connector.at(table)) for table in tables)
