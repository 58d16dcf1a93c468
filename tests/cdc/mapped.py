"""Two narrow tables, and their relations as the server describes them."""

from __future__ import annotations

from cdc.event import Column, Relation
from cdc.source.narrow import NarrowTable

TABLE = NarrowTable("tenant", "readings", ("ship",), ("at",), ("channel",), ("v", "s"))
OTHER = NarrowTable("tenant", "others", ("ship",), ("at",), ("channel",), ("v", "s"))


def relation(table: NarrowTable = TABLE, oid: int = 1, kind: str = "d", types: int = 25) -> Relation:
    """The table with its columns in another order than the mapping's, and one that nobody asked for."""
    names = ("id", "channel", "ship", "v", "at", "s")
    columns = tuple(Column(name, types, -1, kind == "f" or name in table.cell) for name in names)
    return Relation(oid, table.schema, table.name, kind, columns)


READINGS = relation()
