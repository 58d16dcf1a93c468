"""Which form a record's bytes have is seen in the first of them: a topic may hold both, since a connector may change.

Pure.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from cdc.record.avro import AvroCodec
from cdc.record.envelope import JSON, Codec
from cdc.record.record import Record

_FRAMED: Final = b"\0"
_HEAD: Final = 5


@lru_cache(maxsize=64)
def avro(schema_id: int) -> Codec:
    """The codec for Avro under this schema id."""
    return AvroCodec(schema_id)


def decode(value: bytes) -> Record:
    """The record in these bytes, of JSON or of Avro in Confluent's framing, whatever the id of its schema.

    `Undecodable` with the reason if there is none.
    """
    if value.startswith(_FRAMED) and len(value) >= _HEAD:
        return avro(int.from_bytes(value[1:_HEAD], "big")).decode(value)
    return JSON.decode(value)
