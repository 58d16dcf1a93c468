"""Quarantine entries: readings and records that cannot be placed, as the quarantine keeps them. Pure."""

from __future__ import annotations

from base64 import b64encode
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from cdc.lsn import Lsn
from cdc.record.record import Changes


class QuarantineEntry(NamedTuple):
    """A reading (or a record) that cannot be placed. `raw` is JSON, or base64 of bytes that are not.

    `place` says by a digest of which table, entity and time its row is; it is empty where that cannot be told.
    """

    origin: str
    position: Lsn | None
    reason: str
    detail: str
    raw: str
    place: str = ""


def undecodable(origin: str, value: bytes, reason: str, detail: str) -> QuarantineEntry:
    """A record of the log that is none of ours, as bytes."""
    return QuarantineEntry(origin, None, reason, detail, b64encode(value).decode())


def quarantine_entry(changes: Changes, n: int, origin: str, reason: str, detail: str) -> QuarantineEntry:
    """Row `n` of a record, whole. `origin` is the record's place."""
    return QuarantineEntry(f"{origin}:{n}", changes.stamp.position, reason, detail, _raw(changes, n), place_of(changes))


def place_of(changes: Changes) -> str:
    """A digest of a record's table and wide key; empty where a part of that is NULL, which is equal to nothing."""
    if None in changes.wide.values():
        return ""
    named = orjson.dumps([changes.table, changes.wide], option=orjson.OPT_SORT_KEYS)
    return blake2b(named, digest_size=16).hexdigest()


def _raw(changes: Changes, n: int) -> str:
    """One row of a record, whole, as JSON."""
    fields: dict[str, Any] = {
        "table": changes.table,
        "wide": changes.wide,
        "columns": changes.columns,
        "row": changes.rows[n],
    }
    return orjson.dumps(fields).decode()
