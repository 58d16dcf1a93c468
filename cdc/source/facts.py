"""What the source's catalog says of a narrow table, as far as its change makes no event in the stream.

The stream goes on after such a change as if nothing were, and everything seems well: so the facts are written down,
and looked at again and again. What is not as it was is a Halt, or at least told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from cdc.halt import ANEW, CONNECTOR, OVER_THE_GAP, Cause, Halt
from cdc.source.narrow import NarrowTable
from cdc.source.table_name import TableName

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_TABLE: Final = """
SELECT c.oid, c.relkind::text, ARRAY(
         SELECT ARRAY[a.attname::text, a.attnum::text, format_type(a.atttypid, a.atttypmod), a.attgenerated::text]
           FROM pg_attribute a
          WHERE a.attrelid = c.oid AND a.attname = ANY (%(columns)s) AND a.attnum > 0 AND NOT a.attisdropped)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relname = %(name)s AND c.relkind IN ('r', 'p')
"""
# As JSON, since servers before 14 have no inhdetachpending.
_LEAVES: Final = """
WITH RECURSIVE tree (oid) AS (
    SELECT %(oid)s::oid
    UNION ALL
    SELECT i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid
     WHERE coalesce((to_jsonb(i) ->> 'inhdetachpending')::boolean, false) = false
)
SELECT c.oid, n.nspname::text, c.relname::text, coalesce(pg_relation_filenode(c.oid), 0), c.relkind::text,
       c.relpersistence::text, c.relispartition
  FROM tree JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind NOT IN ('p', 'I', 'i') ORDER BY 2, 3
"""
# A publication, or a table's place in it, that is altered, or taken out and put back, gets another oid or xmin.
_ENTRY: Final = """
SELECT concat_ws(' ', p.oid || '/' || p.xmin, r.oid || '/' || r.xmin)
  FROM pg_publication p LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = %s WHERE p.pubname = %s
