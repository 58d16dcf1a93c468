"""Where in a relation's rows the columns of its narrow table stand; made once for each Relation message."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import NamedTuple, TypeAlias, cast

from cdc.event import Relation, Row
from cdc.halt import ANEW, CONNECTOR, OVER_THE_GAP, Cause, Halt
from cdc.source.narrow import NarrowTable

Getter: TypeAlias = Callable[[Row], Row]
"""Picks some columns out of a row."""


class Layout(NamedTuple):
    """A mapped relation: getters for the wide key, the whole cell, and the carried columns, in NarrowTable's order.

    `lacking` are columns of the cell that its replica identity had not then: its inserts say their cell, no more.
    """

    table: NarrowTable
    relation: Relation
    wide: Getter
    cell: Getter
    carried: Getter
    lacking: tuple[str, ...] = ()


def layout(table: NarrowTable, relation: Relation, before: Layout | None) -> Layout:
    """The layout of `relation`, which holds `table`; a Halt if the mapping cannot be served by it.

    `before` is the layout of the same table earlier in the stream: its OID and types have to be the same.
    """
    places = {column.name: index for index, column in enumerate(relation.columns)}
    missing = [name for name in table.columns if name not in places]
    if missing:
        raise Halt(
            Cause.RELATION_CHANGED,
            f"{table.qualified} no longer brings the columns {', '.join(missing)}",
            "Restore them, or add them to the publication's column list. Rows that were written without them stay in "
            f"the stream: {OVER_THE_GAP}",
        )
    if before is not None:
        _check_same(table, relation, before.relation)
    wide, cell, carried = (
        _getter([places[name] for name in names]) for names in (table.wide, table.cell, table.carried)
    )
    lacking = tuple(name for name in table.cell if not relation.columns[places[name]].identity)
    return Layout(table, relation, wide, cell, carried, lacking)


def _check_same(table: NarrowTable, now: Relation, before: Relation) -> None:
    """One OID and one type a column, all along: else the rows come from something else than what was mapped."""
    if now.oid != before.oid:
        raise Halt(
            Cause.RELATION_CHANGED,
            f"{table.qualified} is another table now (OID {now.oid}, it was {before.oid})",
            f"Rename the tables back, and `widebeam run {CONNECTOR}` goes on; or {OVER_THE_GAP}",
        )
    types = {column.name: (column.type_oid, column.type_modifier) for column in before.columns}
    changed = [
        column.name
        for column in now.columns
        if column.name in table.columns
        and types.get(column.name, ()) not in ((), (column.type_oid, column.type_modifier))
    ]
    if changed:
        raise Halt(
            Cause.RELATION_CHANGED,
            f"the type of {', '.join(changed)} of {table.qualified} was altered",
            f"Alter it back, and `widebeam run {CONNECTOR}` goes on; or {ANEW}",
        )


def _getter(indexes: list[int]) -> Getter:
    """A tuple of these columns. (An itemgetter of one index answers a bare value, and there is none of no index.)"""
    if not indexes:
        return lambda _: ()
    if len(indexes) == 1:
        only = indexes[0]
        return lambda row: (row[only],)
    return cast("Getter", itemgetter(*indexes))
