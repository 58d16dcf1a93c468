"""Change records as Avro in Confluent's wire framing: a zero byte, the schema's id in 4 bytes, the datum.

The rows lie by column, which costs a fraction of what records of rows do. The schema is record.avsc.
"""

from __future__ import annotations

from importlib.resources import files
from io import BytesIO
from typing import Any, Final, assert_never

import fastavro
import orjson

from cdc.event import UNCHANGED, Value
from cdc.record.envelope import MAX_BYTES
from cdc.record.record import Barrier, Changes, Record, Truncated
from cdc.record.shape import Undecodable, barrier, changes, stamp, truncated

SCHEMA_TEXT: Final = files("cdc.record").joinpath("record.avsc").read_text(encoding="utf-8")
"""The schema, as it is to be registered."""
_SCHEMA: Final = fastavro.parse_schema(orjson.loads(SCHEMA_TEXT))
_FRAMING: Final = 5


class AvroCodec:
    """The Avro form, under the id that a schema registry (or its user) gave the schema."""

    def __init__(self, schema_id: int = 1) -> None:
        self._framing = b"\0" + schema_id.to_bytes(4, "big")

    def encode(self, record: Record) -> bytes:
        """The record's bytes."""
        at = record.stamp
        datum = {
            "v": 1,
            "connector": at.connector,
            "generation": at.generation,
            "sequence": at.sequence,
            "lsn": str(at.position),
            "xid": at.xid,
            "at": at.commit_time,
            "body": _body(record),
        }
        buffer = BytesIO()
        buffer.write(self._framing)
        fastavro.schemaless_writer(buffer, _SCHEMA, datum)
        return buffer.getvalue()

    def decode(self, value: bytes) -> Record:
        """The record in these bytes; `Undecodable` with the reason if there is none."""
        if len(value) > MAX_BYTES:
            raise Undecodable(f"{len(value)} bytes, more than {MAX_BYTES}")
        if value[:_FRAMING] != self._framing:
            raise Undecodable(
                f"it starts {value[:_FRAMING]!r}, not {self._framing!r} (a zero byte and the schema's id)"
            )
        buffer = BytesIO(value)
        buffer.seek(_FRAMING)
        try:
            datum: Any = fastavro.schemaless_reader(buffer, _SCHEMA, None)
        except Exception as error:  # noqa: BLE001 - fastavro raises what its C code happens to meet in broken bytes
            raise Undecodable(f"not Avro of our schema: {type(error).__name__}: {error}"[:200]) from None
        if buffer.tell() != len(value):
            raise Undecodable(f"{len(value) - buffer.tell()} bytes after the datum")
        return _record(datum)


def _body(record: Record) -> tuple[str, dict[str, Any]]:
    """The union's branch by name, and its fields."""
    match record:
        case Changes(_, table, wide, columns, rows):
            ops, *by_column = zip(*rows, strict=True)
            return "widebeam.Changes", {
                "table": table,
                "wide": [{"name": name, "value": value} for name, value in wide.items()],
                "ops": "".join(ops),
                "columns": [_column(name, values) for name, values in zip(columns, by_column, strict=True)],
            }
        case Truncated(_, tables):
            return "widebeam.Truncated", {"truncate": tables}
        case Barrier(_, content):
            return "widebeam.Barrier", {"barrier": content}
        case _:
            assert_never(record)


def _column(name: str, values: tuple[Value, ...]) -> dict[str, Any]:
    """Kinds and texts apart: a union for each value would cost five times as much."""
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) == len(values):
        kinds = "t" * len(values)
    else:
        kinds = "".join(["n" if value is None else "u" if value is UNCHANGED else "t" for value in values])
    return {"name": name, "kinds": kinds, "texts": texts}


def _record(datum: dict[str, Any]) -> Record:
    """The record of a datum, by way of the shape that JSON has, so that both forms pass the same checks."""
    body = datum.pop("body")
    head = stamp(datum)
    if "ops" in body:
        return changes(head, datum | _by_row(body), suspect_nul=True)
    if "truncate" in body:
        return truncated(head, datum | body)
    return barrier(head, datum | body)


def _by_row(body: dict[str, Any]) -> dict[str, Any]:
    columns = [_values(column, len(body["ops"])) for column in body["columns"]]
    return {
        "table": body["table"],
        "wide": {column["name"]: column["value"] for column in body["wide"]},
        "columns": [column["name"] for column in body["columns"]],
        "rows": [list(row) for row in zip(body["ops"], *columns, strict=True)],
    }


def _values(column: dict[str, Any], rows: int) -> list[str | bool | None]:
    kinds, texts = column["kinds"], column["texts"]
    if len(kinds) != rows or kinds.count("t") != len(texts) or not set(kinds) <= set("tnu"):
        raise Undecodable(f"column {column['name'][:60]!r} has not one value for each of {rows} ops")
    if len(texts) == rows:
        return list(texts)
    following = iter(texts)
    return [next(following) if kind == "t" else None if kind == "n" else False for kind in kinds]
