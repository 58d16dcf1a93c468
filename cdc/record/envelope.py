"""The bytes of a change record: JSON, or Avro in Confluent's wire framing, behind the same two functions.

What comes back from the log may be anybody's: `decode` checks the whole shape and answers a record or `Undecodable`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Protocol, TypeAlias, assert_never

import msgspec
import orjson

from cdc.lsn import Lsn
from cdc.record.column_cache import ColumnCache
from cdc.record.columnar import INSERT
from cdc.record.record import Barrier, Changes, Record, Stamp, Truncated
from cdc.record.shape import OPS, Undecodable, barrier, by_columns, changes, stamp, truncated

__all__ = ["JSON", "MAX_BYTES", "Codec", "JsonCodec", "Undecodable", "decode", "encode", "encode_key"]

MAX_BYTES: Final = 1024 * 1024 * 1024
"""The longest record that is looked into: none that can be written is longer, so that none of ours is passed over."""

_MANY: Final = 8
"""So many inserts are written by columns. Fewer are not worth another way through the sink."""

_new: Final = tuple.__new__  # makes a NamedTuple without the call of its Python-level __new__

_Long: TypeAlias = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Codec(Protocol):
    """One form of the bytes."""

    def encode(self, record: Record) -> bytes:
        """The record's bytes."""

    def decode(self, value: bytes) -> Record:
        """The record in these bytes; `Undecodable` with the reason if there is none."""


def encode_key(values: Sequence[str | None]) -> bytes:
    """The Kafka key of a wide key's values: a JSON array of texts, whatever the form of the record."""
    return orjson.dumps(values)


class _Common(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The fields of nearly every record, which are checked while they are read: that costs a third of a check later.

    What does not fit is not refused here: `shape` looks at it field by field, and finds what is wrong with it.
    """

    v: Literal[1]
    connector: str
    generation: _Count
    sequence: _Count
    lsn: str
    xid: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
    at: _Long
    table: str
    wide: dict[str, str | None]
    columns: list[str]
    rows: list[list[str | None]] | msgspec.UnsetType = msgspec.UNSET
    inserts: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


_common: Final = msgspec.json.Decoder(_Common).decode


def _quickly(value: bytes, column_cache: ColumnCache) -> Changes | None:
    """The record, if it is a common one."""
    try:
        found = _common(value)
        position = Lsn.parse(found.lsn)
        rows = _rows(found, column_cache)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    columns = found.columns
    if rows is None or not columns or len(set(columns)) != len(columns):
        return None
    stamp = _new(Stamp, (found.connector, found.generation, found.sequence, position, found.xid, found.at))
    return _new(Changes, (stamp, found.table, found.wide, columns, rows))


def _rows(found: _Common, column_cache: ColumnCache) -> Sequence[list[Any]] | None:
    """Its rows, if they are as they should be: in either form, but not in both."""
    rows, inserts, width = found.rows, found.inserts, len(found.columns)
    if isinstance(inserts, list):
        if rows is not msgspec.UNSET or len(inserts) != width:
            return None
        return by_columns(list(map(column_cache.column, found.columns, inserts)), width)
    if not isinstance(rows, list) or not rows:
        return None
    for row in rows:
        if len(row) != width + 1 or row[0] not in OPS:
            return None
    return rows


class JsonCodec:
    """One JSON object a record. UNCHANGED is `false` in it, NULL is `null`, every other value a string.

    Rows are `rows`: `[op, value, ...]` each. Many inserts are `inserts` instead: for each of `columns` a list of its
    values, or `null` for a column of NULLs alone.
    """

    def __init__(self) -> None:
        self._column_cache = ColumnCache()

    def encode(self, record: Record) -> bytes:
        """The record's bytes."""
        fields = _head(record.stamp)
        match record:
            case Changes():
                return _encoded(fields, record)
            case Truncated(_, tables):
                fields["truncate"] = tables
            case Barrier(_, content):
                fields["barrier"] = content
            case _:
                assert_never(record)
        return orjson.dumps(fields)

    def decode(self, value: bytes) -> Record:
        """The record in these bytes; `Undecodable` with the reason if there is none."""
        if len(value) > MAX_BYTES:
            raise Undecodable(f"{len(value)} bytes, more than {MAX_BYTES}")
        suspect_nul = b"\\" in value and b"\\u0000" in value  # one byte is looked for many times faster than six
        common = None if suspect_nul else _quickly(value, self._column_cache)
        return common or _carefully(value, suspect_nul=suspect_nul)


def _head(stamp: Stamp) -> dict[str, Any]:
    connector, generation, sequence, position, xid, at = stamp
    return {
        "v": 1,
        "connector": connector,
        "generation": generation,
        "sequence": sequence,
        "lsn": str(position),
        "xid": xid,
        "at": at,
    }


def _encoded(fields: dict[str, Any], record: Changes) -> bytes:
    _, fields["table"], fields["wide"], fields["columns"], rows = record
    if len(rows) >= _MANY:
        inserts = _transposed(rows)
        if inserts is not None:
            value = orjson.dumps({**fields, "inserts": inserts})
            if b"false" not in value:  # else an insert may have left a value out, as no server does
                return value
    # UNCHANGED needs no care here: orjson writes an enum as its value.
    fields["rows"] = list(rows)
    return orjson.dumps(fields)


def _carefully(value: bytes, *, suspect_nul: bool) -> Record:
    """Any record, or what is wrong with it."""
    try:
        fields = orjson.loads(value)  # refuses bad UTF-8, lone surrogates and deep nesting
    except orjson.JSONDecodeError as error:
        raise Undecodable(f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise Undecodable(f"a JSON {type(fields).__name__}, not an object")
    return _record(fields, suspect_nul=suspect_nul)


def _record(fields: dict[str, Any], *, suspect_nul: bool) -> Record:
    """The record whose JSON object this is. A NUL in JSON is always written as an escape, which is looked for once."""
    head = stamp(fields)
    if "rows" in fields or "inserts" in fields:
        return changes(head, fields, suspect_nul=suspect_nul)
    if "truncate" in fields:
        return truncated(head, fields)
    if "barrier" in fields:
        return barrier(head, fields)
    raise Undecodable("neither rows nor truncate nor barrier in it")


def _transposed(rows: Sequence[list[Any]]) -> list[Sequence[str | None] | None] | None:
    """The values of each column, or None where all are NULL; None if they are to be written as rows."""
    ops, *columns = zip(*rows, strict=True)
    if ops.count(INSERT) < len(ops):
        return None
    inserts: list[Sequence[str | None] | None] = [
        column if any(column) or column.count(None) < len(column) else None for column in columns
    ]
    return inserts if any(inserts) else None


JSON: Final = JsonCodec()


def encode(record: Record) -> bytes:
    """The record as JSON."""
    return JSON.encode(record)


def decode(value: bytes) -> Record:
    """The record in these bytes of JSON; `Undecodable` with the reason if there is none."""
    return JSON.decode(value)
