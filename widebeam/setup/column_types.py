"""The types of narrow columns as the stream has them, compared with those that are written down.

The watch looks at the catalog every few seconds; the first row of another type may come before it does.
"""

from __future__ import annotations

from cdc.event import Relation
from cdc.halt import ANEW, CONNECTOR, Cause, Halt
from cdc.source.described import resolved
from cdc.source.narrow import NarrowTable
from cdc.source.session import connect
from sink.state import sources
from widebeam.config.connector import Connector


class ColumnTypes:
    """What is written down of the narrow tables of a connector, read when a table is met for the first time."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._recorded: dict[str, dict[str, str]] = {}

    def vouch(self, table: NarrowTable, relation: Relation) -> None:
        """The rows that follow a Relation message are of the types that were mapped; else a Halt.

        Raises psycopg.Error where one of the databases cannot be asked.
        """
        recorded = self._types(table)
        columns = [
            (column.name, column.type_oid, column.type_modifier)
            for column in relation.columns
            if column.name in recorded
        ]
        with connect(self._connector.options.source.conninfo(), autocommit=True) as source:
            found = resolved(source, columns)
        changed = [f"{name} was {recorded[name]} and is {now}" for name, now in found.items() if now != recorded[name]]
        if changed:
            raise Halt(
                Cause.RELATION_CHANGED,
                f"column types of {table.qualified} changed: {', '.join(changed)}",
                f"Alter them back, if no value was changed, and `widebeam run {CONNECTOR}`; or {ANEW}",
            )

    def _types(self, table: NarrowTable) -> dict[str, str]:
        """Those of its mapped columns; a table may have joined meanwhile."""
        if table.qualified not in self._recorded:
            with connect(self._connector.options.target.conninfo(), autocommit=True) as target:
                loaded = sources.load(target, self._connector.name)
            self._recorded = {each.qualified: each.types for each in loaded}
        recorded = self._recorded.get(table.qualified, {})
        return {name: recorded[name] for name in table.columns if name in recorded}
