"""Entries of the quarantine, and the source rows that they speak of. Pure."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from cdc.event import UNCHANGED, Value
from cdc.record.codec import decode
from cdc.record.envelope import Undecodable
from cdc.record.record import Changes
from sink.mapping.mapping import Mapping


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

    @property
    def parsed(self) -> Any:
        """The raw row as an object where it is one, else as it is."""
        if self.raw.startswith("{"):
            with suppress(orjson.JSONDecodeError):
                return orjson.loads(self.raw)
        return self.raw

    @property
    def values(self) -> str:
        """The row as `column = value` for a reader, without what is NULL; empty for bytes that are no row."""
        match self.parsed:
            case {"wide": dict(wide), "columns": list(columns), "row": list(row)}:
                named = {**wide, **dict(zip(columns, row[-len(columns) :] if columns else [], strict=False))}
                return ", ".join(f"{name} = {value}" for name, value in named.items() if value is not None)
        return ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the raw row as an object where it is one."""
        return {**self._asdict(), "at": self.at.isoformat(), "raw": self.parsed}


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
    ours = entry.raw.startswith("{")
    found = _written(entry.raw) if ours else _decoded(entry.raw, mapping.connector)
    rows = (_narrow(mapping, *each) for each in found)
    return [row for row in rows if row is not None]


class _Raw(msgspec.Struct):
    """A row as a sink or a chunk writes it down; there may be more in it."""

    table: str
    wide: dict[str, str | None]
    columns: list[str]
    row: list[str | bool | None]


_raw: Final = msgspec.json.Decoder(_Raw).decode


def _written(text: str) -> Iterator[tuple[str, dict[str, str | None], list[str], list[Value]]]:
    """The row, if it is one of ours: anybody may have written into the table."""
    try:
        raw = _raw(text)
    except (msgspec.MsgspecError, RecursionError):
        return
    if len(raw.row) == len(raw.columns) + 1 and True not in raw.row:
        yield raw.table, raw.wide, raw.columns, [UNCHANGED if isinstance(each, bool) else each for each in raw.row]


def why_unread(entry: Entry, mapping: Mapping) -> str:
    """Why an entry is not retried: it does not hold one row of the connector's tables, whole."""
    if not entry.raw.startswith("{"):
        return _why_undecoded(entry.raw, mapping)
    for table, *_ in _written(entry.raw):
        if mapping.rule_of(table) is None:
            return f"a row of {table}, which is none of the connector's tables"
        return "a row without the columns that find it in its table: an update that does not say its key, say"
    return "no row as a sink or a chunk writes it down"


def _why_undecoded(text: str, mapping: Mapping) -> str:
    try:
        value = b64decode(text, validate=True)
    except ValueError:
        return "neither a row in JSON nor the bytes of a record in base64"
    try:
        record = decode(value)
    except Undecodable as error:
        return f"no record: {error.reason}"
    if record.stamp.connector != mapping.connector:
        return f"a record of connector {record.stamp.connector}"
    if not isinstance(record, Changes):
        return f"a {type(record).__name__.lower()} record, which has no row: it is obeyed when its sink reads it again"
    if len(record.rows) == 1:
        return f"a row of {record.table} without the columns that find it in one of the connector's tables"
    return f"a whole record of {len(record.rows)} rows: they go row by row when `widebeam replay` has it read again"


def _decoded(text: str, connector: str) -> Iterator[tuple[str, dict[str, str | None], list[str], list[Value]]]:
    """The rows of bytes that could not be read as a record when they came, and can be now."""
    try:
        record = decode(b64decode(text, validate=True))
    except (ValueError, Undecodable):  # no base64; no record
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
