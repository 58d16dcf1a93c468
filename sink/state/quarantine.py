"""The quarantine: readings and records that cannot be placed, kept whole, each once however often it is delivered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import orjson
import psycopg

from sink.fold.quarantine_entry import QuarantineEntry

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_DETAIL_LIMIT: Final = 1000

_INSERT: Final = """
INSERT INTO widebeam.quarantine (connector, origin, position, reason, detail, raw, place)
SELECT %s, * FROM json_to_recordset(%s)
    AS (origin text, position pg_lsn, reason text, detail text, raw text, place text)
ON CONFLICT (connector, origin, reason) DO NOTHING RETURNING id
"""
_OF_CHUNKS: Final = (
    "SELECT id FROM widebeam.quarantine WHERE connector = %s AND origin LIKE 'chunk:%%' ORDER BY id DESC LIMIT %s"
)


def write(connection: Connection, connector: str, quarantine_entries: Iterable[QuarantineEntry]) -> list[int]:
    """Put them away, in the open transaction; the numbers of those that were not there yet.

    In one statement: a flood of them must not hold the pipeline up.
    """
    rows = [{**each._asdict(), "position": _position(each), "detail": _short(each)} for each in quarantine_entries]
    if not rows:
        return []
    return [number for (number,) in connection.execute(_INSERT, [connector, orjson.dumps(rows).decode()])]


def of_chunks(connection: Connection, connector: str, most: int) -> list[int]:
    """The numbers of the newest entries that chunks have written."""
    return [number for (number,) in connection.execute(_OF_CHUNKS, [connector, most])]


def _short(quarantine_entry: QuarantineEntry) -> str:
    """A text column holds everything but NUL."""
    return quarantine_entry.detail.replace("\0", "\\0")[:_DETAIL_LIMIT]


def _position(quarantine_entry: QuarantineEntry) -> str | None:
    return None if quarantine_entry.position is None else str(quarantine_entry.position)