"""


class Attribute(NamedTuple):
    """A mapped column: its number in the table, its type as format_type writes it, '' or how it is generated."""

    number: int
    type: str
    generated: str


class Leaf(NamedTuple):
    """A table that holds rows: a partition, or the narrow table itself. `filenode` is where; it changes when all rows
    are written anew or gone: TRUNCATE, VACUUM FULL, CLUSTER, and what of ALTER TABLE rewrites."""

    name: str
    filenode: int


@dataclass(frozen=True, slots=True)
class Facts:
    """One narrow table. `entry` stands for the publication and the table's place in it; `leaves` are by their oid.

    `at` is where the WAL was just before somebody looked; empty where that was not written down.
    """

    oid: int
    partitioned: bool
    entry: str
    attributes: dict[str, Attribute]
    leaves: dict[int, Leaf]
    at: str = field(default="", compare=False)

    def as_json(self) -> dict[str, Any]:
        """Plain values, to be written down."""
        return {
            "oid": self.oid,
            "partitioned": self.partitioned,
            "entry": self.entry,
            "attributes": {name: list(each) for name, each in self.attributes.items()},
            "leaves": {str(oid): list(leaf) for oid, leaf in self.leaves.items()},
            **({"at": self.at} if self.at else {}),
        }

    @classmethod
    def of_json(cls, plain: dict[str, Any]) -> Facts:
        """As `as_json` has written them."""
        return cls(
            plain["oid"],
            plain["partitioned"],
            plain["entry"],
            {name: Attribute(*each) for name, each in plain["attributes"].items()},
            {int(oid): Leaf(*leaf) for oid, leaf in plain["leaves"].items()},
            plain.get("at", ""),
        )


def look(connection: Connection, publication: str, table: NarrowTable, at: str | None = None) -> Facts:
    """The facts as they are; a Halt where no change of some rows would be in the WAL, or none under the table's name.

    `connection` is in autocommit mode, or in a transaction that began at the WAL position `at`.
    """
    at = position(connection) if at is None else at
    row = connection.execute(
        _TABLE, {"schema": table.schema, "name": table.name, "columns": list(table.columns)}
    ).fetchone()
    if row is None:
        raise _changed(
            f"the table {table.qualified} is gone",
            f"Bring it back, if it was renamed, and `widebeam run {CONNECTOR}`; or drop the connector.",
        )
    oid, kind, attributes = row
    leaves = connection.execute(_LEAVES, {"oid": oid}).fetchall()
    _check_leaves(table, kind, leaves)
    entry = connection.execute(_ENTRY, [oid, publication]).fetchone()
    return Facts(
        oid,
        kind == "p",
        "" if entry is None else str(entry[0]),
        {name: Attribute(int(number), type_, generated) for name, number, type_, generated in attributes},
        {leaf[0]: Leaf(TableName(leaf[1], leaf[2]).text, leaf[3]) for leaf in leaves},
        at,
    )


def position(connection: Connection) -> str:
    """Where the WAL is: what is committed before, everybody sees by now."""
    row = connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    return "" if row is None else str(row[0])


def _check_leaves(table: NarrowTable, kind: str, leaves: list[tuple[Any, ...]]) -> None:
    for _, schema, bare, _, leaf_kind, persistence, is_partition in leaves:
        name = TableName(schema, bare)
        if leaf_kind != "r":
            raise _changed(
                f"{name}, which is no plain table, is a partition of {table.qualified}: its changes are not in the WAL",
                f"Put its rows into a plain partition in its place; or, if nobody reads them by {table.qualified}, "
                f"ALTER TABLE {table.quoted} DETACH PARTITION {name.quoted}; then `widebeam run {CONNECTOR}`.",
            )
        if persistence != "p":
            raise _changed(
                f"{name} is not logged: its changes are not in the WAL",
                f"ALTER TABLE {name.quoted} SET LOGGED; then, for what was changed meanwhile: {OVER_THE_GAP}",
            )
        if kind == "r" and not is_partition and name != table.table_name:
            raise _changed(
                f"{name} inherits from {table.qualified}: its rows are read with those of {table.qualified}, and its "
                "changes are not published under that name",
                f"Set `tables` in [source] as `widebeam check {CONNECTOR}` prints it, and {ANEW} Or, if nobody reads "
                f"its rows by {table.qualified}, ALTER TABLE {name.quoted} NO INHERIT {table.quoted}; then "
                f"`widebeam run {CONNECTOR}`.",
            )


def compare(table: NarrowTable, before: Facts, now: Facts) -> None:
    """Raise a Halt if rows, values or changes may have come or gone without an event."""
    if now.oid != before.oid:
        raise _changed(
            f"{table.qualified} is another table than the one that was mapped (oid {now.oid}, it was {before.oid})",
            f"Rename the old table back and `widebeam run {CONNECTOR}`, or go on with this one: {OVER_THE_GAP}",
        )
    for name, was in before.attributes.items():
        found = now.attributes.get(name)
        if found is None:
            raise _changed(
                f"{table.qualified} has no column {name} any more", f"Rename it back and `widebeam run {CONNECTOR}`."
            )
        if found != was:
            what = f"{name} of {table.qualified} {_how(was, found)}: values may be others without an event"
            made_anew = found.type == was.type and not found.generated
            raise _changed(what, OVER_THE_GAP if made_anew else ANEW)


def check_entry(table: NarrowTable, before: Facts, now: Facts) -> None:
    """Raise a Halt if what is published was altered, or the table was taken out of it and put back."""
    if now.entry != before.entry:
        raise Halt(
            Cause.NOT_PUBLISHED,
            f"the publication, or the place of {table.qualified} in it, was altered (oid/xmin {before.entry} before, "
            f"{now.entry} now)",
            f"Changes made meanwhile may not have been published. {OVER_THE_GAP}",
        )


def _how(was: Attribute, found: Attribute) -> str:
    if found.number != was.number:
        return "was dropped and made anew"
    if found.generated != was.generated:
        return "is generated now"
    return f"was {was.type} and is {found.type}"


def _changed(what: str, remedy: str) -> Halt:
    return Halt(Cause.RELATION_CHANGED, what, remedy)


def gone(before: Facts, now: Facts) -> list[Leaf]:
    """Partitions that are no longer part of the table: detached or dropped."""
    return [leaf for oid, leaf in before.leaves.items() if oid not in now.leaves]


def come(before: Facts, now: Facts) -> dict[int, Leaf]:
    """Partitions that were not part of the table: made, or attached with rows that no event tells of."""
    return {oid: leaf for oid, leaf in now.leaves.items() if oid not in before.leaves}


def rewritten(before: Facts, now: Facts) -> dict[int, Leaf]:
    """Tables whose rows are all gone or written anew."""
    return {
        oid: leaf
        for oid, leaf in now.leaves.items()
        if oid in before.leaves and before.leaves[oid].filenode != leaf.filenode
    }


def all_rewritten(before: Facts, now: Facts) -> bool:
    """Whether that is so of each table that was there and still is, as after a TRUNCATE of the whole."""
    return rewritten(before, now).keys() == before.leaves.keys() & now.leaves.keys()
