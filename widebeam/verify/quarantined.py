"""Which cells lie in quarantine, so that verify does not take them for lost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Mapping as Dict
from typing import Any, Final, TypeAlias

import psycopg

from cdc.event import UNCHANGED, Value
from sink.mapping.interpret import Interpreters, Reading
from sink.mapping.mapping import Mapping
from sink.mapping.several import Cell, SourceRow
from widebeam.verify.proof import Place

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Differing: TypeAlias = "Dict[Place, tuple[str | None, str | None]]"
"""The narrow and the wide text of cells that differ."""
Readings: TypeAlias = "Dict[Cell, Reading]"
RowName: TypeAlias = "tuple[object, ...]"
"""What tells a narrow row from others: its table, and its values of the wide key and of the key."""

# A reading's raw form is a JSON object with its wide key, the carried columns and the row; a whole record that could
# not be decoded is base64, which has no braces.
_READINGS: Final = """
SELECT raw FROM widebeam.quarantine WHERE connector = %s AND raw LIKE '{%%'
"""


def quarantined(target: Session, mapping: Mapping, differing: Differing) -> set[Place]:
    """Those of the places whose difference is explained: an entry holds what the narrow table has, and the wide cell
    is empty. Whatever else is in a wide cell, an entry is no reason for it."""
    missing: dict[Place, list[tuple[Place, str]]] = {}
    for place, (narrow, wide) in differing.items():
        if narrow is not None and wide is None:
            missing.setdefault(place._replace(row=""), []).append((place, narrow))
    found = set[Place]()
    with target.transaction(), target.cursor("widebeam_quarantine") as cursor:
        cursor.itersize = 5000
        for (raw,) in cursor.execute(_READINGS, [mapping.connector]) if missing else ():
            held, value = _reading(mapping, json.loads(raw))
            found |= {place for place, narrow in missing.get(held, ()) if value in (narrow, UNCHANGED)}
    return found


def _reading(mapping: Mapping, raw: dict[str, Any]) -> tuple[Place, Value]:
    """The cell of an entry's row, and its reading as verify reads it in the database (widebeam/verify/checksum.py)."""
    table, row = mapping.table, dict(zip(raw["columns"], raw["row"][1:], strict=True))
    wide = raw["wide"]
    place = Place(
        tuple(wide.get(name) for name in table.entity),
        tuple(wide.get(name) for name in table.time),
        row.get(table.key[0]) or "",
    )
    chosen = (mapping.rule.choices or {}).get(str(row.get(mapping.rule.discriminator or "")))
    values = [row.get(name) for name in ([chosen] if chosen is not None else table.values)]
    value = next((each for each in values if each is not None), None)
    return place, UNCHANGED if value is False else value


class Shelved:
    """What lies in quarantine, as rules that are not plain see it."""

    def __init__(self, target: Session, mapping: Mapping, interpreters: Interpreters) -> None:
        self._target, self._mapping, self._interpreters = target, mapping, interpreters

    def rows(self, wanted: Iterable[SourceRow]) -> set[SourceRow]:
        """Those of the rows that lie there as they are (a value that an entry does not say can be any)."""
        by_name: dict[RowName, set[SourceRow]] = {}
        for row in wanted:
            by_name.setdefault(self._name(row), set()).add(row)
        found = set[SourceRow]()
        for entry in self._entries() if by_name else ():
            alike = by_name.get(self._name(entry), ())
            found |= {row for row in alike if _says(entry.row, row.row)}
        return found

    def cells(self, wanted: Readings) -> dict[Cell, RowName]:
        """Those of the cells, with the readings that they should hold, of which a row with that reading lies there; and
        which row that is: several cells may be empty for one."""
        found: dict[Cell, RowName] = {}
        for row in self._entries() if wanted else ():
            for each in self._readings(row):
                cell = Cell(each.entity, each.time, each.key)
                should = wanted.get(cell)
                if should is not None and each.value in (should.value, UNCHANGED):
                    found.setdefault(cell, self._name(row))
        return found

    def _readings(self, row: SourceRow) -> list[Reading]:
        try:
            found = self._interpreters.of(row.table).read(row.head, row.row)
        except KeyError:
            return []
        return found if isinstance(found, list) else []

    def _name(self, row: SourceRow) -> RowName:
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


def _says(entry: Sequence[Value], row: Sequence[Value]) -> bool:
    """Are these the values of a row, as far as an entry says them?"""
    return all(said in (value, UNCHANGED) for said, value in zip(entry, row, strict=True))
