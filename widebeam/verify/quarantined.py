"""Which cells lie in quarantine, so that verify does not take them for lost."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final, TypeAlias

import psycopg

from cdc.event import UNCHANGED
from sink.mapping.interpret import Interpreters
from sink.mapping.mapping import Mapping
from sink.mapping.several import Cell, SourceRow
from widebeam.verify.proof import Place

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

# A reading's raw form is a JSON object with its wide key, the carried columns and the row; a whole record that could
# not be decoded is base64, which has no braces.
_READINGS: Final = """
SELECT raw FROM widebeam.quarantine WHERE connector = %s AND raw LIKE '{%%'
"""


def quarantined(target: Session, mapping: Mapping, places: Collection[Place]) -> set[Place]:
    """Those of the places of which a reading lies in quarantine."""
    found = set[Place]()
    with target.transaction(), target.cursor("widebeam_quarantine") as cursor:
        cursor.itersize = 5000
        for (raw,) in cursor.execute(_READINGS, [mapping.connector]):
            place = _place(mapping, json.loads(raw))
            if place in places:
                found.add(place)
    return found


def _place(mapping: Mapping, raw: dict[str, Any]) -> Place:
    table, row = mapping.table, dict(zip(raw["columns"], raw["row"][1:], strict=True))
    wide = raw["wide"]
    return Place(
        tuple(wide.get(name) for name in table.entity),
        tuple(wide.get(name) for name in table.time),
        row.get(table.key[0]) or "",
    )


class Shelved:
    """What lies in quarantine, as rules that are not plain see it."""

    def __init__(self, target: Session, mapping: Mapping, interpreters: Interpreters) -> None:
        self._target, self._mapping, self._interpreters = target, mapping, interpreters

    def rows(self, wanted: Iterable[SourceRow]) -> set[SourceRow]:
        """Those of the rows that lie there, whatever the values that they had when they came there."""
        by_place = {self._name(row): row for row in wanted}
        if not by_place:
            return set()
        return {by_place[name] for row in self._entries() if (name := self._name(row)) in by_place}

    def cells(self, wanted: Collection[Cell]) -> set[Cell]:
        """Those of the cells of which a row lies there."""
        found = set[Cell]()
        for row in self._entries():
            readings = self._interpreters.of(row.table).read(row.head, row.row, gone=True)
            if isinstance(readings, list):
                found |= {cell for each in readings if (cell := Cell(each.entity, each.time, each.key)) in wanted}
        return found

    def _name(self, row: SourceRow) -> tuple[object, ...]:
        return row.table, row.head, row.row[: len(self._mapping.table.key)]

    def _entries(self) -> Iterator[SourceRow]:
        with self._target.transaction(), self._target.cursor("widebeam_quarantine") as cursor:
            cursor.itersize = 5000
            for (raw,) in cursor.execute(_READINGS, [self._mapping.connector]):
                row = self._row(json.loads(raw))
                if row is not None:
                    yield row

    def _row(self, raw: dict[str, Any]) -> SourceRow | None:
        """The row of an entry; None where it lacks a column that the mapping wants now."""
        rule = self._mapping.rule_of(raw["table"])
        values = dict(zip(raw["columns"], raw["row"][1:], strict=True))
        if rule is None or not {*rule.table.wide} <= {*raw["wide"]} or not {*rule.table.carried} <= {*values}:
            return None
        carried = (values[name] for name in rule.table.carried)
        return SourceRow(
            raw["table"],
            tuple(raw["wide"][name] for name in rule.table.wide),
            tuple(UNCHANGED if each is False else each for each in carried),
        )
