"""Entries of the quarantine, and the source rows that they speak of. Pure."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from cdc.envelope import Undecodable, decode
from cdc.event import UNCHANGED, Value
from cdc.record import Changes
from sink.mapping import Mapping


class Entry(NamedTuple):
    """One entry. `position` is the commit's place, None for what has none (bytes that are no record of ours).

    `origin` is `partition:offset:row` of a change, or `chunk:number:line` of a row of the backfill. `raw` is JSON of
    the row, or base64 of bytes that were no record.
    """

    id: int
    at: datetime
    origin: str
    position: str | None
    reason: str
    detail: str
    raw: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the raw row as an object where it is one."""
        raw = orjson.loads(self.raw) if self.raw.startswith("{") else self.raw
        return {**self._asdict(), "at": self.at.isoformat(), "raw": raw}


class Narrow(NamedTuple):
    """A row of a narrow table as an entry has it: `head` are the values of `table.wide`, `row` those of `carried`."""

    table: str
    head: tuple[str | None, ...]
    row: tuple[Value, ...]

    def cell(self, mapping: Mapping) -> Cell | None:
        """Which source row this is; None if the entry does not say it (an update without its key)."""
        rule = mapping.rule_of(self.table)
        if rule is None:
            return None
        key = self.row[: len(rule.table.key)]
        if UNCHANGED in key:
            return None
        return Cell(self.table, self.head, key)  # type: ignore[arg-type]


class Cell(NamedTuple):
    """The columns by which a source row is found: those of entity and time, and those of the key."""

    table: str
    head: tuple[str | None, ...]
    key: tuple[str | None, ...]

    @property
    def values(self) -> tuple[str | None, ...]:
        """In the order of NarrowTable.cell."""
        return self.head + self.key


def narrow_rows(entry: Entry, mapping: Mapping) -> list[Narrow]:
    """The rows of the connector's tables that an entry holds; none if it holds something else."""
    if entry.raw.startswith("{"):
        raw = orjson.loads(entry.raw)
        row = [UNCHANGED if each is False else each for each in raw["row"]]
        found = [(raw["table"], raw["wide"], raw["columns"], row)]
    else:
        found = list(_decoded(entry.raw, mapping.connector))
    rows = (_narrow(mapping, *each) for each in found)
    return [row for row in rows if row is not None]


def _decoded(text: str, connector: str) -> Iterator[tuple[str, dict[str, str | None], list[str], list[Value]]]:
    """The rows of bytes that could not be read as a record when they came, and can be now."""
    try:
        record = decode(b64decode(text, validate=True))
    except (NotBase64, Undecodable):
        return
    if isinstance(record, Changes) and record.stamp.connector == connector:
        for row in record.rows:
            yield record.table, record.wide, record.columns, row


def _narrow(
    mapping: Mapping, table: str, wide: dict[str, str | None], columns: list[str], row: list[Value]
) -> Narrow | None:
    rule = mapping.rule_of(table)
    if rule is None:
        return None
    values = dict(zip(columns, row[1:], strict=True))
    try:
        head = tuple(wide[name] for name in rule.table.wide)
        return Narrow(table, head, tuple(values[name] for name in rule.table.carried))
    except KeyError:
        return None
