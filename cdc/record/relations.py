"""The relations of a stream: which of them are narrow tables of ours, and how their rows are laid out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from cdc.event import Relation
from cdc.halt import ANEW, CONNECTOR, OVER_THE_GAP, Cause, Halt
from cdc.record.layout import Layout, layout
from cdc.source.narrow import NarrowTable
from cdc.source.table_name import TableName

Vouch: TypeAlias = "Callable[[NarrowTable, Relation], None]"
"""Compares a table's first Relation message with what is written down of its columns' types; raises Halt."""

Family: TypeAlias = "Callable[[str, str], NarrowTable | None]"
"""The narrow table of this schema and name, if a table of that name is one of ours."""


class Relations:
    """Takes Relation messages in the order of the stream.

    `layouts` has what was described so far by OID: None for a table that is not ours. It is added to and never
    replaced. `oids` are the tables' as they were written down, by their qualified names; `vouch` knows their types.
    """

    def __init__(
        self,
        tables: Iterable[NarrowTable],
        family: Family | None,
        oids: Mapping[str, int] | None,
        vouch: Vouch | None = None,
    ) -> None:
        self.layouts: dict[int, Layout | None] = {}
        self._tables = {(table.schema, table.name): table for table in tables}
        self._family = family
        self._oids = oids or {}
        self._vouch = vouch
        self._names = {oid: name for name, oid in self._oids.items()}
        self._latest: dict[NarrowTable, Layout] = {}

    def describe(self, relation: Relation) -> None:
        """Rows of this OID are laid out like that from here on. Raises Halt if it is not the table that was mapped."""
        table = self._table(relation.schema, relation.name)
        self._refuse_renamed(relation)
        if table is not None:
            self._refuse_replaced(relation, table)
        if table is not None and self._vouch is not None and table not in self._latest:
            self._vouch(table, relation)
        made = None if table is None else layout(table, relation, self._latest.get(table))
        self.layouts[relation.oid] = made
        if made is not None:
            self._latest[made.table] = made

    def _table(self, schema: str, name: str) -> NarrowTable | None:
        """The narrow table of that name. One that joined since is known by its name alone: it is in the publication."""
        if (schema, name) not in self._tables and self._family is not None:
            joined = self._family(schema, name)
            if joined is not None:
                self._tables[schema, name] = joined
        return self._tables.get((schema, name))

    def _refuse_renamed(self, relation: Relation) -> None:
        """One of ours, by its OID, that has another name now."""
        known = self.layouts.get(relation.oid)
        name = self._names.get(relation.oid) if known is None else known.table.qualified
        now = TableName(relation.schema, relation.name).text
        if name is not None and name != now:
            raise Halt(
                Cause.RELATION_CHANGED,
                f"{name} (OID {relation.oid}) is named {now}, and was written to",
                f"Rename it back, and `widebeam run {CONNECTOR}` goes on; or name it so in [source]: {ANEW}",
            )

    def _refuse_replaced(self, relation: Relation, table: NarrowTable) -> None:
        """One of ours, by its name, that has another OID than the one that was written down."""
        if self._oids.get(table.qualified, relation.oid) != relation.oid:
            raise Halt(
                Cause.RELATION_CHANGED,
                f"{table.qualified} is another table (OID {relation.oid}) than the one that was mapped "
                f"({self._oids[table.qualified]})",
                f"What the other table held came without an event: {OVER_THE_GAP}",
            )
