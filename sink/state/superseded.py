"""Entries of the quarantine that the stream has overtaken: a later change of their source row says all that counts.

What a change comes to is in the wide table, or in an entry of its own. So the older entries of its row have nothing to
say any more, and go with the batch that applies it. An update that does not say a value, or which row it is of,
overtakes nothing; nor does a delete where deletes are ignored. A row whose time, entity or key is NULL cannot be told
from others alike, so its entries stay until somebody retries or discards them.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from cdc.event import UNCHANGED, Value
from cdc.lsn import Lsn
from cdc.record.record import Op
from sink.fold.batch import Entry
from sink.fold.quarantine_entry import QuarantineEntry, place_of
from sink.mapping.mapping import Mapping

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class _Known(NamedTuple):
    """An entry that is in quarantine."""

    place: str
    id: int
    origin: str
    position: str | None
    raw: str


class _Last(NamedTuple):
    """The last change of a source row in a batch."""

    origin: str
    position: Lsn


class _Raw(msgspec.Struct):
    columns: list[str]
    row: list[str | bool | None]


_raw: Final = msgspec.json.Decoder(_Raw).decode


def close(connection: Connection, mapping: Mapping, batch: Iterable[Entry], written: Iterable[QuarantineEntry]) -> None:
    """Take out what the batch has overtaken, in the open transaction, once its own entries are `written`."""
    if connection.execute(_ANY, [mapping.connector]).fetchone() != (True,):
        return
    records: dict[str, list[Entry]] = {}
    for entry in batch:
        place = place_of(entry.changes)
        if place:
            records.setdefault(place, []).append(entry)
    # By their places first: most records have no entry, and then none of their rows is looked at.
    found = [_Known(*row) for row in connection.execute(_FOUND, [mapping.connector, list(records)])] if records else []
    changed = {place: _Changed.of(mapping, records[place]) for place in {each.place for each in found}}
    fresh = {each.origin for each in written}
    gone = [each.id for each in found if changed[each.place].overtakes(each, fresh)]
    if gone:
        _tell(connection, mapping.connector, connection.execute(_TAKE_OUT, [mapping.connector, gone]))


def truncated(connection: Connection, connector: str, position: Lsn) -> None:
    """All rows up to there are gone, and with them what there was to say of them."""
    _tell(connection, connector, connection.execute(_TRUNCATED, [connector, str(position)]))


def _tell(connection: Connection, connector: str, gone: Iterable[tuple[int]]) -> None:
    numbers = [number for (number,) in gone]
    if numbers:
        connection.execute(_AUDIT, [connector, Jsonb({"entries": numbers})])


class _Changed(NamedTuple):
    """The rows that records of one place change, by the values of their key columns."""

    names: tuple[str, ...]
    last: dict[tuple[Value, ...], _Last]

    @classmethod
    def of(cls, mapping: Mapping, entries: Iterable[Entry]) -> _Changed:
        """The last change of each row, if that says it whole."""
        names, last = tuple[str, ...](), dict[tuple[Value, ...], _Last]()
        for changes, origin, *_ in entries:
            rule = mapping.rule_of(changes.table)
            if rule is None or not {*rule.table.key} <= {*changes.columns}:
                continue
            names = tuple(rule.table.key)
            places = [changes.columns.index(name) + 1 for name in names]
            for n, row in enumerate(changes.rows):
                key = tuple(row[place] for place in places)
                if _tells(mapping, row, key):
                    last[key] = _Last(f"{origin}:{n}", changes.stamp.position)
        return cls(names, last)

    def overtakes(self, known: _Known, fresh: Container[str]) -> bool:
        """Is the row of an entry changed later than the entry says?

        Of the entries that the batch itself has written, those that tell of the cell as it is now count (`row:`).
        """
        entry = _raw(known.raw)
        values: dict[str, Any] = dict(zip(entry.columns, entry.row[1:], strict=True))
        last = self.last.get(tuple(values.get(name) for name in self.names))
        as_it_is = known.origin in fresh and known.origin.startswith("row:")
        if last is None or known.origin == last.origin or as_it_is:
            return False
        return known.position is None or Lsn.parse(known.position) <= last.position


def _tells(mapping: Mapping, row: list[Value], key: tuple[Value, ...]) -> bool:
    """Does a change say all of its row, so that nothing older of it counts?"""
    if None in key or UNCHANGED in key:
        return False
    if row[0] == Op.DELETE.value:
        return mapping.on_delete != "ignore"
    return row[0] == Op.MOVE.value or UNCHANGED not in row


_ANY: Final = "SELECT EXISTS (SELECT FROM widebeam.quarantine WHERE connector = %s AND place <> '')"
_FOUND: Final = (
    "SELECT place, id, origin, position::text, raw FROM widebeam.quarantine"
    " WHERE connector = %s AND place <> '' AND place = ANY(%s)"
)
_TAKE_OUT: Final = "DELETE FROM widebeam.quarantine WHERE connector = %s AND id = ANY(%s) RETURNING id"
_TRUNCATED: Final = (
    "DELETE FROM widebeam.quarantine"
    " WHERE connector = %s AND raw LIKE '{%%' AND (position IS NULL OR position <= %s::pg_lsn) RETURNING id"
)
_AUDIT: Final = "INSERT INTO widebeam.audit (connector, action, detail) VALUES (%s, 'quarantine superseded', %s)"
